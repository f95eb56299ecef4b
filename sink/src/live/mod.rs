//! Runs in memory, by partition: what streams, waits and reads by id are answered from.

mod run;
mod shard;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

pub use run::{LiveRun, Stored, waited};
pub use shard::{Applied, Limits, LiveThread, Shard};
pub use watch::{Awaiting, Ending, EndingCell, Filter, Joined, Viewing, Watcher};

/// The partitions that this sink serves now.
#[derive(Default)]
pub struct Live {
    /// Of `updates`; 0 until the log has said.
    partitions: AtomicU32,
    shards: RwLock<BTreeMap<u32, Arc<Mutex<Shard>>>>,
}

/// Where a run or thread is looked for.
pub enum Place {
    Here(Arc<Mutex<Shard>>),
    /// Another sink serves the partition, or none does yet.
    Elsewhere,
    /// No such partition: the id was not made here.
    Nowhere,
}

impl Live {
    pub fn set_partitions(&self, partitions: u32) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    pub fn partitions(&self) -> u32 {
        self.partitions.load(Ordering::Relaxed)
    }

    pub fn place(&self, partition: u32) -> Place {
        let partitions = self.partitions();
        if partitions > 0 && partition >= partitions {
            return Place::Nowhere;
        }
        let shards = self.shards.read().unwrap_or_else(PoisonError::into_inner);
        shards.get(&partition).map_or(Place::Elsewhere, |shard| Place::Here(Arc::clone(shard)))
    }

    pub fn open(&self, partition: u32, shard: Shard) -> Arc<Mutex<Shard>> {
        let shard = Arc::new(Mutex::new(shard));
        let mut shards = self.shards.write().unwrap_or_else(PoisonError::into_inner);
        shards.insert(partition, Arc::clone(&shard));
        shard
    }

    /// Stops serving a partition; whoever watches is told to go elsewhere.
    pub fn close(&self, partition: u32) {
        let closed = self.shards.write().unwrap_or_else(PoisonError::into_inner).remove(&partition);
        if let Some(shard) = closed {
            lock(&shard).end_all(Ending::Moved);
        }
    }

    pub fn shards(&self) -> Vec<Arc<Mutex<Shard>>> {
        self.shards.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// A panic under the lock leaves one run half told, not the partition unserved.
pub fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
