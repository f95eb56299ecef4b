//! The internal addresses of [`schemas::stream`]: a client's stream and wait, then reads and lists.

mod checkpoints;
mod refusal;
mod runs;
mod streams;
mod threads;
mod usage;

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::{FromRequestParts, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use http::request::Parts;
use schemas::{
    error::Code,
    stream::{SECRET_HEADER, TENANT_HEADER},
};
use serde::{Deserialize, Deserializer, de};
use uuid::Uuid;

pub use self::{checkpoints::Reading, refusal::Refusal};
use crate::{
    live::{Place, Shard},
    shared::Shared,
    time,
};

pub fn router(shared: Arc<Shared>) -> Router {
    let router = Router::new()
        .route("/internal/runs/{run}/stream", get(streams::stream))
        .route("/internal/runs/{run}/wait", get(streams::wait))
        .route("/internal/runs/{run}", get(runs::run))
        .route("/internal/runs/{run}/updates", get(runs::updates))
        .route("/internal/runs", get(runs::list))
        .route("/internal/threads/{thread}", get(threads::thread))
        .route("/internal/threads/{thread}/state", get(threads::state))
        .route("/internal/threads/{thread}/history", get(threads::history))
        .route("/internal/threads", get(threads::list))
        .route("/internal/usage", get(usage::usage));
    let router = match &shared.deps.secret {
        Some(secret) => router.layer(middleware::from_fn_with_state(Arc::<str>::from(secret.as_str()), prove)),
        None => router,
    };
    router.with_state(shared)
}

/// Lets pass who knows the secret. The comparison takes the same time wherever they differ.
async fn prove(State(secret): State<Arc<str>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(SECRET_HEADER).map_or(&b""[..], |value| value.as_bytes());
    let differences = given.iter().zip(secret.bytes()).fold(0, |sum, (given, known)| sum | (given ^ known));
    if given.len() != secret.len() || differences != 0 {
        let message = "calls between roles carry the deployment's secret, and this one does not";
        return Refusal::new(Code::InvalidApiKey, message).into_response();
    }
    next.run(request).await
}

/// For whom a request is made: nothing of another tenant is there.
pub struct Tenant(pub String);

impl FromRequestParts<Arc<Shared>> for Tenant {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Refusal> {
        let tenant = parts.headers.get(TENANT_HEADER).and_then(|value| value.to_str().ok());
        tenant
            .filter(|tenant| !tenant.is_empty())
            .map(|tenant| Tenant(tenant.to_owned()))
            .ok_or_else(|| Refusal::invalid(TENANT_HEADER, "name the tenant in a header"))
    }
}

/// The partition in memory that a run lives in.
fn shard_of_run(shared: &Shared, run_id: Uuid) -> Result<Arc<Mutex<Shard>>, Refusal> {
    match shared.live.place(graph::ids::partition_of(run_id).into()) {
        Place::Here(shard) => Ok(shard),
        Place::Elsewhere => Err(Refusal::Moved),
        Place::Nowhere => Err(Refusal::run_not_found(run_id)),
    }
}

/// A run id of a path; what is no id names no run.
fn run_id(text: &str) -> Result<Uuid, Refusal> {
    text.parse().map_err(|_| Refusal::run_not_found(text))
}

/// A time of a query.
fn at<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let message = "a time is RFC 3339, such as 2026-01-31T12:00:00Z, or milliseconds since the epoch";
    time::parse(&text).map(Some).ok_or_else(|| de::Error::custom(message))
}
