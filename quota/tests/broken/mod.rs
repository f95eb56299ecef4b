//! A plain keeper of budgets with one flaw.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use graph::{envelope::Millis, world::Clock};
use quota::{Account, Amount, Ask, Balance, Budgets, QuotaError, Refusal, Reserved, Unit, conformance::Harness};

use super::in_process_harness::At;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    LooksThenTakes,
    OnlySpendCounts,
    OneAccountAfterAnother,
    OnlyTheFirstAccount,
    TokensAreFree,
    LastTokenIsTooMany,
    EachAskIsACall,
    EachSettlingIsACall,
    NothingIsGivenBack,
    WhatIsSetAsideIsCalledSpent,
    SpendIsCutToWhatWasSetAside,
    UnknownCallsAreFree,
    UnlimitedIsNotCounted,
    FirstRefusalIsTold,
    LeasesFree,
    LeasesNeverRenewed,
    LateIsTooLate,
}

pub struct BrokenHarness(Arc<Broken>, AtomicU64);

impl BrokenHarness {
    pub fn new(flaw: Option<Flaw>) -> Self {
        BrokenHarness(Arc::new(Broken { flaw, clock: At::default(), books: Mutex::default() }), AtomicU64::default())
    }
}

#[async_trait]
impl Harness for BrokenHarness {
    async fn open(&self) -> Result<Arc<dyn Budgets>, QuotaError> {
        Ok(Arc::clone(&self.0) as _)
    }

    async fn pass(&self, ms: u64) {
        self.0.clock.pass(ms);
    }

    fn unique(&self) -> u64 {
        self.1.fetch_add(1, Ordering::Relaxed)
    }
}

struct Broken {
    flaw: Option<Flaw>,
    clock: At,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    balances: BTreeMap<String, Balance>,
    calls: BTreeMap<String, Call>,
}

#[derive(Clone)]
struct Call {
    ask: Ask,
    until: Millis,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Reserved,
    Assumed,
    Settled,
}

impl Broken {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn accounts<'a>(&self, ask: &'a Ask) -> impl Iterator<Item = &'a Account> {
        let unlimited = self.has(Flaw::UnlimitedIsNotCounted);
        let first = if self.has(Flaw::OnlyTheFirstAccount) { 1 } else { usize::MAX };
        let accounts = ask.accounts.iter().take(first);
        accounts.filter(move |account| !unlimited || account.limit.tokens.or(account.limit.nano_usd).is_some())
    }

    fn refusal(&self, books: &Books, account: &Account, wanted: Amount) -> Option<Refusal> {
        let Balance { spent, reserved } = books.balances.get(&account.name).copied().unwrap_or_default();
        let counted = if self.has(Flaw::OnlySpendCounts) { Amount::default() } else { reserved };
        let spare = u64::from(self.has(Flaw::LastTokenIsTooMany));
        let over = |unit, limit: Option<u64>, of: fn(Amount) -> u64| {
            let limit = limit.filter(|limit| of(spent) + of(counted) + of(wanted) + spare > *limit)?;
            let told = if self.has(Flaw::WhatIsSetAsideIsCalledSpent) { of(reserved) } else { 0 };
            let (spent, reserved, wanted) = (of(spent) + told, of(reserved), of(wanted));
            Some(Refusal { scope: account.scope, unit, limit, spent, reserved, wanted, resets_at: None })
        };
        let tokens = account.limit.tokens.filter(|_| !self.has(Flaw::TokensAreFree));
        over(Unit::NanoUsd, account.limit.nano_usd, |amount| amount.nano_usd)
            .or_else(|| over(Unit::Tokens, tokens, |amount| amount.tokens))
    }

    fn pass(&self, books: &mut Books) {
        let now = self.clock.now();
        for call in books.calls.values_mut().filter(|call| call.stage == Stage::Reserved && call.until <= now) {
            call.stage = Stage::Assumed;
            for account in self.accounts(&call.ask) {
                let balance = books.balances.entry(account.name.clone()).or_default();
                balance.reserved = balance.reserved.minus(call.ask.amount);
                if !self.has(Flaw::LeasesFree) {
                    balance.spent = balance.spent.plus(call.ask.amount);
                }
            }
        }
    }

    fn take(&self, books: &mut Books, ask: &Ask) {
        for account in self.accounts(ask) {
            let balance = books.balances.entry(account.name.clone()).or_default();
            balance.reserved = balance.reserved.plus(ask.amount);
        }
        let until = self.clock.now() + ask.lease_ms.cast_signed();
        books.calls.insert(ask.id.clone(), Call { ask: ask.clone(), until, stage: Stage::Reserved });
    }
}

#[async_trait]
impl Budgets for Broken {
    async fn reserve(&self, ask: &Ask) -> Result<Reserved, QuotaError> {
        let refusals: Vec<Refusal> = {
            let mut books = self.books.lock().unwrap();
            self.pass(&mut books);
            if books.calls.contains_key(&ask.id) && !self.has(Flaw::EachAskIsACall) {
                return Ok(Reserved::Held);
            }
            let mut refusals = Vec::new();
            for account in self.accounts(ask) {
                let refusal = self.refusal(&books, account, ask.amount);
                if refusal.is_none() && self.has(Flaw::OneAccountAfterAnother) {
                    let balance = books.balances.entry(account.name.clone()).or_default();
                    balance.reserved = balance.reserved.plus(ask.amount);
                }
                refusals.extend(refusal);
            }
            if refusals.is_empty() && !self.has(Flaw::LooksThenTakes) && !self.has(Flaw::OneAccountAfterAnother) {
                self.take(&mut books, ask);
                return Ok(Reserved::Held);
            }
            refusals
        };
        let lasting = refusals.iter().position(|refusal| !refusal.may_clear()).unwrap_or(0);
        let told = if self.has(Flaw::FirstRefusalIsTold) { 0 } else { lasting };
        if let Some(refusal) = refusals.into_iter().nth(told) {
            return Ok(Reserved::Refused(refusal));
        }
        tokio::task::yield_now().await;
        self.take(&mut self.books.lock().unwrap(), ask);
        Ok(Reserved::Held)
    }

    async fn renew(&self, ask: &Ask) -> Result<(), QuotaError> {
        let mut books = self.books.lock().unwrap();
        self.pass(&mut books);
        let until = self.clock.now() + ask.lease_ms.cast_signed();
        if let Some(call) = books.calls.get_mut(&ask.id).filter(|_| !self.has(Flaw::LeasesNeverRenewed)) {
            call.until = until;
        }
        Ok(())
    }

    async fn settle(&self, ask: &Ask, spent: Amount) -> Result<(), QuotaError> {
        let mut books = self.books.lock().unwrap();
        self.pass(&mut books);
        let stage = books.calls.get(&ask.id).map(|call| call.stage);
        let is_done = stage == Some(Stage::Settled) && !self.has(Flaw::EachSettlingIsACall);
        let is_late = stage == Some(Stage::Assumed) && self.has(Flaw::LateIsTooLate);
        let is_unknown = stage.is_none() && self.has(Flaw::UnknownCallsAreFree);
        if is_done || is_late || is_unknown {
            return Ok(());
        }
        let spent = match self.flaw {
            Some(Flaw::NothingIsGivenBack) => ask.amount,
            Some(Flaw::SpendIsCutToWhatWasSetAside) => Amount { tokens: spent.tokens.min(ask.amount.tokens), ..spent },
            _ => spent,
        };
        for account in self.accounts(ask) {
            let balance = books.balances.entry(account.name.clone()).or_default();
            match stage {
                Some(Stage::Reserved) => balance.reserved = balance.reserved.minus(ask.amount),
                Some(Stage::Assumed) => balance.spent = balance.spent.minus(ask.amount),
                Some(Stage::Settled) | None => {}
            }
            balance.spent = balance.spent.plus(spent);
        }
        let settled = Call { ask: ask.clone(), until: Millis::MAX, stage: Stage::Settled };
        books.calls.insert(ask.id.clone(), settled);
        Ok(())
    }

    async fn balance(&self, account: &Account) -> Result<Balance, QuotaError> {
        let mut books = self.books.lock().unwrap();
        self.pass(&mut books);
        Ok(books.balances.get(&account.name).copied().unwrap_or_default())
    }
}
