//! Reads of threads, in LangGraph's shapes.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Json,
    extract::{Path, Query, State, rejection::QueryRejection},
};
use event_log::partition_for;
use graph::envelope::Key;
use run_store::rows::{CheckpointRow, ThreadFilter};
use schemas::http::List;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Refusal, Tenant,
    checkpoints::{Reading, parsed},
    runs::page,
};
use crate::{
    live::{Place, Shard, lock},
    load,
    outcome::Outcomes,
    shared::Shared,
    snapshot::{self, Saved, Sight},
    thread::ThreadState,
    values,
};

/// LangGraph's own.
const HISTORY_DEFAULT: u32 = 1;
const HISTORY_MAX: u32 = 1_000;
/// How long a read of checkpoints waits until those that were streamed are written too.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

pub async fn thread(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(thread_id): Path<String>,
    query: Result<Query<ThreadQuery>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(ThreadQuery { include }) = query?;
    let (state, checkpoint) = newest(&shared, &tenant, &thread_id).await?;
    let mut shown = snapshot::thread(&state, checkpoint.as_ref().map(|saved| &saved.checkpoint));
    if let (Some(Included::Ttl), Some(ttl)) = (include, state.view.ttl) {
        shown["ttl"] = json!(ttl);
    }
    Ok(Json(shown))
}

#[derive(Debug, Deserialize)]
pub struct ThreadQuery {
    include: Option<Included>,
}

/// What is shown of a thread to whoever asks for it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Included {
    Ttl,
}

#[derive(Debug, Deserialize)]
pub struct StateQuery {
    checkpoint_id: Option<Uuid>,
    /// Of a subgraph; the thread's own graph where it is empty.
    #[serde(default)]
    ns: String,
    #[serde(default)]
    subgraphs: bool,
}

/// The newest state, or that of one checkpoint.
pub async fn state(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(thread_id): Path<String>,
    query: Result<Query<StateQuery>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let Query(StateQuery { checkpoint_id, ns, subgraphs }) = query?;
    let shard = shard_of_thread(&shared, &tenant, &thread_id)?;
    let (state, known) = known_or_stored(&shared, &shard, &tenant, &thread_id).await?;
    if checkpoint_id.is_some() || subgraphs || !ns.is_empty() {
        written(&shard, &tenant, &thread_id).await?;
    }
    let mut reading = Reading::new(&shared, &shard, &state);
    let found = match checkpoint_id {
        Some(id) => Some(reading.checkpoint(&ns, id).await?.ok_or_else(|| unknown_checkpoint(&state, id))?),
        None if !ns.is_empty() => reading.newest(&ns).await?,
        None if known.is_some() => known,
        None => stored_checkpoint(&shared, &state).await?,
    };
    let Some(mut saved) = found else { return Ok(Json(snapshot::nothing())) };
    let is_latest = checkpoint_id.is_none();
    if !is_latest || !ns.is_empty() {
        reading.look_at(&mut saved).await?;
    }
    let inner = if subgraphs { Some(reading.inside(&saved.checkpoint).await?) } else { None };
    let mut outcomes = reading.outcomes().await?;
    if is_latest {
        outcomes.extend(state.view.tasks.clone());
    }
    let sight = Sight {
        thread_id: &thread_id,
        graph: &state.graph,
        outcomes: &outcomes,
        inner: inner.as_ref(),
        pending: &state.view.inner,
    };
    Ok(Json(match (is_latest, ns.is_empty()) {
        (true, true) => sight.latest(&state, &saved),
        (true, false) => sight.latest_inside(&saved),
        (false, _) => sight.historic(&saved),
    }))
}

fn unknown_checkpoint(state: &ThreadState, id: Uuid) -> Refusal {
    let says = match state.view.pruned.is_some_and(|kept| id < kept) {
        true => "the thread's history was pruned, and this checkpoint with it; read its latest state",
        false => "the thread has no such checkpoint",
    };
    Refusal::invalid("checkpoint_id", says)
}

#[derive(Debug, Deserialize)]
pub struct HistoryQuery {
    limit: Option<u32>,
    before: Option<Uuid>,
    #[serde(default)]
    ns: String,
    /// JSON: only states whose metadata has all of these.
    metadata: Option<String>,
}

pub async fn history(
    State(shared): State<Arc<Shared>>,
    Tenant(tenant): Tenant,
    Path(thread_id): Path<String>,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<Vec<Value>>, Refusal> {
    let Query(HistoryQuery { limit, before, ns, metadata }) = query?;
    let bad = |_| Refusal::invalid("metadata", "metadata is a JSON object");
    let wanted: Option<Map<String, Value>> =
        metadata.map(|text| serde_json::from_str(&text).map_err(bad)).transpose()?;
    let shard = shard_of_thread(&shared, &tenant, &thread_id)?;
    let (state, _) = known_or_stored(&shared, &shard, &tenant, &thread_id).await?;
    written(&shard, &tenant, &thread_id).await?;
    let limit = limit.unwrap_or(HISTORY_DEFAULT).clamp(1, HISTORY_MAX) as usize;
    let mut reading = Reading::new(&shared, &shard, &state);
    let nothing = Outcomes::new();
    let fits = |saved: &Saved| {
        let Some(wanted) = &wanted else { return true };
        let sight = Sight {
            thread_id: &thread_id,
            graph: &state.graph,
            outcomes: &nothing,
            inner: None,
            pending: &state.view.inner,
        };
        let metadata = sight.metadata(&saved.checkpoint, saved.run_id);
        wanted.iter().all(|(name, value)| metadata.get(name) == Some(value))
    };
    let mut found: Vec<Saved> = Vec::new();
    let mut before = before;
    while found.len() < limit {
        let page = shared.config.page_max.min(if wanted.is_some() { u32::MAX } else { (limit - found.len()) as u32 });
        let saved = reading.checkpoints(&ns, before, page).await?;
        let (count, last) = (saved.len(), saved.last().map(|saved| saved.checkpoint.checkpoint_id));
        found.extend(saved.into_iter().filter(fits));
        if count < page as usize {
            break;
        }
        before = last.or(before);
    }
    found.truncate(limit);
    for saved in &mut found {
        reading.look_at(saved).await?;
    }
    let outcomes = reading.outcomes().await?;
    let sight = Sight {
        thread_id: &thread_id,
        graph: &state.graph,
        outcomes: &outcomes,
        inner: None,
        pending: &state.view.inner,
    };
    Ok(Json(found.iter().map(|saved| sight.historic(saved)).collect()))
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
        data.push(snapshot::thread(&state, checkpoint.as_ref().map(|saved| &saved.checkpoint)));
    }
    Ok(Json(List { data, next_cursor: found.cursor }))
}

/// The thread with its newest checkpoint.
async fn newest(shared: &Shared, tenant: &str, thread_id: &str) -> Result<(ThreadState, Option<Saved>), Refusal> {
    let shard = shard_of_thread(shared, tenant, thread_id)?;
    let (state, checkpoint) = known_or_stored(shared, &shard, tenant, thread_id).await?;
    let checkpoint = match checkpoint {
        Some(checkpoint) => Some(checkpoint),
        None => stored_checkpoint(shared, &state).await?,
    };
    Ok((state, checkpoint))
}

/// The partition in memory that a thread lives in, when it knows all that was ever shown of the thread.
fn shard_of_thread(shared: &Shared, tenant: &str, thread_id: &str) -> Result<Arc<Mutex<Shard>>, Refusal> {
    let partitions = shared.live.partitions();
    if partitions == 0 {
        return Err(Refusal::Moved);
    }
    let key = Key::thread(tenant, thread_id);
    match shared.live.place(partition_for(key.as_str().as_bytes(), partitions)) {
        Place::Here(shard) if lock(&shard).is_behind(&key) => Err(Refusal::Moved),
        Place::Here(shard) => Ok(shard),
        Place::Elsewhere => Err(Refusal::Moved),
        Place::Nowhere => Err(Refusal::thread_not_found(thread_id)),
    }
}

/// From memory, or from the store where nothing happened to the thread since.
async fn known_or_stored(
    shared: &Shared,
    shard: &Mutex<Shard>,
    tenant: &str,
    thread_id: &str,
) -> Result<(ThreadState, Option<Saved>), Refusal> {
    let known = {
        let shard = lock(shard);
        shard.threads.get(&(tenant.to_owned(), thread_id.to_owned())).map(|thread| thread.state.clone())
    };
    if let Some(state) = known {
        let checkpoint = state.checkpoint().map(|(checkpoint, run_id)| Saved {
            checkpoint: checkpoint.clone(),
            run_id: Some(run_id),
            origin: None,
        });
        return Ok((state, checkpoint));
    }
    let row = shared.deps.results.thread(tenant, thread_id).await?;
    let state = load::thread(shared, row).await?.ok_or_else(|| Refusal::thread_not_found(thread_id))?;
    Ok((state, None))
}

async fn stored_checkpoint(shared: &Shared, state: &ThreadState) -> Result<Option<Saved>, Refusal> {
    let Some(row) = newest_row(shared, state).await? else { return Ok(None) };
    let checkpoint = values::whole_row(&*shared.deps.blobs, row.checkpoint).await?;
    Ok(parsed(&CheckpointRow { checkpoint, ..row }))
}

async fn newest_row(shared: &Shared, state: &ThreadState) -> Result<Option<CheckpointRow>, Refusal> {
    let Some(id) = state.view.checkpoint_id else { return Ok(None) };
    let owner = Key::thread(&state.tenant, &state.thread_id);
    Ok(shared.deps.results.checkpoint(&owner, "", id).await?)
}

/// Waits until what a client may have seen of the thread can be read. Past the bound it is asked again, or told to be.
async fn written(shard: &Mutex<Shard>, tenant: &str, thread_id: &str) -> Result<(), Refusal> {
    let name = (tenant.to_owned(), thread_id.to_owned());
    let deadline = Instant::now() + WRITTEN_WITHIN;
    loop {
        {
            let shard = lock(shard);
            if shard.threads.get(&name).is_none_or(|thread| thread.offset < shard.written) {
                return Ok(());
            }
        }
        if Instant::now() >= deadline {
            return Err(Refusal::Moved);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
