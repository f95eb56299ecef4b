//! One execution, as the consumer and the execution itself see it.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU8, Ordering},
};

use schemas::record::TaskRecord;
use tokio_util::sync::CancellationToken;

use crate::window::TaskIssue;

pub struct Running {
    pub task: Option<TaskIssue>,
    pub stop: CancellationToken,
    stage: AtomicU8,
    /// Set before it is under way.
    record: OnceLock<Arc<TaskRecord>>,
}

/// Spawned; nothing of it has left the process.
const SPAWNED: u8 = 0;
const UNDER_WAY: u8 = 1;
/// Its result has its place in the log's order.
const SENT: u8 = 2;
/// Its partition was let go before it began: the next owner does it.
const FORGOTTEN: u8 = 3;

impl Running {
    pub fn new(task: Option<TaskIssue>, stop: CancellationToken) -> Self {
        Running { task, stop, stage: AtomicU8::new(SPAWNED), record: OnceLock::new() }
    }

    /// Before its first effect; false where it was forgotten.
    pub fn begin(&self, record: Option<&Arc<TaskRecord>>) -> bool {
        if let Some(record) = record {
            let _ = self.record.set(Arc::clone(record));
        }
        self.stage.compare_exchange(SPAWNED, UNDER_WAY, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Keeps it from beginning; without effect where it has.
    pub fn forget(&self) {
        let _ = self.stage.compare_exchange(SPAWNED, FORGOTTEN, Ordering::AcqRel, Ordering::Acquire);
    }

    pub fn sent(&self) {
        self.stage.store(SENT, Ordering::Release);
    }

    pub fn is_sent(&self) -> bool {
        self.stage.load(Ordering::Acquire) == SENT
    }

    /// The task, while it is under way.
    pub fn under_way(&self) -> Option<&Arc<TaskRecord>> {
        if self.stage.load(Ordering::Acquire) == UNDER_WAY { self.record.get() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_never_begins_and_what_has_begun_is_not_forgotten() {
        let running = Running::new(None, CancellationToken::new());
        running.forget();
        assert!(!running.begin(None));

        let running = Running::new(None, CancellationToken::new());
        assert!(running.begin(None));
        running.forget();
        running.sent();
        assert!(running.is_sent());
    }
}
