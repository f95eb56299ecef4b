//! A client's stream, and a client's wait.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, Query, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, StatusCode, header};
use schemas::stream::Dialect;
use serde::Deserialize;
use tokio::{sync::oneshot, time::Instant};

use super::{Refusal, Tenant, run_id, shard_of_run};
use crate::{
    live::{Joined, waited},
    position::{BadPosition, Position},
    seek::{Found, LOOK_UP_AFTER, Seek, SeekError, end_of},
    shared::Shared,
    sse::{Sse, Unknown},
};

#[derive(Debug, Deserialize)]
pub struct StreamQuery {
    #[serde(default)]
    dialect: Dialect,
    after: Option<String>,
    #[serde(default)]
    register: bool,
}

pub async fn stream(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(run): Path<String>,
    query: Result<Query<StreamQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (run_id, Query(query)) = (run_id(&run)?, query?);
    let after = position(query.after.as_deref(), &headers)?;
    let shard = shard_of_run(&shared, run_id)?;
    let seek = Seek { shared: Arc::clone(&shared), shard, tenant, run_id };
    let (joined, unknown) = match seek.join_known(after)? {
        Some(joined) => (joined, None),
        None if query.register && after.is_none() => await_run(seek)?,
        None => match seek.join_stored(after).await {
            Err(SeekError::NotFound(_)) if query.register => await_run(seek)?,
            joined => (joined?, None),
        },
    };
    let Joined::Stream(viewing) = joined else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let sse = Sse::new(query.dialect, shared.config.keep_alive, after, *viewing, unknown);
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, sse.into_body()).into_response())
}

/// Watches a run that is yet to come, from its beginning.
fn await_run(seek: Seek) -> Result<(Joined, Option<Unknown>), SeekError> {
    let joined = seek.register_stream()?;
    Ok((joined, Some(Unknown { seek, look_up_at: Instant::now() + LOOK_UP_AFTER })))
}

#[derive(Debug, Deserialize)]
pub struct WaitQuery {
    #[serde(default)]
    register: bool,
    timeout_ms: Option<u64>,
}

pub async fn wait(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(run): Path<String>,
    query: Result<Query<WaitQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Refusal> {
    let (run_id, Query(query)) = (run_id(&run)?, query?);
    let shard = shard_of_run(&shared, run_id)?;
    let longest = shared.config.wait_max;
    let time = query.timeout_ms.map_or(longest, |ms| Duration::from_millis(ms).min(longest));
    let seek = Seek { shared, shard, tenant, run_id };
    let (waiter, ended) = oneshot::channel();
    let body = match seek.wait_known(waiter)? {
        Ok(()) => later(end_of(ended, time)),
        Err(waiter) if query.register => {
            seek.register_wait(waiter)?;
            later(async move { seek.end_of_unknown(ended, time).await })
        }
        Err(waiter) => match seek.find().await? {
            Found::Nowhere => return Err(Refusal::run_not_found(run_id)),
            Found::Over(run) => Body::from(waited(&run.view())),
            Found::InMemory => {
                seek.register_wait(waiter)?;
                later(end_of(ended, time))
            }
        },
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A body that is sent when it is known; the response's head goes out before.
fn later(body: impl Future<Output = Bytes> + Send + 'static) -> Body {
    Body::from_stream(stream::once(async { Ok::<_, Infallible>(body.await) }))
}

/// `after` of the query, else what a browser sends when it connects again.
fn position(after: Option<&str>, headers: &HeaderMap) -> Result<Option<Position>, Refusal> {
    let header = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    match after.or(header).map(str::trim).filter(|after| !after.is_empty()) {
        None => Ok(None),
        Some(after) => after.parse().map(Some).map_err(|bad: BadPosition| Refusal::invalid("after", bad.to_string())),
    }
}
