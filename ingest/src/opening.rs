//! What clients hear of a process that can't reach its log or store yet: it lives, is not ready and says why, and
//! everything else is refused with the word when to come back.

use std::sync::Arc;

use axum::{Router, extract::State, response::Response};
use graph::world::Random;
use http::{HeaderValue, Uri, header};
use schemas::{error::Code, stream::REQUEST_ID_HEADER};

use crate::{
    deps::Readiness,
    operations,
    refusal::{Family, Refusal},
};

/// What is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// [`Code::LogUnavailable`] or [`Code::StoreUnavailable`].
    pub code: Code,
    /// With the address that does not answer.
    pub reason: String,
}

#[derive(Clone)]
struct Opening {
    missing: Arc<dyn Fn() -> Missing + Send + Sync>,
    random: Arc<dyn Random>,
}

/// Serves in the place of [`crate::Ingest::router`], or of a role's, until log and store are open.
pub fn opening(missing: Arc<dyn Fn() -> Missing + Send + Sync>, random: Arc<dyn Random>) -> Router {
    Router::new()
        .route("/health", axum::routing::get(operations::health))
        .route("/ready", axum::routing::get(ready))
        .fallback(refuse)
        .layer(axum::middleware::map_response(let_go))
        .with_state(Opening { missing, random })
}

async fn ready(State(opening): State<Opening>) -> Response {
    let Missing { code, reason } = (opening.missing)();
    let part = if code == Code::StoreUnavailable { "store" } else { "log" };
    operations::readiness(Readiness { ready: false, checks: vec![(part.to_owned(), reason)] })
}

async fn refuse(State(opening): State<Opening>, uri: Uri) -> Response {
    let code = (opening.missing)().code;
    let message = match code {
        Code::StoreUnavailable => "the store can't be reached yet; try again, `/ready` says more",
        _ => "the log can't be reached yet; try again, `/ready` says more",
    };
    let id = format!("req_{}", opening.random.uuid().simple());
    let mut response = Refusal::new(code, message).render(Family::of(uri.path()), &id);
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID_HEADER, value);
    }
    response
}

/// The next request belongs to the router that follows, and so to another connection.
async fn let_go(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
