//! Topics, what class of promise they carry, and which partition a key belongs to.

use xxhash_rust::xxh3::xxh3_64;

/// A topic to make. Making one that exists with the same partitions is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: u32,
    pub class: Class,
}

/// Retention classes; topics of two classes never share a row or a segment of the embedded log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Kept for `retention_ms`, durable when acked.
    Durable { retention_ms: u64 },
    /// The newest record of each key is kept, durable when acked.
    Compacted,
    /// For eyes only: kept for minutes, acked without a sync, and the embedded log never writes it to disk.
    /// Its offsets never repeat, across restarts too.
    Ephemeral { retention_ms: u64 },
}

/// The partition of a key, the same for every backend, topic and process.
pub fn partition_for(key: &[u8], partitions: u32) -> u32 {
    (xxh3_64(key) % u64::from(partitions)) as u32
}
