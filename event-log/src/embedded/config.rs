//! What can be set, each with its unit, and bounds that can't.

use std::sync::Arc;

/// Milliseconds since the epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Settings of an [`super::EmbeddedLog`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Largest record, as [`crate::Record::size`] counts.
    pub record_bytes_max: usize,
    /// Bytes taken and not yet on disk. Over it an append is refused as unavailable; what begins work should stop at
    /// [`super::EmbeddedLog::pressure`] 0.9, so that what ends work still finds room.
    pub queue_bytes_max: usize,
    /// Bytes packed into one row; a larger commit group becomes several rows of one transaction.
    pub row_bytes_max: usize,
    /// A segment that has grown to this is followed by a new one.
    pub segment_bytes_max: u64,
    /// A segment older than this, or than an eighth of its class's retention, is followed by a new one.
    pub segment_age_ms_max: u64,
    /// Records kept in memory for readers at the tail, for each class on disk.
    pub tail_bytes_max: usize,
    /// Records kept of all ephemeral topics together.
    pub ephemeral_bytes_max: usize,
    /// Bytes on disk at which [`super::EmbeddedLog::pressure`] is 1; without it only the queue counts.
    pub disk_bytes_max: Option<u64>,
    /// How often segments past their retention are looked for.
    pub retention_check_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            record_bytes_max: 1 << 20,
            queue_bytes_max: 64 << 20,
            row_bytes_max: 4 << 20,
            segment_bytes_max: 256 << 20,
            segment_age_ms_max: 6 * 60 * 60 * 1000,
            tail_bytes_max: 64 << 20,
            ephemeral_bytes_max: 32 << 20,
            disk_bytes_max: None,
            retention_check_ms: 60_000,
        }
    }
}

/// A revoked partition goes to its next owner after this, released or not.
pub(super) const RELEASE_MS_MAX: u64 = 5_000;
/// Offset metadata, as Kafka's brokers bound it.
pub(super) const METADATA_BYTES_MAX: usize = 4_096;
/// Offsets of an ephemeral partition that are reserved at a time.
pub(super) const OFFSET_BLOCK: u64 = 1 << 20;
/// Records that one call of `next` hands over.
pub(super) const BATCH_RECORDS_MAX: usize = 1_024;
/// Records of one partition in that, while others have some too.
pub(super) const BATCH_PARTITION_RECORDS_MAX: usize = 256;
/// Bytes that one call of `next` hands over; a single record may be larger.
pub(super) const BATCH_BYTES_MAX: usize = 1 << 20;
/// Threads that read back from disk.
pub(super) const READ_THREADS: usize = 2;
/// Segments that each of them keeps open.
pub(super) const READ_SEGMENTS_OPEN_MAX: usize = 8;
/// Every how many rows a partition's place is remembered; a read looks through at most as many to find its first.
pub(super) const INDEX_ROWS: i64 = 64;
/// Pages of 8 KiB in a segment's WAL before they are moved into the file.
pub(super) const CHECKPOINT_PAGES: u32 = 2_048;
