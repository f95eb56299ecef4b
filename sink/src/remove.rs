//! What clients delete or undo leaves the store when all that was read before is written, and before anything else of the thread
//! is applied. Whoever waits for it is told then.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use graph::update::Happened;
use schemas::record::UpdateRecord;
use tracing::warn;

use crate::{
    copy,
    live::{Shard, lock},
    load::{Found, Waits},
    prune,
    shared::{Backoff, Shared},
};

/// Between two looks at how far the writer is.
const WRITTEN_PAUSE: Duration = Duration::from_millis(2);

/// Whether an update takes something away that was written before.
pub fn removes(record: &UpdateRecord) -> bool {
    deletes_thread(record) || undoes_run(record)
}

/// Whether the store has to be as it was told before, when the update is applied: something is taken away, copied, or pruned.
pub fn waits_for_store(record: &UpdateRecord) -> bool {
    removes(record) || copy::copied_to(record).is_some() || prune::pruned(record).is_some()
}

/// Whether an update says that its thread was deleted.
pub fn deletes_thread(record: &UpdateRecord) -> bool {
    record.update.happened.iter().any(|happened| matches!(happened, Happened::Edited(edited) if edited.deleted))
}

/// Whether an update says that its run is as if it had never been. One without a thread leaves nobody as he was: it stays.
pub fn undoes_run(record: &UpdateRecord) -> bool {
    record.envelope.thread_id.is_some()
        && record.update.happened.iter().any(|happened| matches!(happened, Happened::Ended(ended) if ended.rolled_back))
}

impl Found {
    /// Whether the update is in the store: it was applied before, and comes again.
    pub fn knows(&self, record: &Arc<UpdateRecord>) -> bool {
        let stored = self.run.iter().flatten();
        stored.into_iter().any(|(stored, _)| stored.record.update.number >= record.update.number)
    }
}

/// Returns when what the update at `offset` takes away has left the store, or what it copies is there, with every row of an update before it.
pub async fn after_all_before(shared: &Arc<Shared>, shard: &Mutex<Shard>, offset: u64, waits: &Waits) {
    while lock(shard).written < offset {
        tokio::time::sleep(WRITTEN_PAUSE).await;
    }
    let envelope = &waits.record.envelope;
    let Some(thread_id) = &envelope.thread_id else { return };
    let deletes = &shared.deps.deletes;
    let mut backoff = Backoff::new(shared.config.retry_pause);
    if let Some(to) = copy::copied_to(&waits.record) {
        while let Err(failed) = copy::copy_thread(shared, shard, waits, to).await {
            warn!(error = ?failed, "a thread can't be copied; its updates wait, and this is tried again");
            backoff.pause().await;
        }
        return;
    }
    if let Some(stands) = prune::pruned(&waits.record) {
        while let Err(failed) = prune::prune_thread(shared, shard, waits, stands).await {
            warn!(error = ?failed, "a thread can't be pruned; its updates wait, and this is tried again");
            backoff.pause().await;
        }
        return;
    }
    loop {
        let done = match undoes_run(&waits.record) {
            true => deletes.delete_run(&envelope.tenant, thread_id, envelope.run_id, waits.position).await,
            false => deletes.delete_thread(&envelope.tenant, thread_id, waits.position).await,
        };
        let Err(failed) = done else { return };
        warn!(error = %failed, "rows can't be deleted; the thread's updates wait, and this is tried again");
        backoff.pause().await;
    }
}
