//! The contracts that every keeper of budgets and of rates keeps; see [`crate::ledger`] for what a reservation is.
//!
//! Each call is one atomic step over all accounts or buckets that it names, whoever else calls at the same time. Every call to
//! budgets may be repeated, and then changes nothing.

use std::time::Duration;

use async_trait::async_trait;
use graph::envelope::Principal;
use tokio::time::Instant;

use crate::{
    amount::Amount,
    ledger::{Account, Ask, Balance, Refusal},
    rates::{Standings, TooFast},
};

/// First wait for room, doubled up to the second.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

#[async_trait]
pub trait Budgets: Send + Sync + 'static {
    /// Sets the amount aside in every account, or says which has no room.
    async fn reserve(&self, ask: &Ask) -> Result<Reserved, QuotaError>;
    /// The call goes on: its lease begins anew.
    async fn renew(&self, ask: &Ask) -> Result<(), QuotaError>;
    /// The call has ended, and took this: nothing where it was never sent.
    async fn settle(&self, ask: &Ask, spent: Amount) -> Result<(), QuotaError>;
    async fn balance(&self, account: &Account) -> Result<Balance, QuotaError>;
}

#[async_trait]
pub trait Rates: Send + Sync + 'static {
    /// Takes one request of the key and the user, or of neither.
    async fn admit(&self, tenant: &str, principal: &Principal) -> Result<Result<Standings, TooFast>, QuotaError>;
    /// What a call of theirs has taken.
    async fn spent(&self, tenant: &str, principal: &Principal, tokens: u64) -> Result<(), QuotaError>;
}

/// What processes that share it need not find out each for itself. It may forget at any time.
#[async_trait]
pub trait Cache: Send + Sync + 'static {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, QuotaError>;
    async fn put(&self, name: &str, value: &[u8], ttl: Duration) -> Result<(), QuotaError>;
    /// What was pushed to the list, the newest first.
    async fn items(&self, name: &str) -> Result<Vec<Vec<u8>>, QuotaError>;
    /// The list keeps its newest `most`, and lives for `ttl` from now. A value may stand there twice.
    async fn push(&self, name: &str, value: &[u8], most: usize, ttl: Duration) -> Result<(), QuotaError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reserved {
    Held,
    Refused(Refusal),
}

/// Why it can't be said whether there is room: a call is not made then, and a request not let in.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    #[error("budgets and rates can't be looked up: {reason}")]
    Unavailable { reason: String },
}

/// Waits, up to `patience`, for room that calls under way take up now and give back for the most part: else a budget would
/// look used up to whoever asks at the same time as many others.
pub async fn reserve_in_time(budgets: &dyn Budgets, ask: &Ask, patience: Duration) -> Result<Reserved, QuotaError> {
    let deadline = Instant::now() + patience;
    let (mut wait, longest) = LOOK_AGAIN;
    loop {
        match budgets.reserve(ask).await? {
            Reserved::Refused(refusal) if refusal.may_clear() && Instant::now() + wait <= deadline => {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(longest);
            }
            answer => return Ok(answer),
        }
    }
}
