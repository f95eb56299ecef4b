//! What the parts of one sink share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::{
    config::{Config, Deps},
    live::{Limits, Live},
};

pub struct Shared {
    pub config: Config,
    pub deps: Deps,
    pub live: Live,
    /// Bytes of updates whose rows are not written yet.
    pub backlog_bytes: AtomicUsize,
    pub loads: Semaphore,
    pub tasks: TaskTracker,
}

impl Shared {
    pub fn new(config: Config, deps: Deps) -> Arc<Self> {
        let tasks = TaskTracker::new();
        let loads = Semaphore::new(config.loads_max);
        Arc::new(Shared { config, deps, live: Live::default(), backlog_bytes: AtomicUsize::new(0), loads, tasks })
    }

    pub fn limits(&self) -> Limits {
        let Config {
            hold_max,
            interest_keep,
            awaited_runs_max,
            finished_keep,
            unwatched_keep,
            client_buffer_events_max: buffer_events_max,
            ..
        } = self.config;
        Limits { hold_max, interest_keep, awaited_runs_max, finished_keep, unwatched_keep, buffer_events_max }
    }

    pub fn backlog(&self) -> usize {
        self.backlog_bytes.load(Ordering::Relaxed)
    }
}

/// Pauses between tries: from the first to the second, doubled each time.
pub struct Backoff {
    next: Duration,
    first: Duration,
    last: Duration,
}

impl Backoff {
    pub fn new((first, last): (Duration, Duration)) -> Self {
        Backoff { next: first, first, last }
    }

    pub async fn pause(&mut self) {
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.last);
    }

    pub fn reset(&mut self) {
        self.next = self.first;
    }
}
