//! Reads from the store what a run or thread was before this process saw it.

use std::sync::Arc;

use bytes::Bytes;
use run_store::{
    Position, StoreError,
    rows::{ThreadRow, UpdateRow},
};
use schemas::record::UpdateRecord;
use tracing::{error, warn};
use uuid::Uuid;

use crate::{
    live::Stored,
    prune, remove,
    shared::{Backoff, Shared},
    thread::ThreadState,
    values::{self, Unread},
};

const PAGE_ROWS: u32 = 500;

/// What is missing before an update can be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    pub run: bool,
    pub thread: bool,
    pub values: bool,
    /// What the update takes away is still in the store.
    pub removal: bool,
}

impl Missing {
    pub fn nothing(self) -> bool {
        !self.run && !self.thread && !self.values && !self.removal
    }
}

/// What was found of it.
#[derive(Debug, Default)]
pub struct Found {
    pub run: Option<Vec<(Stored, Position)>>,
    /// None inside: there is no such thread in the store.
    pub thread: Option<Option<ThreadState>>,
    /// The update itself with its values.
    pub whole: Option<Arc<UpdateRecord>>,
    /// Its thread was deleted or pruned after what it tells of: it comes again, and too late.
    pub late: bool,
}

/// An update that waits, and where it stands.
pub struct Waits {
    pub record: Arc<UpdateRecord>,
    pub payload: Bytes,
    pub position: Position,
}

/// Asks until the store answers.
pub async fn load(shared: &Shared, waits: &Waits, missing: Missing) -> Found {
    let found = load_rows(shared, waits, missing).await;
    if !missing.values || found.late {
        return found;
    }
    let whole = values::whole_update(&*shared.deps.blobs, Arc::clone(&waits.record), &waits.payload).await;
    Found { whole: Some(whole), ..found }
}

async fn load_rows(shared: &Shared, waits: &Waits, missing: Missing) -> Found {
    let record = &waits.record;
    let mut backoff = Backoff::new(shared.config.retry_pause);
    loop {
        match try_load(shared, waits, missing).await {
            Ok(found) => return found,
            Err(StoreError::Corrupt { reason }) => {
                error!(run.id = %record.envelope.run_id, reason, "a run's rows are damaged; it goes on without them");
                let (run, thread) = (missing.run.then(Vec::new), missing.thread.then_some(None));
                return Found { run, thread, ..Found::default() };
            }
            Err(failed) => {
                warn!(run.id = %record.envelope.run_id, error = %failed, "a run can't be read; its updates wait");
                backoff.pause().await;
            }
        }
    }
}

async fn try_load(shared: &Shared, waits: &Waits, missing: Missing) -> Result<Found, StoreError> {
    let envelope = &waits.record.envelope;
    let mut found = Found::default();
    if let (true, Some(thread_id)) = (missing.run, &envelope.thread_id) {
        let deleted = shared.deps.deletes.deleted(&envelope.tenant, thread_id).await?;
        found.late = deleted.is_some_and(|deleted| is_late(waits, deleted));
        if found.late {
            return Ok(found);
        }
    }
    if missing.run {
        found.run = Some(updates(shared, &envelope.tenant, envelope.run_id).await?);
    }
    if let (true, Some(thread_id)) = (missing.thread, &envelope.thread_id) {
        let row = shared.deps.results.thread(&envelope.tenant, thread_id).await?;
        found.thread = Some(listed_thread(shared, row).await?);
    }
    Ok(found)
}

/// Whether an update tells of what was there before its thread was deleted or pruned. What deletes or prunes it stands at that
/// very position.
fn is_late(waits: &Waits, deleted: Position) -> bool {
    match prune::pruned(&waits.record) {
        Some(_) => waits.position < deleted,
        None => waits.position <= deleted && !remove::deletes_thread(&waits.record),
    }
}

/// A thread's row, with its values.
pub async fn thread(shared: &Shared, row: Option<ThreadRow>) -> Result<Option<ThreadState>, Unread> {
    let Some(mut row) = row else { return Ok(None) };
    row.view = values::whole_row(&*shared.deps.blobs, row.view).await?;
    Ok(ThreadState::from_row(row))
}

/// As [`thread`], for a list or for what comes next: a value that is gone doesn't take the thread with it.
pub async fn listed_thread(shared: &Shared, row: Option<ThreadRow>) -> Result<Option<ThreadState>, StoreError> {
    let Some(mut row) = row else { return Ok(None) };
    row.view = values::listed(&*shared.deps.blobs, row.view).await?;
    Ok(ThreadState::from_row(row))
}

/// All updates of a run that the store has, in order.
pub async fn updates(shared: &Shared, tenant: &str, run_id: Uuid) -> Result<Vec<(Stored, Position)>, StoreError> {
    let mut updates = Vec::new();
    let mut after = 0;
    loop {
        let rows = shared.deps.results.updates(tenant, run_id, after, PAGE_ROWS).await?;
        let full = rows.len() == PAGE_ROWS as usize;
        for UpdateRow { number, position, update } in rows {
            after = number;
            let record = serde_json::from_slice::<UpdateRecord>(&update).map_err(|bad| StoreError::Corrupt {
                reason: format!("update {number} of run {run_id} can't be read: {bad}"),
            })?;
            let record = values::whole_update_now(&*shared.deps.blobs, record, &update).await?;
            updates.push((Stored { record, payload: update }, position));
        }
        if !full {
            return Ok(updates);
        }
    }
}
