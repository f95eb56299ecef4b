//! Reads from the store what a run or thread was before this process saw it.

use std::sync::Arc;

use run_store::{Position, Results, StoreError, rows::UpdateRow};
use schemas::record::UpdateRecord;
use tracing::{error, warn};
use uuid::Uuid;

use crate::{
    live::Stored,
    shared::{Backoff, Shared},
    thread::ThreadState,
};

const PAGE_ROWS: u32 = 500;

/// What is missing before an update can be applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    pub run: bool,
    pub thread: bool,
}

impl Missing {
    pub fn nothing(self) -> bool {
        !self.run && !self.thread
    }
}

/// What was found of it.
#[derive(Debug, Default)]
pub struct Found {
    pub run: Option<Vec<(Stored, Position)>>,
    /// None inside: there is no such thread in the store.
    pub thread: Option<Option<ThreadState>>,
}

/// Asks until the store answers.
pub async fn load(shared: &Shared, record: &UpdateRecord, missing: Missing) -> Found {
    let mut backoff = Backoff::new(shared.config.retry_pause);
    loop {
        match try_load(&*shared.deps.results, record, missing).await {
            Ok(found) => return found,
            Err(StoreError::Corrupt { reason }) => {
                error!(run.id = %record.envelope.run_id, reason, "a run's rows are damaged; it goes on without them");
                return Found { run: missing.run.then(Vec::new), thread: missing.thread.then_some(None) };
            }
            Err(failed) => {
                warn!(run.id = %record.envelope.run_id, error = %failed, "a run can't be read; its updates wait");
                backoff.pause().await;
            }
        }
    }
}

async fn try_load(results: &dyn Results, record: &UpdateRecord, missing: Missing) -> Result<Found, StoreError> {
    let envelope = &record.envelope;
    let mut found = Found::default();
    if missing.run {
        found.run = Some(updates(results, &envelope.tenant, envelope.run_id).await?);
    }
    if let (true, Some(thread_id)) = (missing.thread, &envelope.thread_id) {
        let row = results.thread(&envelope.tenant, thread_id).await?;
        found.thread = Some(row.and_then(ThreadState::from_row));
    }
    Ok(found)
}

/// All updates of a run that the store has, in order.
pub async fn updates(results: &dyn Results, tenant: &str, run_id: Uuid) -> Result<Vec<(Stored, Position)>, StoreError> {
    let mut updates = Vec::new();
    let mut after = 0;
    loop {
        let rows = results.updates(tenant, run_id, after, PAGE_ROWS).await?;
        let full = rows.len() == PAGE_ROWS as usize;
        for UpdateRow { number, position, update } in rows {
            after = number;
            let record = serde_json::from_slice::<UpdateRecord>(&update).map_err(|bad| StoreError::Corrupt {
                reason: format!("update {number} of run {run_id} can't be read: {bad}"),
            })?;
            updates.push((Stored { record: Arc::new(record), payload: update }, position));
        }
        if !full {
            return Ok(updates);
        }
    }
}
