//! Records that live in memory only: readable at once, bounded by bytes and time, their offsets never given out twice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    jobs::Jobs,
    meta::Order,
    partition::PartitionLog,
    window::{Window, bytes_of},
};
use crate::record::{Offset, Record};

pub(super) struct Ephemerals {
    window: Mutex<Window>,
    meta: Arc<Jobs<Order>>,
}

impl Ephemerals {
    pub(super) fn new(bytes_max: usize, meta: Arc<Jobs<Order>>) -> Self {
        Ephemerals { window: Mutex::new(Window::new(bytes_max)), meta }
    }

    /// The record's offset; None while the partition waits for its next block of offsets.
    pub(super) fn append(&self, log: &Arc<PartitionLog>, timestamp: i64, record: Record) -> Option<Offset> {
        let bytes = bytes_of(&record);
        let taken = log.publish_ephemeral(timestamp, record)?;
        if let Some(below) = taken.reserve {
            self.meta.push(Order::Reserve { log: Arc::clone(log), below });
        }
        let mut window = self.window();
        window.expire(timestamp);
        window.push(log, taken.offset + 1, bytes, timestamp);
        Some(taken.offset)
    }

    pub(super) fn expire(&self, now: i64) {
        self.window().expire(now);
    }

    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
