//! Writes rows in the order in which their updates were read, however long the store takes.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use metrics::{counter, gauge, histogram};
use run_store::{StoreError, rows::RunWrite, values::put_values_until_taken};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing::{error, warn};

use crate::{
    config::Config,
    materialize::Rows,
    metrics::{BACKLOG_BYTES, WRITE_FAILURES, WRITE_SECONDS},
    shared::{Backoff, Shared},
};

/// Rows of one poll, and how far their partitions are once they are written.
#[derive(Debug, Default)]
pub struct Batch {
    pub rows: Rows,
    pub bytes: usize,
    pub marks: Vec<Mark>,
}

/// Every row of the partition below `next` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub partition: u32,
    /// Which ownership of the partition this belongs to.
    pub epoch: u64,
    pub next: u64,
}

/// Merges what has come in while the last write was under way, and under load what comes in for a while after: most of a
/// short run's updates are then one row. The bytes in `batches` are bounded by who sends: it stops taking in beyond
/// `backlog_bytes_max`.
pub async fn run(shared: Arc<Shared>, mut batches: mpsc::UnboundedReceiver<Batch>, marks: mpsc::UnboundedSender<Mark>) {
    let Config { runs_per_write_max, gather_from_runs, gather_for, .. } = shared.config;
    let mut busy = false;
    while let Some(mut batch) = batches.recv().await {
        let until = Instant::now() + if busy { gather_for } else { Duration::ZERO };
        while batch.rows.runs() < runs_per_write_max {
            let later = match batches.try_recv() {
                Ok(later) => Some(later),
                Err(_) if !busy => None,
                Err(_) => timeout_at(until, batches.recv()).await.ok().flatten(),
            };
            let Some(later) = later else { break };
            batch.rows.append(later.rows);
            batch.bytes += later.bytes;
            batch.marks.extend(later.marks);
        }
        busy = batch.rows.runs() >= gather_from_runs;
        let (writes, values) = batch.rows.into_parts();
        for (owner, values) in values {
            put_values_until_taken(&*shared.deps.blobs, &owner, &values).await;
        }
        write(&shared, Arc::new(writes)).await;
        let left = shared.backlog_bytes.fetch_sub(batch.bytes, Ordering::Relaxed) - batch.bytes;
        gauge!(BACKLOG_BYTES).set(left as f64);
        for mark in batch.marks {
            if marks.send(mark).is_err() {
                return;
            }
        }
    }
}

/// Returns when everything is written, or can't be by any store.
async fn write(shared: &Shared, writes: Arc<Vec<RunWrite>>) {
    if writes.is_empty() {
        return;
    }
    match try_write(shared, Arc::clone(&writes)).await {
        Ok(()) => {}
        // One run that the store refuses must not hold up the others.
        Err(_) => {
            for write in &*writes {
                if let Err(refused) = try_write(shared, Arc::new(vec![write.clone()])).await {
                    error!(run.id = %write.run_id, error = %refused, "the store refuses a run's rows; they are left out");
                }
            }
        }
    }
}

/// Tries until the rows are written; an error says that the store will never take them.
async fn try_write(shared: &Shared, writes: Arc<Vec<RunWrite>>) -> Result<(), StoreError> {
    let mut backoff = Backoff::new(shared.config.retry_pause);
    let mut said: Option<Instant> = None;
    loop {
        let began = Instant::now();
        let failed = match shared.deps.results.write(Arc::clone(&writes)).await {
            Ok(()) => {
                histogram!(WRITE_SECONDS).record(began.elapsed().as_secs_f64());
                return Ok(());
            }
            Err(failed @ StoreError::TooLarge { .. }) => return Err(failed),
            Err(failed) => failed,
        };
        counter!(WRITE_FAILURES).increment(1);
        if said.is_none_or(|said| said.elapsed() > Duration::from_secs(10)) {
            warn!(error = %failed, runs = writes.len(), "rows can't be written; streams go on, and this is tried again");
            said = Some(Instant::now());
        }
        backoff.pause().await;
    }
}
