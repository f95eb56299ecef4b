//! Words and numbers as the stores keep them. Frozen: rows of every shipped version must stay readable.

use bytes::Bytes;
use graph::{envelope::Millis, task::UsageSource, update::RunStatus};
use uuid::Uuid;

use crate::{
    error::StoreError,
    rows::{RunWrite, UsageBy},
};

/// The largest value that a store takes where nothing else is configured.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(crate) fn status(word: &str) -> Result<RunStatus, StoreError> {
    const ALL: [RunStatus; 7] = [
        RunStatus::Pending,
        RunStatus::Running,
        RunStatus::Success,
        RunStatus::Error,
        RunStatus::Timeout,
        RunStatus::Interrupted,
        RunStatus::Cancelled,
    ];
    ALL.into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| corrupt(format!("a row has the unknown run status {word:?}")))
}

pub(crate) fn source_word(source: UsageSource) -> &'static str {
    match source {
        UsageSource::Reported => "reported",
        UsageSource::Estimated => "estimated",
        UsageSource::Missing => "missing",
    }
}

pub(crate) fn uuid(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|_| corrupt(format!("an id of {} bytes in the place of 16", bytes.len())))
}

pub(crate) fn corrupt(reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { reason: reason.into() }
}

/// The lowest id of a millisecond.
pub(crate) fn first_id_at(at: Millis) -> Uuid {
    Uuid::from_u128((at.clamp(0, (1 << 48) - 1) as u128) << 80)
}

/// How far a run's id may lie from its `created_at`: lists are ordered by id and narrowed by time.
pub(crate) const ID_SLACK_MS: Millis = 60 * 60 * 1000;

pub(crate) fn check_size(value: &Bytes, limit: usize) -> Result<(), StoreError> {
    if value.len() > limit {
        return Err(StoreError::TooLarge { bytes: value.len(), limit });
    }
    Ok(())
}

/// Refuses a write with a value over the limit before any of it is stored.
pub(crate) fn check_sizes(runs: &[RunWrite], limit: usize) -> Result<(), StoreError> {
    for RunWrite { tenant: _, run_id: _, updates, run, thread, checkpoints, usage: _ } in runs {
        updates.iter().try_for_each(|row| check_size(&row.update, limit))?;
        run.iter().try_for_each(|row| check_size(&row.view, limit))?;
        thread.iter().try_for_each(|row| check_size(&row.view, limit))?;
        checkpoints.iter().try_for_each(|row| check_size(&row.checkpoint, limit))?;
    }
    Ok(())
}

/// The column that a key of sums stands in.
pub(crate) fn usage_column(by: UsageBy) -> &'static str {
    match by {
        UsageBy::Endpoint => "endpoint",
        UsageBy::Graph => "graph",
        UsageBy::Node => "node",
        UsageBy::Model => "model",
        UsageBy::User => "user",
        UsageBy::Key => "api_key",
        UsageBy::Day => "day",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_moment_is_the_lowest() {
        let at = 1_763_721_600_123;
        assert!(first_id_at(at) <= graph::ids::run_id(at, 0, 0));
        assert!(first_id_at(at + 1) > graph::ids::run_id(at, u64::MAX, u16::MAX));
    }
}
