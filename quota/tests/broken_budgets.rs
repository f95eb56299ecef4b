//! The suite is tested too: each broken keeper of budgets fails the case that was made for its flaw.

mod broken;
#[expect(dead_code, reason = "only its clock is used here")]
mod in_process_harness;

use broken::{BrokenHarness, Flaw};
use quota::conformance::{CASES, case};

/// Each flaw and a case that must find it.
const FOUND_BY: &[(Flaw, &str)] = &[
    (Flaw::LooksThenTakes, "a_thousand_callers_spend_a_cent_and_no_more"),
    (Flaw::OnlySpendCounts, "what_is_set_aside_is_not_there_for_others"),
    (Flaw::OneAccountAfterAnother, "all_accounts_are_charged_or_none"),
    (Flaw::OnlyTheFirstAccount, "all_accounts_are_charged_or_none"),
    (Flaw::TokensAreFree, "each_unit_has_its_own_limit"),
    (Flaw::LastTokenIsTooMany, "a_budget_may_be_used_up_whole"),
    (Flaw::EachAskIsACall, "a_call_is_set_aside_once"),
    (Flaw::EachSettlingIsACall, "a_call_is_settled_once"),
    (Flaw::NothingIsGivenBack, "what_was_not_taken_is_given_back"),
    (Flaw::WhatIsSetAsideIsCalledSpent, "who_waits_for_room_gets_what_others_give_back"),
    (Flaw::SpendIsCutToWhatWasSetAside, "more_than_was_set_aside_is_charged_too"),
    (Flaw::UnknownCallsAreFree, "a_call_that_nobody_knows_is_charged"),
    (Flaw::UnlimitedIsNotCounted, "an_account_without_a_limit_is_charged_too"),
    (Flaw::FirstRefusalIsTold, "a_refusal_names_the_budget_that_lasts"),
    (Flaw::LeasesFree, "a_lease_that_ends_frees_nothing"),
    (Flaw::LeasesNeverRenewed, "a_renewed_lease_is_not_assumed_to_be_spent"),
    (Flaw::LateIsTooLate, "a_call_that_is_settled_late_is_set_right"),
];

#[tokio::test]
async fn every_broken_keeper_fails_its_case() {
    for (flaw, name) in FOUND_BY {
        let case = case(name).unwrap_or_else(|| panic!("there is no case {name}"));
        let outcome = case.run(&BrokenHarness::new(Some(*flaw))).await;
        let failure = outcome.expect_err(&format!("{flaw:?} passed {name}"));
        assert!(!failure.to_string().contains("the budgets answered"), "{flaw:?} failed {name} by accident: {failure}");
    }
}

/// A keeper without a flaw passes: what the broken ones fail by is their flaw. And no case is without one.
#[tokio::test]
async fn the_keeper_itself_breaks_nothing() {
    for case in CASES {
        if let Err(failure) = case.run(&BrokenHarness::new(None)).await {
            panic!("{}: {failure}", case.name);
        }
        assert!(FOUND_BY.iter().any(|(_, name)| *name == case.name), "no flaw is made for {}", case.name);
    }
}
