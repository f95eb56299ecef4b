//! `/threads/search`, `/threads/count` and changes of a thread's metadata.
//!
//! Threads that have had a run are found, newest first. What a thread's metadata says beyond its graph is kept beside it
//! ([`super::threads`]), so that a filter over it reads each thread that the other filters leave.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::Method;
use schemas::{
    error::Code,
    http::{List, assistant_id},
};
use serde_json::{Map, Value};

use super::{
    TAG,
    bodies::{ThreadPatch, ThreadSearch},
    threads::{thread_not_found, unprocessable},
    ttl,
};
use crate::{
    auth::Scope,
    body,
    extract::At,
    ingest::Ingest,
    layers::Asked,
    options::{check_metadata, check_thread_id, refuse_if},
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::json_of,
    sinks::{segment, whole},
};

const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 1_000;
/// Threads that one search looks at; beyond it the search has to be narrower.
const LOOKED_AT_MAX: usize = 10_000;
const PAGE: usize = 200;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Read, Method::POST, "/threads/search", search)
            .says(TAG, "Searches threads that have had a run, newest first.")
            .takes(Media::Json("ThreadSearch"))
            .answers(200, "The threads; `x-pagination-next` has the next offset.", Media::JsonArray("Document")),
        route(Scope::Read, Method::POST, "/threads/count", count)
            .says(TAG, "Counts threads that have had a run.")
            .takes(Media::Json("ThreadSearch"))
            .answers(200, "How many.", Media::Json("Document")),
        route(Scope::Run, Method::PATCH, "/threads/{thread_id}", patch)
            .says(TAG, "Changes a thread's metadata, and how long it lives.")
            .takes(Media::Json("ThreadPatch"))
            .answers(200, "The thread.", Media::Json("Thread")),
    ]
}

async fn search(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let wanted = wanted(&ingest, request).await?;
    let (offset, limit) = (wanted.offset.unwrap_or_default(), wanted.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX));
    let found = found(&ingest, &asked, &wanted, offset + limit + 1).await?;
    let more = found.len() > offset + limit;
    let page: Vec<Value> = found.into_iter().skip(offset).take(limit).collect();
    let next = more.then(|| [("x-pagination-next", (offset + limit).to_string())]);
    Ok(with_next(next, &page))
}

fn with_next(next: Option<[(&'static str, String); 1]>, page: &Vec<Value>) -> Response {
    match next {
        Some(next) => (next, json_of(page)).into_response(),
        None => json_of(page),
    }
}

async fn count(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let wanted = wanted(&ingest, request).await?;
    Ok(json_of(&found(&ingest, &asked, &wanted, LOOKED_AT_MAX).await?.len()))
}

async fn wanted(ingest: &Ingest, request: http::Request<Body>) -> Result<ThreadSearch, Refusal> {
    let wanted = body::compatible::<ThreadSearch>(&ingest.config, request).await?;
    let by_time = |by: &String| by == "created_at";
    refuse_if(wanted.sort_by.as_ref().is_some_and(|by| !by_time(by)), "sort_by")?;
    refuse_if(wanted.sort_order.as_deref().is_some_and(|order| order != "desc"), "sort_order")?;
    Ok(wanted)
}

/// The first `max` threads that fit.
async fn found(ingest: &Ingest, asked: &Asked, wanted: &ThreadSearch, max: usize) -> Result<Vec<Value>, Refusal> {
    let (mut found, mut cursor, mut looked_at) = (Vec::new(), None::<String>, 0);
    while found.len() < max {
        let mut path = format!("/internal/threads?limit={PAGE}");
        if let Some(cursor) = &cursor {
            path.push_str(&format!("&cursor={}", segment(cursor)));
        }
        let Some(answer) = ingest.find(asked, None, &path).await? else { break };
        let page: List<Value> = serde_json::from_slice(&whole(answer).await?).map_err(|error| {
            tracing::error!(%error, "a sink's list of threads can't be read");
            Refusal::new(Code::Internal, "the threads can't be read")
        })?;
        looked_at += page.data.len();
        for thread in page.data.into_iter().filter(|thread| fits(thread, wanted)) {
            let thread = ingest.with_made(asked, thread).await?;
            if has(thread.get("metadata"), wanted.metadata.as_ref()) {
                found.push(thread);
            }
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
        if looked_at >= LOOKED_AT_MAX {
            let says =
                format!("more than {LOOKED_AT_MAX} threads had to be looked at; search by `ids`, or page less far");
            return Err(unprocessable(Refusal::new(Code::InvalidValue, says)));
        }
    }
    found.truncate(max);
    Ok(found)
}

/// All but its metadata.
fn fits(thread: &Value, wanted: &ThreadSearch) -> bool {
    let is = |name: &str, value: &String| thread[name].as_str() == Some(value);
    wanted.status.as_ref().is_none_or(|status| is("status", status))
        && wanted.ids.as_ref().is_none_or(|ids| ids.iter().any(|id| is("thread_id", id)))
        && has(thread.get("values"), wanted.values.as_ref())
}

fn has(held: Option<&Value>, wanted: Option<&Map<String, Value>>) -> bool {
    wanted.is_none_or(|wanted| wanted.iter().all(|(name, value)| held.and_then(|held| held.get(name)) == Some(value)))
}

async fn patch(
    State(ingest): State<Ingest>,
    At(thread): At<String>,
    asked: Asked,
    request: http::Request<Body>,
) -> Answer {
    let patch = body::compatible::<ThreadPatch>(&ingest.config, request).await?;
    let ttl = ttl::of_body(patch.ttl.as_ref())?.map(|ttl| ingest.timed(ttl));
    check_thread_id(&thread).map_err(unprocessable)?;
    let shown = ingest.thread_metadata(&asked, &thread).await?.ok_or_else(|| thread_not_found(&thread))?;
    let mut metadata: BTreeMap<String, Value> = serde_json::from_value(shown).unwrap_or_default();
    metadata.extend(patch.metadata.unwrap_or_default());
    if let Some(graph) = metadata.get("graph_id").and_then(Value::as_str) {
        // What it says of itself is not kept beside it.
        let id = assistant_id(graph).to_string();
        metadata.retain(|name, value| name != "assistant_id" || value.as_str() != Some(&id));
    }
    check_metadata(&metadata, "metadata").map_err(unprocessable)?;
    if let Some(timed) = ttl {
        ingest.time_thread(&asked, &thread, timed.ttl).await?;
    }
    ingest.remake_thread(&asked, &thread, metadata, ttl).await?;
    ingest.thread(&asked, &thread).await
}
