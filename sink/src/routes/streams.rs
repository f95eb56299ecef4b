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
use schemas::stream::{Dialect, LangGraph, Rendering, StreamMode};
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

/// LangGraph's own.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
pub struct StreamQuery {
    #[serde(default)]
    dialect: Dialect,
    /// LangGraph's, by commas: then the stream is in its dialect.
    modes: Option<String>,
    #[serde(default)]
    subgraphs: bool,
    #[serde(default)]
    ids: bool,
    /// OpenAI's chat completions.
    #[serde(default)]
    completions: bool,
    #[serde(default)]
    usage: bool,
    after: Option<String>,
    /// Only what comes from now on.
    #[serde(default)]
    live: bool,
    #[serde(default)]
    register: bool,
}

impl StreamQuery {
    fn rendering(&self) -> Result<Rendering, Refusal> {
        if self.completions {
            return Ok(Rendering::Completions { usage: self.usage });
        }
        let Some(modes) = &self.modes else { return Ok(Rendering::Ours(self.dialect)) };
        let unknown = |mode: &str| Refusal::invalid("modes", format!("there is no stream mode `{mode}`"));
        let mode = |text: &str| StreamMode::parse(text).ok_or_else(|| unknown(text));
        let modes = modes.split(',').filter(|mode| !mode.is_empty()).map(mode).collect::<Result<_, _>>()?;
        Ok(Rendering::LangGraph(LangGraph { modes, subgraphs: self.subgraphs, ids: self.ids }))
    }
}

pub async fn stream(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(run): Path<String>,
    query: Result<Query<StreamQuery>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (run_id, Query(query)) = (run_id(&run)?, query?);
    let rendering = query.rendering()?;
    let after = position(query.after.as_deref(), &headers)?;
    let shard = shard_of_run(&shared, run_id)?;
    let seek = Seek { shared: Arc::clone(&shared), shard, tenant, run_id };
    let after = if query.live { seek.stand_now().await? } else { after };
    let (joined, unknown) = match seek.join_known(after)? {
        Some(joined) => (joined, None),
        None if query.register && after.is_none() => await_run(seek)?,
        None => match seek.join_stored(after).await {
            Err(SeekError::NotFound(_)) if query.register => await_run(seek)?,
            joined => (joined?, None),
        },
    };
    let langgraphs = matches!(rendering, Rendering::LangGraph(_));
    let (content_type, cache_control, keep_alive) = match langgraphs {
        true => ("text/event-stream; charset=utf-8", "no-store", HEARTBEAT_EVERY),
        false => ("text/event-stream", "no-cache, no-transform", shared.config.keep_alive),
    };
    let body = match joined {
        Joined::Stream(viewing) => Sse::new(rendering, keep_alive, after, *viewing, unknown).into_body(),
        // LangGraph's clients expect a stream, if an empty one.
        Joined::Whole if langgraphs => Body::empty(),
        Joined::Whole => return Ok(StatusCode::NO_CONTENT.into_response()),
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, cache_control),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
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
            Found::Pruned { view, .. } => Body::from(waited(&view)),
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
