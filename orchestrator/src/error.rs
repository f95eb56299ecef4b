//! Why an orchestrator stops, or an owner gives its partition up.

use event_log::{LogError, Offset};
use run_store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the log failed the orchestrator")]
    Log(#[from] LogError),
    #[error("the store failed the orchestrator")]
    Store(#[from] StoreError),
    /// An output may be missing from the log: the owner must recover before it puts out another.
    #[error("an output of record {offset} was not taken by the log")]
    OutputLost {
        offset: Offset,
        #[source]
        source: LogError,
    },
    /// The state that it was folded into is torn: the owner must fold anew, without the record.
    #[error("the fold panicked on record {offset} of partition {partition}")]
    FoldPanicked { partition: u32, offset: Offset },
    #[error("commits of partition {partition} have failed for {seconds} s")]
    CommitsFail { partition: u32, seconds: u64 },
    /// A newer version wrote it; an older one must not guess what it means.
    #[error("record {offset} of partition {partition} needs a newer version of millstream: {reason}")]
    UnknownRecord { partition: u32, offset: Offset, reason: String },
    #[error(
        "replay of partition {partition} would begin at offset {offset}, but the log holds {start} to {end}: \
         the log lost records that the store doesn't cover"
    )]
    ReplayOutsideLog { partition: u32, offset: Offset, start: Offset, end: Offset },
    #[error("the state of {key} can't be read: {reason}")]
    State { key: String, reason: String },
    #[error("graph version {hash} can't be read: {reason}")]
    Spec { hash: String, reason: String },
    #[error("offset {offset} is beyond what a position can hold")]
    Position { offset: Offset },
}
