//! The one suite that every log passes. For backends' tests; nothing else uses it.
//!
//! A backend implements [`Harness`] and [`Instance`], then lists the suite in a test file:
//!
//! ```ignore
//! event_log::conformance_suite!(my_harness());   // one #[test] for each of CASES
//! ```
//! or runs [`CASES`] itself through [`run`]. For the case that kills a process, the test binary must also hold
//! ```ignore
//! #[test]
//! fn conformance_writer() { event_log::conformance::writer::run_if_asked(|target| async { open(target) }) }
//! ```
//! and the instance answer [`Instance::write_and_kill`] by [`writer::write_until_killed`]; a backend that can't
//! answers None there, and the case is skipped.

pub mod writer;

mod appending;
mod compaction;
mod durability;
mod ground;
mod member;
mod ownership;
mod reading;
mod sharing;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;

pub use ground::Ground;

use crate::{contract::EventLog, error::LogError};

/// Retention of the topics that [`Instance::pass_retention`] is asked about.
pub const RETENTION_MS: u64 = 60_000;

/// Makes logs to be tried.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A log in which none of the names that its [`Instance::name`] gives is taken.
    async fn fresh(&self) -> Box<dyn Instance>;

    /// What this machine lacks to try the log at all: the cases are skipped, and say so.
    fn missing(&self) -> Option<&'static str> {
        None
    }

    /// How long something that should happen may take. What should not happen is waited for a tenth of it.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }
}

/// A log being tried.
#[async_trait]
pub trait Instance: Send + Sync {
    fn log(&self) -> Arc<dyn EventLog>;

    /// The name of a topic or group in this log; one that is shared by several instances puts a prefix before it.
    fn name(&self, name: &str) -> String {
        name.to_owned()
    }

    /// Closes the log and opens the same data again.
    async fn reopen(&mut self);

    /// Closes the log, has another process append to `topic` until it is killed, and opens the data again. Returns
    /// what was acked to that process, in the order of the acks; None where the backend has no such process.
    async fn write_and_kill(&mut self, topic: &str, acks_min: usize) -> Option<Vec<writer::Acked>>;

    /// Lets more than [`RETENTION_MS`] pass and has the log remove what is older. False where that can't be done.
    async fn pass_retention(&mut self) -> bool {
        false
    }
}

/// Why a case ended early.
#[derive(Debug)]
pub enum Stop {
    /// The log does not keep the contract.
    Broken(String),
    /// The harness can't bring about what the case needs.
    NotHere(&'static str),
}

impl From<LogError> for Stop {
    fn from(error: LogError) -> Self {
        Stop::Broken(format!("an unexpected error: {error}"))
    }
}

pub type CaseResult = Result<(), Stop>;

type Run = for<'a> fn(&'a mut Ground) -> Pin<Box<dyn Future<Output = CaseResult> + Send + 'a>>;

/// One promise of the contract.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    run: Run,
}

/// Tries a case on a fresh log.
pub async fn run(case: &Case, harness: &dyn Harness) -> CaseResult {
    let mut ground = Ground::new(harness.fresh().await, harness.patience());
    let result = (case.run)(&mut ground).await;
    ground.log().close().await;
    result
}

/// Tries a case on a runtime of its own.
///
/// # Panics
/// Where the log does not keep the contract.
pub fn run_named(name: &str, harness: &dyn Harness) {
    if let Some(missing) = harness.missing() {
        return println!("skipped: {name}: {missing}");
    }
    let case = CASES.iter().find(|case| case.name == name).expect("a case of that name");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.expect("a runtime").block_on(run(case, harness)) {
        Ok(()) => {}
        Err(Stop::NotHere(reason)) => println!("skipped {name}: {reason}"),
        Err(Stop::Broken(reason)) => panic!("{name}: {reason}"),
    }
}

macro_rules! broken {
    ($($text:tt)*) => { return Err($crate::conformance::Stop::Broken(format!($($text)*))) };
}
macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err($crate::conformance::Stop::Broken(format!($($text)*)));
        }
    };
}
use {broken, ensure};

macro_rules! cases {
    ($d:tt $($file:ident { $($name:ident)* })*) => {
        /// The suite.
        pub const CASES: &[Case] =
            &[$($(Case { name: stringify!($name), run: |ground| Box::pin($file::$name(ground)) }),*),*];

        /// One `#[test]` for each of the suite's cases, on the harness that the expression makes.
        #[macro_export]
        macro_rules! conformance_suite {
            ($d harness:expr) => {
                $($(
                    #[test]
                    fn $name() {
                        $d crate::conformance::run_named(stringify!($name), &$d harness);
                    }
                )*)*
            };
        }
    };
}

cases! { $
    appending {
        order_in_a_partition_is_the_order_of_calls
        callers_at_once_keep_their_own_order
        an_ack_tells_the_offset_that_is_read
        a_key_has_one_partition
        headers_and_empty_payloads_come_back
        a_record_over_the_limit_is_refused_and_nothing_after_it_lost
        an_unknown_topic_or_partition_is_an_error
        a_topic_is_made_once
        a_lossy_append_never_waits
        a_closed_log_says_so
    }
    durability {
        acked_records_survive_a_reopen
        acked_records_survive_a_kill
        commits_survive_a_reopen
        ephemeral_offsets_never_repeat
        old_records_go_and_new_ones_stay
    }
    compaction {
        the_newest_record_of_a_key_is_kept
    }
    reading {
        reading_begins_in_the_middle
        the_tail_is_only_what_is_new
        a_waiting_reader_is_woken
        a_cancelled_read_loses_nothing
        an_offset_outside_of_the_log_is_an_error
        a_reader_that_fell_behind_misses_nothing
    }
    sharing {
        a_group_reads_every_record
        members_share_the_partitions
        a_partition_that_comes_back_is_read
        joining_and_leaving_skips_nothing
        a_leaver_hands_over_at_its_commit
        two_groups_are_independent
        a_slow_consumer_holds_up_nobody
        a_cancelled_next_loses_nothing
    }
    ownership {
        metadata_of_4096_bytes_comes_back_and_more_is_refused
        a_commit_by_a_stale_owner_is_refused
        a_revoked_partition_waits_for_its_release
        a_paused_partition_is_silent_and_loses_nothing
        reading_goes_on_where_it_is_told_to
    }
}
