//! Budgets and rates in Redis: the suite that all keepers pass, and what only they promise.
//!
//! `MILLSTREAM_TEST_REDIS=host:port` names the server (`cargo xtask backends up` starts one). Without it these tests say so
//! and pass, except where `CI=true`.
#![allow(clippy::disallowed_methods, reason = "real servers, real time")]

mod as_the_ledger;
mod caches;
mod losses;
mod rates;
mod server;
mod silence;

use quota::conformance;

use crate::server::Shared;

#[tokio::test(flavor = "multi_thread")]
async fn they_keep_the_contract() {
    let Some(shared) = Shared::find() else { return };
    let failed = conformance::run_all(&shared).await;
    assert!(failed.is_empty(), "{failed:#?}");
}
