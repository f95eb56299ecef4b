//! What every keeper of budgets must do, listed by name. Each broken one fails the case made for it.
//!
//! A case uses names of its own, so that keepers that are dear to make can serve all cases.

mod bench;
mod leases;
mod races;
mod reserving;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use std::sync::Arc;

pub use bench::{Bench, Failure, Outcome};

use crate::contract::{Budgets, QuotaError};

/// Makes the budgets under test. They may hold accounts of other cases.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Another client of the same budgets.
    async fn open(&self) -> Result<Arc<dyn Budgets>, QuotaError>;
    /// Lets time go by.
    async fn pass(&self, ms: u64);
    /// A number that no other call on the same data gives.
    fn unique(&self) -> u64;
}

/// One promise of the contract.
pub struct Case {
    pub name: &'static str,
    run: for<'a, 'h> fn(&'a Bench<'h>) -> BoxFuture<'a, Outcome>,
}

impl Case {
    pub async fn run(&self, harness: &dyn Harness) -> Outcome {
        let bench = Bench::new(harness).await?;
        (self.run)(&bench).await
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
    reserving:
        what_is_set_aside_is_not_there_for_others
        a_budget_may_be_used_up_whole
        each_unit_has_its_own_limit
        all_accounts_are_charged_or_none
        a_call_is_set_aside_once
        a_call_is_settled_once
        what_was_not_taken_is_given_back
        more_than_was_set_aside_is_charged_too
        a_call_that_nobody_knows_is_charged
        an_account_without_a_limit_is_charged_too
        a_refusal_names_the_budget_that_lasts;
    leases:
        a_lease_that_ends_frees_nothing
        a_call_that_is_settled_late_is_set_right
        a_renewed_lease_is_not_assumed_to_be_spent;
    races:
        a_thousand_callers_spend_a_cent_and_no_more
        who_waits_for_room_gets_what_others_give_back;
};
