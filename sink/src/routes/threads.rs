//! Reads of threads, in LangGraph's shapes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use event_log::partition_for;
use graph::{
    envelope::Key,
    task::TaskId,
    update::{Checkpointed, Happened},
};
use run_store::rows::{CheckpointRow, ThreadFilter};
use schemas::http::List;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::{Refusal, Tenant, runs::page};
use crate::{
    live::{Place, Shard, lock},
    load,
    shared::Shared,
    snapshot,
    thread::{TaskOutcome, ThreadState},
    values,
};

/// LangGraph's own.
const HISTORY_DEFAULT: u32 = 1;
/// How long a read of checkpoints waits until those that were streamed are written too.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

pub async fn thread(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(thread_id): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let (state, checkpoint) = newest(&shared, &tenant, &thread_id).await?;
    Ok(Json(snapshot::thread(&state, checkpoint.as_ref().map(|(checkpoint, _)| checkpoint))))
}

#[derive(Debug, Deserialize)]
pub struct StateQuery {
    checkpoint_id: Option<Uuid>,
}

/// The newest state, or that of one checkpoint.
pub async fn state(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(thread_id): Path<String>,
    query: Result<Query<StateQuery>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(StateQuery { checkpoint_id }) = query?;
    let Some(checkpoint_id) = checkpoint_id else {
        let (state, checkpoint) = newest(&shared, &tenant, &thread_id).await?;
        let run_id = checkpoint.as_ref().and_then(|(_, run_id)| *run_id);
        return Ok(Json(snapshot::latest(&state, checkpoint.as_ref().map(|(checkpoint, _)| checkpoint), run_id)));
    };
    let shard = shard_of_thread(&shared, &tenant, &thread_id)?;
    let (state, _) = known_or_stored(&shared, &shard, &tenant, &thread_id).await?;
    written(&shard, &tenant, &thread_id).await;
    let owner = Key::thread(&tenant, &thread_id);
    let row = shared.deps.results.checkpoint(&owner, "", checkpoint_id).await?;
    let row = row.ok_or_else(|| Refusal::invalid("checkpoint_id", "the thread has no such checkpoint"))?;
    let entries = entries(&shared, &shard, &tenant, &state, vec![row]).await?;
    entries.into_iter().next().map(Json).ok_or_else(|| Refusal::thread_not_found(&thread_id))
}

#[derive(Debug, Deserialize)]
pub struct HistoryQuery {
    limit: Option<u32>,
    before: Option<Uuid>,
}

pub async fn history(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(thread_id): Path<String>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<Vec<Value>>, Refusal> {
    let Query(HistoryQuery { limit, before }) = query?;
    let shard = shard_of_thread(&shared, &tenant, &thread_id)?;
    let (state, _) = known_or_stored(&shared, &shard, &tenant, &thread_id).await?;
    written(&shard, &tenant, &thread_id).await;
    let limit = limit.unwrap_or(HISTORY_DEFAULT).clamp(1, shared.config.page_max);
    let owner = Key::thread(&tenant, &thread_id);
    let rows = shared.deps.results.checkpoints(&owner, "", before, limit).await?;
    Ok(Json(entries(&shared, &shard, &tenant, &state, rows).await?))
}

#[derive(Debug, Deserialize)]
pub struct ThreadsQuery {
    user: Option<String>,
    graph: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

pub async fn list(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    query: Result<Query<ThreadsQuery>, QueryRejection>,
) -> Result<Json<List<Value>>, Refusal> {
    let Query(ThreadsQuery { user, graph, limit, cursor }) = query?;
    let page = page(&shared, limit, cursor);
    let found = shared.deps.results.threads(&tenant, &ThreadFilter { user, graph }, &page).await?;
    let mut data = Vec::with_capacity(found.rows.len());
    for row in found.rows {
        let Some(state) = load::listed_thread(&shared, Some(row)).await? else { continue };
        let checkpoint = match newest_row(&shared, &state).await? {
            Some(row) => {
                let checkpoint = values::listed(&*shared.deps.blobs, row.checkpoint).await?;
                parsed(&CheckpointRow { checkpoint, ..row })
            }
            None => None,
        };
        data.push(snapshot::thread(&state, checkpoint.as_ref().map(|(checkpoint, _)| checkpoint)));
    }
    Ok(Json(List { data, next_cursor: found.cursor }))
}

type Checkpoint = (Checkpointed, Option<Uuid>);

/// The thread with its newest checkpoint.
async fn newest(shared: &Shared, tenant: &str, thread_id: &str) -> Result<(ThreadState, Option<Checkpoint>), Refusal> {
    let shard = shard_of_thread(shared, tenant, thread_id)?;
    let (state, checkpoint) = known_or_stored(shared, &shard, tenant, thread_id).await?;
    let checkpoint = match checkpoint {
        Some(checkpoint) => Some(checkpoint),
        None => stored_checkpoint(shared, &state).await?,
    };
    Ok((state, checkpoint))
}

fn shard_of_thread(shared: &Shared, tenant: &str, thread_id: &str) -> Result<Arc<Mutex<Shard>>, Refusal> {
    let partitions = shared.live.partitions();
    if partitions == 0 {
        return Err(Refusal::Moved);
    }
    let key = Key::thread(tenant, thread_id);
    match shared.live.place(partition_for(key.as_str().as_bytes(), partitions)) {
        Place::Here(shard) => Ok(shard),
        Place::Elsewhere => Err(Refusal::Moved),
        Place::Nowhere => Err(Refusal::thread_not_found(thread_id)),
    }
}

/// From memory, unless the partition is behind what was written before.
async fn known_or_stored(
    shared: &Shared,
    shard: &Mutex<Shard>,
    tenant: &str,
    thread_id: &str,
) -> Result<(ThreadState, Option<Checkpoint>), Refusal> {
    let known = {
        let shard = lock(shard);
        shard.threads.get(&(tenant.to_owned(), thread_id.to_owned())).map(|thread| thread.state.clone())
    };
    if let Some(state) = known {
        let checkpoint = state.checkpoint().map(|(checkpoint, run_id)| (checkpoint.clone(), Some(run_id)));
        return Ok((state, checkpoint));
    }
    let row = shared.deps.results.thread(tenant, thread_id).await?;
    let state = load::thread(shared, row).await?.ok_or_else(|| Refusal::thread_not_found(thread_id))?;
    Ok((state, None))
}

async fn stored_checkpoint(shared: &Shared, state: &ThreadState) -> Result<Option<Checkpoint>, Refusal> {
    let Some(row) = newest_row(shared, state).await? else { return Ok(None) };
    Ok(parsed(&whole(shared, row).await?))
}

async fn newest_row(shared: &Shared, state: &ThreadState) -> Result<Option<CheckpointRow>, Refusal> {
    let Some(id) = state.view.checkpoint_id else { return Ok(None) };
    let owner = Key::thread(&state.tenant, &state.thread_id);
    Ok(shared.deps.results.checkpoint(&owner, "", id).await?)
}

fn parsed(row: &CheckpointRow) -> Option<Checkpoint> {
    parse(row).map(|checkpoint| (checkpoint, Some(row.run_id)))
}

/// Waits, within bounds, until what a client may have seen of the thread can be read.
async fn written(shard: &Mutex<Shard>, tenant: &str, thread_id: &str) {
    let name = (tenant.to_owned(), thread_id.to_owned());
    let deadline = Instant::now() + WRITTEN_WITHIN;
    loop {
        {
            let shard = lock(shard);
            if shard.threads.get(&name).is_none_or(|thread| thread.offset < shard.written) {
                return;
            }
        }
        if Instant::now() >= deadline {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checkpoints with what came of their tasks, as far as the runs of this page tell.
async fn entries(
    shared: &Shared,
    shard: &Mutex<Shard>,
    tenant: &str,
    state: &ThreadState,
    stored: Vec<CheckpointRow>,
) -> Result<Vec<Value>, Refusal> {
    let mut rows = Vec::with_capacity(stored.len());
    for row in stored {
        rows.push(whole(shared, row).await?);
    }
    let runs: BTreeSet<Uuid> = rows.iter().map(|row| row.run_id).chain(state.view.live.iter().copied()).collect();
    let mut outcomes = state.view.tasks.clone();
    for run_id in runs {
        outcomes_of(shared, shard, tenant, run_id, &mut outcomes).await?;
    }
    let entry = |row: &CheckpointRow| {
        let checkpoint = parse(row)?;
        Some(snapshot::historic(&state.thread_id, &state.graph, &checkpoint, row.run_id, &outcomes))
    };
    Ok(rows.iter().filter_map(entry).collect())
}

async fn outcomes_of(
    shared: &Shared,
    shard: &Mutex<Shard>,
    tenant: &str,
    run_id: Uuid,
    outcomes: &mut BTreeMap<TaskId, TaskOutcome>,
) -> Result<(), Refusal> {
    let known = {
        let shard = lock(shard);
        shard.run(run_id).map(|run| run.updates.clone())
    };
    let updates = match known {
        Some(updates) => updates,
        None => {
            let stored = load::updates(shared, tenant, run_id).await?;
            stored.into_iter().map(|(stored, _)| stored).collect()
        }
    };
    for happened in updates.iter().flat_map(|stored| &stored.record.update.happened) {
        if let Happened::TaskDone(done) = happened {
            outcomes.insert(done.task_id, TaskOutcome::of(done));
        }
    }
    Ok(())
}

/// The row with its values.
async fn whole(shared: &Shared, row: CheckpointRow) -> Result<CheckpointRow, Refusal> {
    let checkpoint = values::whole_row(&*shared.deps.blobs, row.checkpoint).await?;
    Ok(CheckpointRow { checkpoint, ..row })
}

fn parse(row: &CheckpointRow) -> Option<Checkpointed> {
    serde_json::from_slice(&row.checkpoint)
        .inspect_err(|bad| warn!(checkpoint.id = %row.checkpoint_id, error = %bad, "a checkpoint can't be read"))
        .ok()
}
