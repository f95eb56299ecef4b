//! What can go wrong with the log, and whether the thing asked for may have happened.

/// Why the log did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("topic {topic} does not exist; make it with `millstream topics apply`, or set `create = true` under [log]")]
    UnknownTopic { topic: String },
    #[error("topic {topic} has {partitions} partitions, so there is no partition {partition}")]
    UnknownPartition { topic: String, partition: u32, partitions: u32 },
    /// Nothing was appended.
    #[error(
        "a record of {bytes} bytes is over the log's limit of {limit} bytes; put its large values behind references"
    )]
    RecordTooLarge { bytes: usize, limit: usize },
    /// Nothing was committed.
    #[error("offset metadata of {bytes} bytes is over the limit of 4096 bytes")]
    MetadataTooLarge { bytes: usize },
    /// The partition belongs to another member by now; nothing was committed.
    #[error("partition {partition} of {topic} is no longer owned by this member of {group}")]
    StaleOwner { group: String, topic: String, partition: u32 },
    /// The offset was removed by retention, or never written.
    #[error("offset {offset} of {topic}/{partition} is outside of the log ({start} to {end})")]
    OutOfRange { topic: String, partition: u32, offset: u64, start: u64, end: u64 },
    /// The record may or may not be in the log.
    #[error("the log can't be reached: {reason}")]
    Unavailable { reason: String },
    /// No repeat helps: somebody has to change the configuration.
    #[error("the log can't be used: {reason}")]
    Misconfigured { reason: String },
    #[error("the log is damaged: {reason}")]
    Corrupt { reason: String },
    #[error("the log is closed")]
    Closed,
}

impl LogError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, LogError::Unavailable { .. })
    }
}
