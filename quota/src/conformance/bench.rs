//! What a case works with: two clients of the same budgets, and names that are its own.

use std::{fmt, sync::Arc};

use super::Harness;
use crate::{
    amount::Amount,
    contract::{Budgets, QuotaError, Reserved},
    ledger::{Account, Ask, Balance, Limit, Refusal, Scope},
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

impl From<QuotaError> for Failure {
    fn from(error: QuotaError) -> Self {
        Failure(format!("the budgets answered: {error}"))
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

/// Long enough that no case sees its end by accident.
const LEASE_MS: u64 = 60_000;

pub struct Bench<'h> {
    pub(super) harness: &'h dyn Harness,
    pub(super) clients: [Arc<dyn Budgets>; 2],
    unique: u64,
}

impl<'h> Bench<'h> {
    pub(super) async fn new(harness: &'h dyn Harness) -> Result<Self, Failure> {
        let clients = [harness.open().await?, harness.open().await?];
        Ok(Bench { harness, clients, unique: harness.unique() })
    }

    /// A budget of a key of that name, in tokens and nano-dollars.
    pub(super) fn account(&self, word: &str, tokens: Option<u64>, nano_usd: Option<u64>) -> Account {
        let name = format!("{word}-{:x}", self.unique);
        Account { scope: Scope::Key, name, limit: Limit { tokens, nano_usd }, ends_at: None }
    }

    pub(super) fn ask(&self, call: &str, accounts: &[&Account], amount: Amount) -> Ask {
        let id = format!("{call}-{:x}", self.unique);
        let accounts = accounts.iter().copied().cloned().collect();
        Ask { id, accounts, amount, lease_ms: LEASE_MS }
    }

    /// What was refused, by the first of the clients.
    pub(super) async fn refused(&self, ask: &Ask) -> Result<Refusal, Failure> {
        match self.clients[0].reserve(ask).await? {
            Reserved::Refused(refusal) => Ok(refusal),
            Reserved::Held => Err(Failure(format!("{} was let in", ask.id))),
        }
    }

    pub(super) async fn held(&self, ask: &Ask) -> Outcome {
        match self.clients[0].reserve(ask).await? {
            Reserved::Held => Ok(()),
            Reserved::Refused(refusal) => Err(Failure(format!("{} was refused: {refusal}", ask.id))),
        }
    }

    /// As the second of the clients sees it: tokens spent, tokens set aside.
    pub(super) async fn tokens(&self, account: &Account) -> Result<(u64, u64), Failure> {
        let Balance { spent, reserved } = self.clients[1].balance(account).await?;
        Ok((spent.tokens, reserved.tokens))
    }
}

pub(super) fn tokens(tokens: u64) -> Amount {
    Amount { tokens, nano_usd: 0 }
}
