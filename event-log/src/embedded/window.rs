//! How much of the newest records stays in memory: the oldest go first, whichever partition they are of.

use std::{collections::VecDeque, sync::Arc};

use super::partition::PartitionLog;
use crate::{
    record::{Offset, Record},
    topic::Class,
};

/// What a record takes beside its bytes, roughly.
const RECORD_OVERHEAD_BYTES: usize = 160;

pub(super) struct Window {
    bytes_max: usize,
    bytes: usize,
    chunks: VecDeque<Chunk>,
}

struct Chunk {
    log: Arc<PartitionLog>,
    end: Offset,
    bytes: usize,
    timestamp: i64,
}

impl Window {
    pub(super) fn new(bytes_max: usize) -> Self {
        Window { bytes_max, bytes: 0, chunks: VecDeque::new() }
    }

    /// Counts records that were published, up to `end`, and evicts others for them.
    pub(super) fn push(&mut self, log: &Arc<PartitionLog>, end: Offset, bytes: usize, timestamp: i64) {
        self.bytes += bytes;
        self.chunks.push_back(Chunk { log: Arc::clone(log), end, bytes, timestamp });
        // The newest chunk stays, so that readers at the tail never need the disk.
        while self.bytes > self.bytes_max && self.chunks.len() > 1 {
            self.evict_oldest();
        }
    }

    /// Evicts ephemeral records that are past their retention.
    pub(super) fn expire(&mut self, now: i64) {
        while self.chunks.front().is_some_and(|chunk| match chunk.log.class {
            Class::Ephemeral { retention_ms } => now.saturating_sub(chunk.timestamp) > retention_ms as i64,
            Class::Durable { .. } | Class::Compacted => false,
        }) {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) {
        if let Some(chunk) = self.chunks.pop_front() {
            self.bytes -= chunk.bytes;
            chunk.log.evict(chunk.end);
        }
    }
}

/// What a record takes in memory; a parsed form is taken to be three times its payload.
pub(super) fn bytes_of(record: &Record) -> usize {
    let local = if record.local.is_some() { 3 * record.payload.len() } else { 0 };
    record.size() + local + RECORD_OVERHEAD_BYTES
}
