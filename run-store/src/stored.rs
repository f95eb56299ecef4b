//! Words and numbers as the stores keep them. Frozen: rows of every shipped version must stay readable.

use bytes::Bytes;
use graph::{envelope::Millis, task::UsageSource, update::RunStatus};
use uuid::Uuid;

use crate::{
    error::StoreError,
    rows::{RunWrite, SecretHash, UsageBy},
};

/// The largest value that a store takes where nothing else is configured.
pub const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Values of one page of items, about: a page that reaches it is short.
pub(crate) const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

pub(crate) const DAY_MS: Millis = 24 * 60 * 60 * 1000;

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

pub(crate) fn secret_hash(bytes: Vec<u8>) -> Result<SecretHash, StoreError> {
    bytes.try_into().map_err(|_| corrupt("the hash of an api key has not 32 bytes"))
}

pub(crate) fn corrupt(reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { reason: reason.into() }
}

/// The time that a UUIDv7 begins with.
pub(crate) fn millis_of(id: Uuid) -> Millis {
    (id.as_u128() >> 80) as Millis
}

/// The lowest id of a millisecond.
pub(crate) fn first_id_at(at: Millis) -> Uuid {
    Uuid::from_u128((at.clamp(0, (1 << 48) - 1) as u128) << 80)
}

/// How far a run's id may lie from its `created_at`: lists are ordered by id and narrowed by time.
pub(crate) const ID_SLACK_MS: Millis = 60 * 60 * 1000;

/// The UTC date of a moment, as `2026-11-21`.
pub(crate) fn date(at: Millis) -> String {
    // Days to civil date, after Howard Hinnant's `civil_from_days`.
    let days = at.div_euclid(DAY_MS) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

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
    fn dates_are_utc() {
        for (at, expect) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400_000, "2000-02-29"),
            (1_763_769_599_999, "2025-11-21"),
            (1_763_769_600_000, "2025-11-22"),
        ] {
            assert_eq!(date(at), expect);
        }
    }

    #[test]
    fn an_id_gives_back_its_time() {
        let at = 1_763_721_600_123;
        assert_eq!(millis_of(graph::ids::run_id(at, u64::MAX, 7)), at);
        assert!(first_id_at(at) <= graph::ids::run_id(at, 0, 0));
        assert!(first_id_at(at + 1) > graph::ids::run_id(at, u64::MAX, u16::MAX));
    }
}
