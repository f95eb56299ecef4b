//! How much runs at a time: tasks of a node, tasks of the process, and bytes until results are durable.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What all nodes of a process share.
#[derive(Clone)]
pub struct ProcessBudget {
    tasks: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

#[derive(Clone)]
pub struct Budget {
    node: Arc<Semaphore>,
    process: ProcessBudget,
}

/// Room for one task.
pub struct Admission {
    /// Held while the task runs.
    pub run: RunPermit,
    /// Held until its result is durable.
    pub bytes: OwnedSemaphorePermit,
}

pub struct RunPermit {
    _node: OwnedSemaphorePermit,
    _process: OwnedSemaphorePermit,
}

impl ProcessBudget {
    pub fn new(tasks: usize, bytes: usize) -> Self {
        let bytes_max = bytes.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let tasks = tasks.clamp(1, Semaphore::MAX_PERMITS);
        ProcessBudget { tasks: Arc::new(Semaphore::new(tasks)), bytes: Arc::new(Semaphore::new(bytes_max)), bytes_max }
    }
}

impl Budget {
    pub fn new(process: &ProcessBudget, tasks: usize) -> Self {
        let node = Arc::new(Semaphore::new(tasks.clamp(1, Semaphore::MAX_PERMITS)));
        Budget { node, process: process.clone() }
    }

    pub fn try_admit(&self, bytes: usize) -> Option<Admission> {
        let node = Arc::clone(&self.node).try_acquire_owned().ok()?;
        let process = Arc::clone(&self.process.tasks).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&self.process.bytes).try_acquire_many_owned(self.permits(bytes)).ok()?;
        Some(Admission { run: RunPermit { _node: node, _process: process }, bytes })
    }

    /// Waits for room. Always in the same order, so that nodes don't wait for each other.
    pub async fn admit(&self, bytes: usize) -> Admission {
        const NEVER_CLOSED: &str = "budgets are never closed";
        let node = Arc::clone(&self.node).acquire_owned().await.expect(NEVER_CLOSED);
        let process = Arc::clone(&self.process.tasks).acquire_owned().await.expect(NEVER_CLOSED);
        let permits = self.permits(bytes);
        let bytes = Arc::clone(&self.process.bytes).acquire_many_owned(permits).await.expect(NEVER_CLOSED);
        Admission { run: RunPermit { _node: node, _process: process }, bytes }
    }

    /// A task larger than the whole budget takes all of it.
    fn permits(&self, bytes: usize) -> u32 {
        bytes.min(self.process.bytes_max) as u32
    }
}
