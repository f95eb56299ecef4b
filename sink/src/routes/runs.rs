//! Reads of runs: by id from memory where they are, lists from the store.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use graph::update::RunStatus;
use http::header;
use run_store::rows::{PageRequest, RunFilter};
use schemas::http::List;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Refusal, Tenant, at, run_id, shard_of_run};
use crate::{
    live::lock,
    load,
    seek::{Found, Seek, SeekError},
    shared::Shared,
    values,
};

const PAGE_DEFAULT: u32 = 20;

pub async fn run(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(run): Path<String>,
) -> Result<Response, Refusal> {
    let run_id = run_id(&run)?;
    let shard = shard_of_run(&shared, run_id)?;
    let known = {
        let shard = lock(&shard);
        match shard.run(run_id) {
            Some(run) if run.state.envelope.tenant != tenant || run.state.undone => {
                return Err(Refusal::run_not_found(run_id));
            }
            // While a partition catches up, memory may be behind what was written before.
            Some(run) => Some((run.view(), run.state.number, run.is_over() || !shard.catching_up)),
            None => None,
        }
    };
    if let Some((view, _, true)) = known {
        return Ok(json(view));
    }
    let mut stored = shared.deps.results.run(&tenant, run_id).await?;
    if let Some(row) = &mut stored {
        row.view = values::whole_row(&*shared.deps.blobs, std::mem::take(&mut row.view)).await?;
    }
    match (stored, known) {
        (Some(row), Some((view, number, _))) => Ok(json(if number > row.number { view } else { row.view })),
        (Some(row), None) => Ok(json(row.view)),
        (None, Some((view, ..))) => Ok(json(view)),
        (None, None) => Err(Refusal::run_not_found(run_id)),
    }
}

/// The run's updates as they were appended, a line each.
pub async fn updates(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(run): Path<String>,
) -> Result<Response, Refusal> {
    let run_id = run_id(&run)?;
    let shard = shard_of_run(&shared, run_id)?;
    let known: Option<Vec<Bytes>> = {
        let shard = lock(&shard);
        let run = shard.run(run_id);
        if run.is_some_and(|run| run.state.envelope.tenant != tenant) {
            return Err(Refusal::run_not_found(run_id));
        }
        run.map(|run| run.updates.iter().map(|stored| values::line(&stored.record, &stored.payload)).collect())
    };
    let updates = match known {
        Some(updates) => updates,
        None => {
            let stored = load::updates(&shared, &tenant, run_id).await?;
            let seek = Seek { shared, shard, tenant, run_id };
            if stored.is_empty() && matches!(seek.find_view().await?, Found::Pruned { .. }) {
                return Err(SeekError::Pruned(run_id).into());
            }
            stored.into_iter().map(|(stored, _)| values::line(&stored.record, &stored.payload)).collect()
        }
    };
    if updates.is_empty() {
        return Err(Refusal::run_not_found(run_id));
    }
    let lines: Vec<u8> = updates.iter().flat_map(|update| [update.as_ref(), b"\n"]).collect::<Vec<_>>().concat();
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], Body::from(lines)).into_response())
}

#[derive(Debug, Deserialize)]
pub struct RunsQuery {
    user: Option<String>,
    thread_id: Option<String>,
    graph: Option<String>,
    status: Option<RunStatus>,
    #[serde(default, deserialize_with = "at")]
    since: Option<i64>,
    #[serde(default, deserialize_with = "at")]
    until: Option<i64>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub async fn list(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    query: Result<Query<RunsQuery>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(RunsQuery { user, thread_id, graph, status, since, until, limit, cursor }) = query?;
    let filter = RunFilter { user, thread_id, graph, status, since, until };
    let page = page(&shared, limit, cursor);
    let found = shared.deps.results.runs(&tenant, &filter, &page).await?;
    let mut data = Vec::with_capacity(found.rows.len());
    for row in found.rows {
        data.extend(raw(&values::listed(&*shared.deps.blobs, row.view).await?));
    }
    Ok(Json(List::<Box<RawValue>> { data, next_cursor: found.cursor }).into_response())
}

pub fn page(shared: &Shared, limit: Option<u32>, cursor: Option<String>) -> PageRequest {
    PageRequest { limit: limit.unwrap_or(PAGE_DEFAULT).clamp(1, shared.config.page_max), cursor }
}

/// JSON that goes through as it is; a row that is none can't be shown.
fn raw(view: &Bytes) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(view.to_vec()).ok()?).ok()
}

fn json(body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
