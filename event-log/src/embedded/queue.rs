//! Appends on their way to the committer, in the order of the calls.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use super::partition::{PartitionLog, Refusal};
use crate::{
    error::LogError,
    record::{Appended, Record},
};

/// A record that was taken and is not yet on disk.
pub(super) struct Pending {
    pub(super) log: Arc<PartitionLog>,
    pub(super) timestamp: i64,
    pub(super) record: Record,
    pub(super) ack: Option<oneshot::Sender<Result<Appended, LogError>>>,
}

/// What the committer does next.
pub(super) enum Next {
    /// Everything that gathered while the last group was synced.
    Group {
        pending: Vec<Pending>,
        oldest: Option<Instant>,
    },
    /// Retention is to be enforced now; the reply says that it was.
    Retention(Option<oneshot::Sender<()>>),
    End,
}

pub(super) struct Queue {
    bytes_max: usize,
    bytes: AtomicUsize,
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    pending: Vec<Pending>,
    oldest: Option<Instant>,
    retention: Vec<oneshot::Sender<()>>,
    closed: bool,
    sleeping: bool,
}

/// Why an append was not taken.
pub(super) enum Refused {
    Closed,
    Full(Refusal),
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Queue { bytes_max, bytes: AtomicUsize::new(0), state: Mutex::default(), ready: Condvar::new() }
    }

    /// Takes the record; its timestamp is drawn under the lock, so that timestamps follow the order of offsets.
    pub(super) fn push(
        &self,
        log: Arc<PartitionLog>,
        record: Record,
        ack: Option<oneshot::Sender<Result<Appended, LogError>>>,
        now: impl FnOnce() -> i64,
    ) -> Result<(), Refused> {
        let size = record.size();
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        if log.refuses() || self.bytes.load(Ordering::Relaxed) + size > self.bytes_max {
            return Err(Refused::Full(log.refuse()));
        }
        self.bytes.fetch_add(size, Ordering::Relaxed);
        if state.pending.is_empty() {
            state.oldest = Some(Instant::now());
        }
        state.pending.push(Pending { log, timestamp: now(), record, ack });
        let wake = std::mem::take(&mut state.sleeping);
        drop(state);
        if wake {
            self.ready.notify_one();
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes are counted until they are on disk.
    pub(super) fn settle(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn enforce_retention(&self, done: oneshot::Sender<()>) {
        self.state().retention.push(done);
        self.ready.notify_one();
    }

    /// Waits for work, and for retention's turn. `spare` is an empty group to gather the next appends in.
    pub(super) fn next(&self, spare: Vec<Pending>, patience: Duration) -> Next {
        let mut state = self.state();
        loop {
            if !state.pending.is_empty() {
                let pending = std::mem::replace(&mut state.pending, spare);
                return Next::Group { pending, oldest: state.oldest.take() };
            }
            if let Some(done) = state.retention.pop() {
                return Next::Retention(Some(done));
            }
            if state.closed {
                return Next::End;
            }
            state.sleeping = true;
            let (woken, timeout) = self.ready.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.sleeping = false;
            if timeout.timed_out() && state.pending.is_empty() {
                return Next::Retention(None);
            }
        }
    }

    pub(super) fn close(&self) {
        self.state().closed = true;
        self.ready.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
