//! The suite is tried too: each broken log fails a case, by name, that a log in the same wrapping passes.

use std::{sync::Arc, time::Duration};

use event_log::{
    conformance::{CASES, Stop, run, writer},
    embedded::Config,
};

mod broken;
mod harness;

use broken::{BrokenHarness, BrokenLog, Fault};
use harness::Embedded;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_acks_before_the_sync() {
    finds(Fault::AcksBeforeTheSync, "acked_records_survive_a_kill").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_loses_its_last_record_at_reopen() {
    finds(Fault::LosesTheLastRecordAtReopen, "acked_records_survive_a_reopen").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_swaps_two_records() {
    finds(Fault::SwapsTwoRecords, "order_in_a_partition_is_the_order_of_calls").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_skips_a_record_after_a_rebalance() {
    finds(Fault::SkipsOneAfterARebalance, "a_leaver_hands_over_at_its_commit").await;
    finds(Fault::SkipsOneAfterARebalance, "joining_and_leaving_skips_nothing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cuts_metadata_short() {
    finds(Fault::CutsMetadataShort, "metadata_of_4096_bytes_comes_back_and_more_is_refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_forgets_metadata() {
    finds(Fault::ForgetsMetadata, "metadata_of_4096_bytes_comes_back_and_more_is_refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_takes_a_stale_owners_commit() {
    finds(Fault::TakesAStaleOwnersCommit, "a_commit_by_a_stale_owner_is_refused").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_acks_an_offset_twice() {
    finds(Fault::AcksAnOffsetTwice, "callers_at_once_keep_their_own_order").await;
    finds(Fault::AcksAnOffsetTwice, "an_ack_tells_the_offset_that_is_read").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_ignores_pause() {
    finds(Fault::IgnoresPause, "a_paused_partition_is_silent_and_loses_nothing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_groups_share_offsets() {
    finds(Fault::SharesOffsetsBetweenGroups, "two_groups_are_independent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_tail_misses_the_first_record() {
    finds(Fault::MissesTheFirstAtTheTail, "the_tail_is_only_what_is_new").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cuts_a_large_record_short() {
    finds(Fault::CutsALargeRecordShort, "a_record_over_the_limit_is_refused_and_nothing_after_it_lost").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_loses_what_a_cancelled_read_had() {
    finds(Fault::LosesWhatACancelledReadHad, "a_cancelled_read_loses_nothing").await;
    finds(Fault::LosesWhatACancelledReadHad, "a_cancelled_next_loses_nothing").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_hands_over_before_the_release() {
    finds(Fault::HandsOverBeforeTheRelease, "a_revoked_partition_waits_for_its_release").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_silent_of_a_partition_that_comes_back() {
    finds(Fault::IsSilentOfAPartitionThatComesBack, "a_partition_that_comes_back_is_read").await;
}

/// The case passes on the log without the fault, and fails with it.
async fn finds(fault: Fault, name: &str) {
    let case = CASES.iter().find(|case| case.name == name).unwrap();
    if fault != Fault::AcksBeforeTheSync {
        let good = BrokenHarness { fault: Fault::None, good: Embedded::new(Config::default()) };
        if let Err(stop) = run(case, &good).await {
            panic!("{name} fails without a fault: {stop:?}");
        }
    }
    let patience = Duration::from_secs(1);
    let broken = BrokenHarness { fault, good: Embedded { config: Config::default(), patience } };
    match run(case, &broken).await {
        Err(Stop::Broken(reason)) => println!("{fault:?} was found by {name}: {reason}"),
        other => panic!("{fault:?} was not found by {name}: {other:?}"),
    }
}

/// Only the log that acks too early writes through this binary.
#[test]
fn conformance_writer() {
    writer::run_if_asked(|folder| async move {
        let good = harness::open_for_writer(&folder);
        Arc::new(BrokenLog::new(good, Fault::AcksBeforeTheSync, Arc::default())) as _
    });
}
