//! The suite is tested too: each broken store fails the case that was made for its flaw.

mod broken;
mod embedded_harness;

use broken::{BrokenHarness, Flaw};
use run_store::conformance::{CASES, case};

/// Each flaw and a case that must find it.
const FOUND_BY: &[(Flaw, &str)] = &[
    (Flaw::OlderStateWins, "an_older_state_loses"),
    (Flaw::TombstonesDropped, "a_deleted_state_stays_deleted"),
    (Flaw::StatesLostAtReopen, "states_survive_a_reopen"),
    (Flaw::SleepersNeverLeave, "who_no_longer_sleeps_is_not_listed"),
    (Flaw::CoveredGoesBack, "covered_never_goes_back"),
    (Flaw::ClaimGivenTwice, "a_key_is_claimed_once"),
    (Flaw::SetOnceTakesTheLast, "set_once_keeps_the_first_value"),
    (Flaw::KeysChangedUnseen, "a_key_is_made_once"),
    (Flaw::KeysChangedUnseen, "a_key_is_changed_by_who_saw_it_last"),
    (Flaw::KeysStay, "a_revoked_key_is_gone"),
    (Flaw::LastPublishCallWins, "the_latest_publish_wins"),
    (Flaw::BlobsSharedByOwners, "a_blob_belongs_to_its_owner"),
    (Flaw::PageCutShort, "pages_are_complete_without_repeats"),
    (Flaw::PageRepeatsARow, "pages_are_complete_without_repeats"),
    (Flaw::CursorTakenByAnyList, "a_foreign_cursor_is_refused"),
    (Flaw::ListIgnoresTenant, "a_tenant_lists_no_other_tenants_runs"),
    (Flaw::OlderViewWins, "an_older_view_of_a_run_loses"),
    (Flaw::UpdatesBackwards, "updates_come_in_order"),
    (Flaw::UsageCountedTwice, "a_call_is_counted_once"),
    (Flaw::BeforeIsIncluded, "checkpoints_begin_before_one"),
    (Flaw::LastArchivedCounts, "a_reader_sees_what_there_was_below_its_record"),
    (Flaw::OneArchiveForAll, "archives_of_namespaces_and_owners_are_apart"),
    (Flaw::HistoryOutlivesItsThread, "a_deleted_thread_leaves_nothing"),
    (Flaw::DeletedForEver, "a_deleted_thread_may_begin_anew"),
    (Flaw::ItemsByTheLettersOfLabels, "items_are_found_by_whole_labels"),
    (Flaw::ItemsShared, "items_of_tenants_are_apart"),
    (Flaw::ItemsNeverEnd, "an_expired_item_is_not_read"),
    (Flaw::RefreshWritesWhatWasRead, "a_refresh_brings_nothing_back"),
    (Flaw::DeletesAreForgotten, "where_a_thread_was_deleted_is_known"),
    (Flaw::UndoneRunsLeaveHistory, "a_run_that_was_undone_leaves_nothing_and_takes_nothing_with_it"),
    (Flaw::PruningTakesTheLatest, "a_pruned_thread_keeps_what_was_written_anew"),
    (Flaw::PruningForgetsSubgraphs, "a_pruned_thread_keeps_what_was_written_anew"),
    (Flaw::PruningTakesNamedValues, "values_of_a_pruned_thread_stay_that_are_named_or_young"),
    (Flaw::PruningTakesYoungValues, "values_of_a_pruned_thread_stay_that_are_named_or_young"),
    (Flaw::DeletesAreForgotten, "what_follows_a_pruning_stays"),
    (Flaw::HalfABatchWritten, "a_thousand_runs_are_written_at_once"),
    (Flaw::UpdatesBeforeTheRest, "an_update_is_found_when_all_that_was_written_with_it_is"),
];

#[tokio::test]
async fn every_broken_store_fails_its_case() {
    for (flaw, name) in FOUND_BY {
        let case = case(name).unwrap_or_else(|| panic!("there is no case {name}"));
        let outcome = case.run(&BrokenHarness::new(Some(*flaw))).await;
        let failure = outcome.expect_err(&format!("{flaw:?} passed {name}"));
        assert!(!failure.to_string().contains("the store answered"), "{flaw:?} failed {name} by accident: {failure}");
    }
}

/// A wrapper without a flaw passes: what the broken ones fail by is their flaw.
#[tokio::test]
async fn the_wrapper_itself_breaks_nothing() {
    let harness = BrokenHarness::new(None);
    for (_, name) in FOUND_BY {
        let case = CASES.iter().find(|case| case.name == *name).expect("the case");
        if let Err(failure) = case.run(&harness).await {
            panic!("{name}: {failure}");
        }
    }
}
