//! What every store must do, listed by name. Both backends pass it; each broken store fails the case made for it.
//!
//! A case uses names of its own, so that a store that is dear to make can serve all cases.

mod archive;
mod bench;
mod blobs;
mod checkpoints;
mod claims;
mod deletes;
mod durability;
mod harness;
mod items;
mod keys;
mod lists;
mod paging;
mod positions;
mod prunes;
mod specs;
mod states;
mod tenants;
mod threads;
mod updates;
mod usage;

pub use bench::{Bench, Failure, Outcome};
pub use harness::Harness;

use futures_util::future::BoxFuture;

/// One promise of the contract.
pub struct Case {
    pub name: &'static str,
    run: for<'a, 'h> fn(&'a mut Bench<'h>) -> BoxFuture<'a, Outcome>,
}

impl Case {
    pub async fn run(&self, harness: &dyn Harness) -> Outcome {
        let mut bench = Bench::new(harness).await?;
        (self.run)(&mut bench).await
    }
}

/// The case of that name.
pub fn case(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// Runs all cases and names those that fail, each with why.
pub async fn run_all(harness: &dyn Harness) -> Vec<(&'static str, Failure)> {
    let mut failed = Vec::new();
    for case in CASES {
        if let Err(failure) = case.run(harness).await {
            failed.push((case.name, failure));
        }
    }
    failed
}

macro_rules! cases {
    ($($module:ident: $($name:ident)+;)+) => {
        &[$($(Case { name: stringify!($name), run: |bench| Box::pin($module::$name(bench)) },)+)+]
    };
}

pub const CASES: &[Case] = cases! {
    positions:
        a_newer_state_replaces_an_older_one
        an_older_state_loses
        an_equal_state_may_be_repeated
        a_deleted_state_stays_deleted
        a_delete_that_comes_late_deletes_nothing_newer
        a_delete_loses_to_a_write_at_its_position
        a_deleted_key_may_begin_anew
        an_older_view_of_a_run_loses
        an_older_view_of_a_thread_loses
        covered_never_goes_back;
    claims:
        a_key_is_claimed_once
        another_body_meets_the_first_claim
        an_expired_claim_is_free_again
        claims_of_tenants_are_apart
        one_of_many_claimants_wins
        set_once_keeps_the_first_value
        one_of_many_set_once_wins;
    keys:
        a_key_is_made_once
        a_key_is_changed_by_who_saw_it_last
        a_revoked_key_is_gone
        one_of_many_changes_of_a_key_wins
        keys_survive_a_reopen;
    specs:
        a_spec_is_found_by_its_hash
        the_latest_publish_wins
        the_current_version_of_every_graph_is_listed
        versions_are_newest_first;
    states:
        a_state_comes_back_whole
        many_states_are_put_at_once
        sleepers_are_listed_by_time
        who_no_longer_sleeps_is_not_listed
        an_expired_state_is_forgotten
        covered_is_by_partition;
    blobs:
        a_blob_belongs_to_its_owner
        a_blob_may_be_written_again
        a_megabyte_comes_back_whole
        a_value_over_the_limit_is_refused
        values_of_any_size_come_back
        a_value_that_is_not_whole_is_missing;
    updates:
        updates_come_in_order
        updates_begin_after_a_number
        repeated_updates_are_read_once
        a_long_run_is_read_in_pieces
        an_update_is_found_when_all_that_was_written_with_it_is;
    lists:
        runs_are_newest_first
        runs_are_listed_by_user
        runs_are_listed_by_thread
        runs_are_listed_by_graph
        runs_are_listed_by_status
        runs_are_listed_by_time
        filters_are_combined
        a_run_leaves_the_list_of_its_former_status;
    threads:
        threads_are_newest_first
        threads_are_listed_by_user_and_graph
        a_threads_newest_view_is_listed_once
        threads_page_completely;
    paging:
        pages_are_complete_without_repeats
        a_filtered_list_pages_completely
        pages_go_on_while_runs_are_added
        runs_of_many_days_page_completely
        a_limit_is_bounded
        a_foreign_cursor_is_refused;
    checkpoints:
        checkpoints_are_newest_first
        checkpoints_begin_before_one
        a_checkpoint_is_found_by_its_id
        namespaces_and_owners_are_apart
        repeated_checkpoints_are_read_once;
    archive:
        a_checkpoint_that_was_put_away_comes_back
        a_reader_sees_what_there_was_below_its_record
        the_newest_before_an_id_is_found
        the_archive_is_read_page_by_page
        archives_of_namespaces_and_owners_are_apart;
    deletes:
        a_deleted_thread_leaves_nothing
        a_deleted_thread_takes_no_other_with_it
        a_deleted_thread_may_begin_anew
        where_a_thread_was_deleted_is_known
        a_run_that_was_undone_leaves_nothing_and_takes_nothing_with_it
        what_comes_late_of_a_deleted_thread_stays_away;
    prunes:
        a_pruned_thread_keeps_what_was_written_anew
        what_follows_a_pruning_stays
        a_pruned_thread_takes_no_other_with_it
        values_of_a_pruned_thread_stay_that_are_named_or_young;
    items:
        an_item_comes_back_whole
        a_put_replaces_an_item_and_keeps_its_beginning
        a_deleted_item_is_gone_until_it_is_put_again
        items_are_found_by_whole_labels
        items_page_completely
        namespaces_are_those_that_have_items
        an_expired_item_is_not_read
        an_item_put_after_its_end_is_new
        a_refresh_moves_an_items_end
        a_refresh_brings_nothing_back
        items_of_tenants_are_apart
        items_survive_a_reopen;
    usage:
        a_call_is_counted_once
        usage_is_added_up_by_every_key
        usage_is_added_up_by_several_keys
        usage_is_bounded_by_time
        missing_usage_is_counted;
    tenants:
        a_tenant_reads_no_other_tenants_run
        a_tenant_lists_no_other_tenants_runs
        a_tenant_reads_no_other_tenants_thread
        a_tenant_sees_no_other_tenants_usage
        equal_ids_of_two_tenants_are_two_runs;
    durability:
        results_survive_a_reopen
        states_survive_a_reopen
        agreements_survive_a_reopen
        odd_names_are_names
        a_thousand_runs_are_written_at_once
        a_repeated_write_changes_nothing;
};
