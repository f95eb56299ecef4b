//! Whether the log still works. It fails once and for good: after a disk error nobody knows what was kept.

use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{Notify, watch};

use crate::error::LogError;

#[derive(Clone, Debug)]
pub(super) enum Failure {
    Disk(String),
    Damage(String),
}

impl Failure {
    pub(super) fn error(&self) -> LogError {
        match self {
            Failure::Disk(reason) => LogError::Unavailable { reason: reason.clone() },
            Failure::Damage(reason) => LogError::Corrupt { reason: reason.clone() },
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Failure::Damage(error.to_string()),
            _ => Failure::Disk(error.to_string()),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Disk(error.to_string())
    }
}

pub(super) struct Status {
    failure: OnceLock<Failure>,
    closed: AtomicBool,
    failed: watch::Sender<bool>,
    /// Readers and consumers, who must hear of the end.
    waiting: Mutex<Vec<Weak<Notify>>>,
}

impl Status {
    pub(super) fn new() -> Self {
        Status {
            failure: OnceLock::new(),
            closed: AtomicBool::new(false),
            failed: watch::Sender::new(false),
            waiting: Mutex::new(Vec::new()),
        }
    }

    /// A notify that is woken when the log ends.
    pub(super) fn waker(&self) -> Arc<Notify> {
        let notify = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|known| known.strong_count() > 0);
        waiting.push(Arc::downgrade(&notify));
        notify
    }

    /// What every call meets first.
    pub(super) fn check(&self) -> Result<(), LogError> {
        if let Some(failure) = self.failure.get() {
            return Err(failure.error());
        }
        if self.closed.load(Ordering::Acquire) { Err(LogError::Closed) } else { Ok(()) }
    }

    pub(super) fn fail(&self, failure: Failure) {
        tracing::error!(log.failure = ?failure, "the embedded log failed and takes no more calls");
        let _ = self.failure.set(failure);
        self.failed.send_replace(true);
        self.wake();
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake();
    }

    pub(super) async fn failed(&self) -> LogError {
        let mut failed = self.failed.subscribe();
        // The sender lives as long as `self`.
        let _ = failed.wait_for(|failed| *failed).await;
        self.failure.get().map_or(LogError::Closed, Failure::error)
    }

    fn wake(&self) {
        for waiting in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
            waiting.notify_one();
        }
    }
}
