//! Budgets as arithmetic: what is spent, what is set aside for calls under way, and who may still have some. The clock is
//! outside; every change is one step over all the accounts of a call.
//!
//! ```text
//! reserve          renew                settle
//!   |---- lease ----|---- lease ----|     |
//!   [ set aside                     [ assumed spent, until it is known what was ]
//! ```
//! What is set aside counts against a budget as what is spent does. So a lease that ends frees nothing: a call of which
//! nothing is heard any more is taken for spent, and one that is settled late is set right.

use std::collections::{BTreeMap, BTreeSet};

use graph::envelope::Millis;
use serde::{Deserialize, Serialize};

use crate::amount::{Amount, shown_usd};

/// How long it is remembered that a call is assumed to be spent, and an account that has ended: nothing of them comes later.
const REMEMBERED_MS: Millis = 24 * 60 * 60 * 1000;
/// The same of a call that is settled: whoever got no answer to that asks again within this time. There are many.
pub const SETTLED_MS: Millis = 60 * 60 * 1000;

/// Whose budget it is, and over what time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One call: nothing is added up.
    Request,
    Run,
    UserDay,
    Key,
    TenantDay,
    TenantMonth,
    GlobalDay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Tokens,
    NanoUsd,
}

/// None where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_usd: Option<u64>,
}

/// One budget that a call is charged to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub scope: Scope,
    /// Unlike that of any other account; a new day is a new account.
    pub name: String,
    pub limit: Limit,
    /// When nothing is charged to it any more, and its successor begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Millis>,
}

/// A call that wants to be made, and what it may take at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The call's id: what is set aside for it is so once, however often it is asked.
    pub id: String,
    pub accounts: Vec<Account>,
    pub amount: Amount,
    pub lease_ms: u64,
}

/// Why a call must not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub scope: Scope,
    pub unit: Unit,
    pub limit: u64,
    pub spent: u64,
    pub reserved: u64,
    pub wanted: u64,
    /// When the budget begins anew; None where it never does.
    pub resets_at: Option<Millis>,
}

/// Where an account stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    pub spent: Amount,
    pub reserved: Amount,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    accounts: BTreeMap<String, Balance>,
    holds: BTreeMap<String, Hold>,
    /// When something is to be done about a hold.
    due: BTreeSet<(Millis, String)>,
    /// When an account may be forgotten.
    ends: BTreeSet<(Millis, String)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Hold {
    stage: Stage,
    accounts: Vec<String>,
    amount: Amount,
    due: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Reserved,
    Assumed,
    Settled,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Request => "request",
            Scope::Run => "run",
            Scope::UserDay => "user_day",
            Scope::Key => "key",
            Scope::TenantDay => "tenant_day",
            Scope::TenantMonth => "tenant_month",
            Scope::GlobalDay => "global_day",
        }
    }
}

impl Unit {
    pub fn as_str(self) -> &'static str {
        match self {
            Unit::Tokens => "tokens",
            Unit::NanoUsd => "nano_usd",
        }
    }
}

impl Account {
    /// A run's budget ends with it: there is no next one.
    pub fn resets_at(&self) -> Option<Millis> {
        self.ends_at.filter(|_| self.scope != Scope::Run)
    }
}

impl Refusal {
    /// Whether there may be room when calls under way have ended.
    pub fn may_clear(&self) -> bool {
        self.spent.saturating_add(self.wanted) <= self.limit
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Refusal { scope, unit, limit, spent, reserved, wanted, resets_at: _ } = self;
        let shown = |amount: u64| match unit {
            Unit::Tokens => format!("{amount} tokens"),
            Unit::NanoUsd => shown_usd(amount),
        };
        write!(f, "the budget {} of {} is used up: ", scope.as_str(), shown(*limit))?;
        if *scope != Scope::Request {
            write!(f, "{} spent, {} set aside for calls under way, and ", shown(*spent), shown(*reserved))?;
        }
        write!(f, "this call may take {}", shown(*wanted))
    }
}

impl Ledger {
    /// Sets the call's amount aside in all of its accounts, or in none.
    pub fn reserve(&mut self, ask: &Ask, now: Millis) -> Result<(), Refusal> {
        self.check(ask, now)?;
        self.hold(ask, now);
        Ok(())
    }

    /// Whether every account has room: nothing is changed but what time changes.
    pub fn check(&mut self, ask: &Ask, now: Millis) -> Result<(), Refusal> {
        self.pass(now);
        if self.holds.contains_key(&ask.id) {
            return Ok(());
        }
        let refusals: Vec<Refusal> =
            ask.accounts.iter().filter_map(|account| self.refusal(account, ask.amount)).collect();
        // One that lasts tells more than one that may be gone in a moment.
        let lasting = refusals.iter().position(|refusal| !refusal.may_clear()).unwrap_or(0);
        refusals.into_iter().nth(lasting).map_or(Ok(()), Err)
    }

    fn refusal(&self, account: &Account, wanted: Amount) -> Option<Refusal> {
        let Balance { spent, reserved } = self.stands(&account.name);
        let over = |unit, limit: Option<u64>, spent: u64, reserved: u64, wanted: u64| {
            let limit = limit.filter(|limit| spent.saturating_add(reserved).saturating_add(wanted) > *limit)?;
            let resets_at = account.resets_at();
            Some(Refusal { scope: account.scope, unit, limit, spent, reserved, wanted, resets_at })
        };
        let money = over(Unit::NanoUsd, account.limit.nano_usd, spent.nano_usd, reserved.nano_usd, wanted.nano_usd);
        money.or_else(|| over(Unit::Tokens, account.limit.tokens, spent.tokens, reserved.tokens, wanted.tokens))
    }

    /// Sets it aside, room or not: what [`Ledger::check`] has said yes to.
    pub fn hold(&mut self, ask: &Ask, now: Millis) {
        self.pass(now);
        if self.holds.contains_key(&ask.id) {
            return;
        }
        for account in &ask.accounts {
            let balance = self.open(account);
            balance.reserved = balance.reserved.plus(ask.amount);
        }
        let accounts = ask.accounts.iter().map(|account| account.name.clone()).collect();
        let due = now.saturating_add(ask.lease_ms.cast_signed());
        self.holds.insert(ask.id.clone(), Hold { stage: Stage::Reserved, accounts, amount: ask.amount, due });
        self.due.insert((due, ask.id.clone()));
    }

    /// The call goes on: its lease is as long as at its beginning.
    pub fn renew(&mut self, ask: &Ask, now: Millis) {
        self.pass(now);
        let due = now.saturating_add(ask.lease_ms.cast_signed());
        if self.holds.get(&ask.id).is_some_and(|hold| hold.stage == Stage::Reserved) {
            self.put_off(&ask.id, due);
        }
    }

    /// What the call took, once: it may be less than was set aside, nothing, or more.
    ///
    /// One of which nothing is known is charged all the same: its reservation was lost, not its spend.
    pub fn settle(&mut self, ask: &Ask, spent: Amount, now: Millis) {
        self.pass(now);
        let stage = self.holds.get(&ask.id).map(|hold| hold.stage);
        if stage == Some(Stage::Settled) {
            return;
        }
        for account in &ask.accounts {
            let balance = self.open(account);
            match stage {
                Some(Stage::Reserved) => balance.reserved = balance.reserved.minus(ask.amount),
                Some(Stage::Assumed) => balance.spent = balance.spent.minus(ask.amount),
                Some(Stage::Settled) | None => {}
            }
            balance.spent = balance.spent.plus(spent);
        }
        let due = now.saturating_add(SETTLED_MS);
        let settled = Hold { stage: Stage::Settled, accounts: Vec::new(), amount: Amount::default(), due };
        if let Some(before) = self.holds.insert(ask.id.clone(), settled) {
            self.due.remove(&(before.due, ask.id.clone()));
        }
        self.due.insert((due, ask.id.clone()));
    }

    pub fn balance(&mut self, account: &str, now: Millis) -> Balance {
        self.pass(now);
        self.stands(account)
    }

    fn stands(&self, account: &str) -> Balance {
        self.accounts.get(account).copied().unwrap_or_default()
    }

    /// Leases that ended, and what may be forgotten.
    fn pass(&mut self, now: Millis) {
        while let Some((due, id)) = self.due.first().filter(|(due, _)| *due <= now).cloned() {
            self.due.pop_first();
            let Some(hold) = self.holds.get_mut(&id) else { continue };
            if hold.stage != Stage::Reserved {
                self.holds.remove(&id);
                continue;
            }
            hold.stage = Stage::Assumed;
            let amount = hold.amount;
            for name in &hold.accounts {
                let Some(balance) = self.accounts.get_mut(name) else { continue };
                balance.reserved = balance.reserved.minus(amount);
                balance.spent = balance.spent.plus(amount);
            }
            hold.due = due.saturating_add(REMEMBERED_MS);
            self.due.insert((hold.due, id));
        }
        while let Some((_, name)) = self.ends.first().filter(|(end, _)| end + REMEMBERED_MS <= now).cloned() {
            self.ends.pop_first();
            self.accounts.remove(&name);
        }
    }

    fn open(&mut self, account: &Account) -> &mut Balance {
        let Account { name, ends_at, .. } = account;
        if !self.accounts.contains_key(name) {
            self.ends.extend(ends_at.map(|end| (end, name.clone())));
            self.accounts.insert(name.clone(), Balance::default());
        }
        self.accounts.get_mut(name).expect("it is there by now")
    }

    fn put_off(&mut self, id: &str, due: Millis) {
        let Some(hold) = self.holds.get_mut(id) else { return };
        self.due.remove(&(hold.due, id.to_owned()));
        hold.due = due;
        self.due.insert((due, id.to_owned()));
    }
}
