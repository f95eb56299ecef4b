//! A thread whose history is forgotten. Where it stands is written anew first, for itself; then all else leaves the store.
//!
//! A kill in between leaves the whole history or what is left of it, never less than where the thread stands; the update
//! comes again then. Runs stay as lists show them; what streamed of them is history.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use graph::{
    envelope::{Key, Millis},
    update::{Happened, OuterCheckpoint},
};
use run_store::{
    StoreError,
    rows::{KeptValues, PageRequest, RunFilter, StateRow},
    values::THREAD_BLOB,
};
use schemas::{record::UpdateRecord, reference};

use crate::{
    copy,
    live::Shard,
    load::Waits,
    rewrite::{PAGE, Rewriting},
    routes::{Reading, Refusal},
    shared::{Backoff, Shared},
};

/// Between two looks at how far the fold's states are, doubled from the first to the second.
const COVERED_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(500));

/// Where a thread stands whose history an update says is pruned.
pub fn pruned(record: &UpdateRecord) -> Option<&[OuterCheckpoint]> {
    record.update.happened.iter().find_map(|happened| match happened {
        Happened::Edited(edited) => edited.pruned.as_deref(),
        _ => None,
    })
}

/// Takes from the store what was written of a thread before its update, but for where it stands.
pub async fn prune_thread(
    shared: &Arc<Shared>,
    shard: &Mutex<Shard>,
    waits: &Waits,
    stands: &[OuterCheckpoint],
) -> Result<(), Refusal> {
    let envelope = &waits.record.envelope;
    let (tenant, deps) = (&envelope.tenant, &shared.deps);
    let Some(thread) = envelope.thread_id.as_deref().filter(|_| !stands.is_empty()) else { return Ok(()) };
    let gone = deps.deletes.deleted(tenant, thread).await?;
    if gone.is_some_and(|at| at >= waits.position) {
        return Ok(());
    }
    let Some(state) = copy::source(shared, shard, tenant, thread).await? else { return Ok(()) };
    let rewriting = Rewriting { shared, shard, waits, state: &state, owner: Key::thread(tenant, thread) };
    let folded = folded(shared, waits, &rewriting.owner).await?;
    for some in stands.chunks(PAGE as usize) {
        let reading = Reading::listing(shared, shard, &state);
        let mut page = Vec::with_capacity(some.len());
        for OuterCheckpoint { ns, checkpoint_id } in some {
            page.extend(reading.checkpoint(ns, *checkpoint_id).await?);
        }
        rewriting.page(reading, page).await?;
    }
    let named = named(&rewriting, folded, stands).await?;
    let written_before = waits.record.update.at - shared.config.values_young.as_millis() as Millis;
    deps.deletes.prune_thread(tenant, thread, waits.position, &KeptValues { named, written_before }).await?;
    Ok(())
}

/// The fold's state of the thread, once no record below the update's is folded again: a replay would ask for what is gone.
async fn folded(shared: &Shared, waits: &Waits, owner: &Key) -> Result<Option<StateRow>, StoreError> {
    let (states, partition) = (&shared.deps.states, waits.record.position.partition);
    let mut backoff = Backoff::new(COVERED_PAUSE);
    loop {
        let state = states.state(partition, owner).await?;
        let is_stored = state.as_ref().is_some_and(|row| row.position >= waits.position);
        if is_stored || states.covered(partition).await?.is_some_and(|covered| covered > waits.position) {
            return Ok(state);
        }
        backoff.pause().await;
    }
}

/// The values that something names which stays.
async fn named(
    pruned: &Rewriting<'_>,
    folded: Option<StateRow>,
    stands: &[OuterCheckpoint],
) -> Result<BTreeSet<String>, StoreError> {
    let (results, state) = (&pruned.shared.deps.results, pruned.state);
    let mut named = BTreeSet::from([THREAD_BLOB.to_owned()]);
    let mut add = |row: &Bytes| {
        let references = reference::references_of_row(row);
        named.extend(references.into_iter().flat_map(|table| table.values).map(|value| value.hash));
    };
    folded.and_then(|row| row.state).iter().for_each(&mut add);
    results.thread(&state.tenant, &state.thread_id).await?.iter().for_each(|row| add(&row.view));
    for OuterCheckpoint { ns, checkpoint_id } in stands {
        results.checkpoint(&pruned.owner, ns, *checkpoint_id).await?.iter().for_each(|row| add(&row.checkpoint));
    }
    let of_thread = RunFilter { thread_id: Some(state.thread_id.clone()), ..RunFilter::default() };
    let mut page = PageRequest { limit: pruned.shared.config.page_max, cursor: None };
    loop {
        let runs = results.runs(&state.tenant, &of_thread, &page).await?;
        runs.rows.iter().for_each(|run| add(&run.view));
        match runs.cursor {
            Some(cursor) => page.cursor = Some(cursor),
            None => return Ok(named),
        }
    }
}
