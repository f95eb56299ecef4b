//! What a case works with: the store, names that are its own, and rows made of few words.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use graph::{
    envelope::{Key, Millis},
    ids,
    task::{Usage, UsageSource},
    update::RunStatus,
};
use uuid::Uuid;

use super::harness::Harness;
use crate::{
    contract::RunStore,
    error::StoreError,
    position::Position,
    rows::{ArchivedRow, CheckpointRow, RunRow, RunWrite, StateRow, ThreadRow, UpdateRow, UsageRow},
};

pub type Outcome = Result<(), Failure>;

/// Why a case failed.
#[derive(Debug)]
pub struct Failure(pub String);

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure(format!("the store answered: {error}"))
    }
}

/// Fails the case where two values differ.
macro_rules! same {
    ($found:expr, $expected:expr, $($what:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) if found == expected => {}
            (found, expected) => {
                return Err($crate::conformance::Failure(format!(
                    "{}: found {found:?}, expected {expected:?}", format_args!($($what)+)
                )));
            }
        }
    };
}

/// Fails the case where a condition does not hold.
macro_rules! holds {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Failure(format!($($what)+)));
        }
    };
}

pub(super) use {holds, same};

/// When the tests' runs begin: 2025-11-21 10:40 UTC.
pub(super) const AT: Millis = 1_763_721_600_000;

pub struct Bench<'h> {
    harness: &'h dyn Harness,
    pub(super) store: Arc<dyn RunStore>,
    unique: u64,
}

impl<'h> Bench<'h> {
    pub(super) async fn new(harness: &'h dyn Harness) -> Result<Self, Failure> {
        let store = harness.open().await?;
        Ok(Bench { harness, store, unique: harness.unique() })
    }

    pub(super) async fn reopen(&mut self) -> Outcome {
        self.store = self.harness.reopen().await?;
        Ok(())
    }

    pub(super) async fn forget(&self, now: Millis) -> Outcome {
        Ok(self.harness.forget(now).await?)
    }

    /// `word`, as no other case says it.
    pub(super) fn name(&self, word: &str) -> String {
        format!("{word}-{:x}", self.unique)
    }

    pub(super) fn tenant(&self) -> String {
        self.name("acme")
    }

    /// A partition that no other case uses.
    pub(super) fn partition(&self, n: u32) -> u32 {
        (self.unique % 100_000_000) as u32 * 10 + n
    }

    pub(super) fn key(&self, word: &str) -> Key {
        Key::thread(&self.tenant(), word)
    }

    pub(super) fn state(&self, key: &Key, at: u64, state: Option<&str>) -> StateRow {
        StateRow {
            key: key.clone(),
            partition: self.partition(0),
            position: position(at),
            state: state.map(|text| Bytes::copy_from_slice(text.as_bytes())),
            wake_at: None,
            expires_at: None,
        }
    }

    /// The state's text as stored.
    pub(super) async fn text_of(&self, key: &Key) -> Result<Option<String>, Failure> {
        let row = self.store.state(self.partition(0), key).await?;
        Ok(row.and_then(|row| row.state).map(|state| String::from_utf8_lossy(&state).into_owned()))
    }

    /// The n-th run, begun n minutes after the first.
    pub(super) fn run(&self, n: u64) -> RunRow {
        let created_at = AT + n as Millis * 60_000;
        RunRow {
            tenant: self.tenant(),
            run_id: ids::run_id(created_at, self.unique.rotate_left(32) ^ n, 3),
            position: position(100 + n),
            thread_id: None,
            user: None,
            graph: "support".into(),
            graph_hash: "f00d".into(),
            status: RunStatus::Success,
            created_at,
            updated_at: created_at + 500,
            number: 4,
            view: Bytes::from(format!("{{\"n\":{n}}}")),
        }
    }

    pub(super) fn thread(&self, thread_id: &str, n: u64) -> ThreadRow {
        let created_at = AT + n as Millis * 60_000;
        ThreadRow {
            tenant: self.tenant(),
            thread_id: thread_id.to_owned(),
            position: position(100 + n),
            user: None,
            graph: "support".into(),
            created_at,
            updated_at: created_at,
            view: Bytes::from(format!("{{\"n\":{n}}}")),
        }
    }

    pub(super) fn call(&self, n: u64) -> UsageRow {
        UsageRow {
            tenant: self.tenant(),
            call_id: self.name(&format!("call-{n}")),
            run_id: self.run(n).run_id,
            endpoint: "/chat".into(),
            graph: "support".into(),
            node: "answer".into(),
            provider: "openai".into(),
            model: "small".into(),
            user: None,
            key: None,
            started_at: AT + n as Millis,
            duration_ms: 900,
            outcome: "ok".into(),
            usage: Usage {
                input_tokens: 10,
                output_tokens: 3,
                cached_tokens: 2,
                cache_write_tokens: 4,
                reasoning_tokens: 1,
                cost_nano_usd: 5_000_000_000,
                calls_unpriced: 0,
            },
            source: UsageSource::Reported,
        }
    }

    pub(super) fn checkpoint(&self, owner: &Key, ns: &str, n: u64) -> CheckpointRow {
        let run_id = self.run(0).run_id;
        CheckpointRow {
            tenant: self.tenant(),
            owner: owner.clone(),
            ns: ns.to_owned(),
            checkpoint_id: ids::checkpoint_id(AT + n as Millis, run_id, n as i64),
            run_id,
            position: position(100 + n),
            checkpoint: Bytes::from(format!("{{\"step\":{n}}}")),
        }
    }

    /// The n-th checkpoint as it was put away at `at`.
    pub(super) fn archived(&self, owner: &Key, ns: &str, n: u64, at: u64) -> ArchivedRow {
        ArchivedRow {
            owner: owner.clone(),
            ns: ns.to_owned(),
            checkpoint_id: self.checkpoint(owner, ns, n).checkpoint_id,
            position: position(at),
            checkpoint: Bytes::from(format!("{{\"step\":{n},\"at\":{at}}}")),
        }
    }

    /// Writes only views of runs.
    pub(super) async fn write_runs(&self, rows: impl IntoIterator<Item = RunRow>) -> Outcome {
        let writes: Vec<_> =
            rows.into_iter().map(|row| RunWrite { run: Some(row.clone()), ..write_of(&row) }).collect();
        Ok(self.store.write(writes.into()).await?)
    }

    pub(super) async fn write_threads(&self, rows: impl IntoIterator<Item = ThreadRow>) -> Outcome {
        let run = self.run(0);
        let writes: Vec<_> = rows
            .into_iter()
            .map(|row| RunWrite { tenant: row.tenant.clone(), thread: Some(row), ..write_of(&run) })
            .collect();
        Ok(self.store.write(writes.into()).await?)
    }

    pub(super) async fn write_updates(&self, run: &RunRow, numbers: impl IntoIterator<Item = u64>) -> Outcome {
        let updates = numbers.into_iter().map(update).collect();
        Ok(self.store.write(vec![RunWrite { updates, ..write_of(run) }].into()).await?)
    }
}

/// A write of that run with nothing in it yet.
pub(super) fn write_of(run: &RunRow) -> RunWrite {
    RunWrite { tenant: run.tenant.clone(), run_id: run.run_id, ..RunWrite::default() }
}

pub(super) fn update(number: u64) -> UpdateRow {
    UpdateRow { number, position: position(number), update: Bytes::from(format!("{{\"number\":{number}}}")) }
}

pub(super) fn position(offset: u64) -> Position {
    Position::from_u64((1 << 40) + offset)
}

pub(super) fn ids_of(rows: &[RunRow]) -> Vec<Uuid> {
    rows.iter().map(|row| row.run_id).collect()
}
