//! Budgets of one process, on a journal that brings them back at its next start; and its rates, which end with it.

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use graph::{envelope::Principal, world::Clock};

use crate::{
    amount::Amount,
    contract::{Budgets, QuotaError, Rates, Reserved},
    journal::{Entry, Journal},
    ledger::{Account, Ask, Balance, Ledger},
    rates::{Meter, RateLimits, Standings, TooFast},
    rules::Rules,
};

pub struct InProcess {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger,
    /// None where what was spent may be forgotten with the process.
    journal: Option<Journal>,
}

impl InProcess {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        InProcess { clock, state: Mutex::new(State { ledger: Ledger::default(), journal: None }) }
    }

    /// As the process before left them, however it ended.
    pub fn open(file: &Path, clock: Arc<dyn Clock>) -> Result<Self, QuotaError> {
        let (ledger, journal) = Journal::open(file).map_err(|error| QuotaError::Unavailable {
            reason: format!("{} can't be used: {error}", file.display()),
        })?;
        Ok(InProcess { clock, state: Mutex::new(State { ledger, journal: Some(journal) }) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, entry: &Entry<'_>) -> Result<(), QuotaError> {
        self.lock().write(entry)
    }
}

impl State {
    /// What isn't in the journal has not happened.
    fn write(&mut self, entry: &Entry<'_>) -> Result<(), QuotaError> {
        if let Some(journal) = &mut self.journal {
            let written = journal.write(entry, &self.ledger);
            written.map_err(|error| QuotaError::Unavailable { reason: format!("their journal: {error}") })?;
        }
        entry.apply(&mut self.ledger);
        Ok(())
    }
}

#[async_trait]
impl Budgets for InProcess {
    async fn reserve(&self, ask: &Ask) -> Result<Reserved, QuotaError> {
        let at = self.clock.now();
        let mut state = self.lock();
        if let Err(refusal) = state.ledger.check(ask, at) {
            return Ok(Reserved::Refused(refusal));
        }
        state.write(&Entry::reserved(ask, at))?;
        Ok(Reserved::Held)
    }

    async fn renew(&self, ask: &Ask) -> Result<(), QuotaError> {
        self.write(&Entry::renewed(ask, self.clock.now()))
    }

    async fn settle(&self, ask: &Ask, spent: Amount) -> Result<(), QuotaError> {
        self.write(&Entry::settled(ask, spent, self.clock.now()))
    }

    async fn balance(&self, account: &Account) -> Result<Balance, QuotaError> {
        Ok(self.lock().ledger.balance(&account.name, self.clock.now()))
    }
}

pub struct InProcessRates {
    limits: Rules<RateLimits>,
    clock: Arc<dyn Clock>,
    meter: Mutex<Meter>,
}

impl InProcessRates {
    pub fn new(limits: impl Into<Rules<RateLimits>>, clock: Arc<dyn Clock>) -> Self {
        InProcessRates { limits: limits.into(), clock, meter: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Meter> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Rates for InProcessRates {
    async fn admit(&self, tenant: &str, principal: &Principal) -> Result<Result<Standings, TooFast>, QuotaError> {
        Ok(self.lock().admit(&self.limits.subjects(tenant, principal), self.clock.now()))
    }

    async fn spent(&self, tenant: &str, principal: &Principal, tokens: u64) -> Result<(), QuotaError> {
        self.lock().spent(&self.limits.subjects(tenant, principal), tokens, self.clock.now());
        Ok(())
    }
}
