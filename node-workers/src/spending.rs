//! What calls to models may cost: set aside before a call is sent, and settled when it has ended.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use graph::{
    envelope::Envelope,
    task::{BudgetExceeded, TaskError, Usage},
    world::Clock,
};
use quota::{
    Amount, Ask, BudgetLimits, Budgets, Prices, QuotaError, Refusal, Reserved, Rules, Spender, reserve_in_time,
};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    failure, metrics,
    models::{ModelRequest, Target, input_tokens_max},
};

/// How long a call counts as under way of which nothing is heard; it speaks up three times in that.
const LEASE: Duration = Duration::from_secs(60);
/// How long a call waits for room that other calls may give back.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a call took is told again and again where the budgets can't be reached: first wait, doubled up to the second.
const TELL_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// Until it is given up, before it is forgotten that an answer which was lost said yes; its lease has the call taken for spent.
const TELL_FOR: Duration = Duration::from_secs(50 * 60);
/// Calls that may wait to be told again.
const TELLING_MAX: usize = 100_000;

/// Budgets, and what calls cost.
#[derive(Clone)]
pub struct Spending {
    pub prices: Arc<Prices>,
    pub limits: Arc<Rules<BudgetLimits>>,
    pub budgets: Arc<dyn Budgets>,
    /// What a call may answer that has no `max_tokens` of its own.
    pub output_tokens_max: u32,
    pub clock: Arc<dyn Clock>,
    /// What could not be settled at once.
    pub settling: TaskTracker,
}

/// What is set aside for a call that is under way. Dropped without [`Held::settle`], all of it counts as spent.
pub struct Held {
    spending: Spending,
    ask: Ask,
    provider: String,
    model: String,
}

impl Spending {
    /// Sets aside what the call may cost at most, and holds the request to that; None where nothing limits it.
    pub async fn reserve(
        &self,
        envelope: &Envelope,
        id: &str,
        target: &Target,
        request: &mut ModelRequest,
    ) -> Result<Option<Held>, TaskError> {
        let limits = self.limits.of_run(envelope);
        if limits.are_none() {
            return Ok(None);
        }
        let output_tokens = *request.settings.max_tokens.get_or_insert(self.output_tokens_max);
        let amount = self.most(&limits, target, input_tokens_max(request), output_tokens.into())?;
        let spender = Spender { envelope, now: self.clock.now() };
        let ask = limits.ask(spender, id, amount, LEASE.as_millis() as u64);
        let ask = ask.map_err(|refusal| exceeded(&refusal))?;
        let mut asking = Asking { spending: self, ask, answered: false };
        match reserve_in_time(&*self.budgets, &asking.ask, PATIENCE).await {
            Ok(Reserved::Held) => {
                asking.answered = true;
                let (provider, model) = (target.provider.name().to_owned(), target.name().to_owned());
                Ok(Some(Held { spending: self.clone(), ask: asking.ask.clone(), provider, model }))
            }
            Ok(Reserved::Refused(refusal)) => {
                asking.answered = true;
                Err(exceeded(&refusal))
            }
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// What the call took is known to the budgets, at once or as soon as they can be reached.
    fn tell(&self, ask: Ask, spent: Amount) {
        let mut told: BoxFuture<'static, ()> = Box::pin(tell(self.clone(), ask, spent));
        if told.as_mut().now_or_never().is_none() {
            self.settling.spawn(told);
        }
    }

    /// Returns when all that has ended is settled, or can't be for now.
    pub async fn settled(&self, within: Duration) {
        self.settling.close();
        if tokio::time::timeout(within, self.settling.wait()).await.is_err() {
            tracing::warn!(
                calls = self.settling.len(),
                "calls could not be settled: their reservations count as spent"
            );
        }
    }

    fn most(
        &self,
        limits: &BudgetLimits,
        target: &Target,
        input_tokens: u64,
        output_tokens: u64,
    ) -> Result<Amount, TaskError> {
        let (provider, model) = (target.provider.name(), target.name());
        let tokens = input_tokens.saturating_add(output_tokens);
        match self.prices.cost_max(provider, model, input_tokens, output_tokens) {
            Some(nano_usd) => Ok(Amount { tokens, nano_usd }),
            None if limits.are_of_money() => Err(failure::node_failed(format!(
                "{provider}/{model} has no price, so that no budget of money can hold it: add \
                 [prices.{provider}.\"{model}\"] with `input` and `output`, in dollars for a million tokens, to the \
                 configuration"
            ))),
            None => Ok(Amount { tokens, nano_usd: 0 }),
        }
    }
}

impl Held {
    /// When the call should speak up again.
    pub const SPEAK_UP: Duration = Duration::from_secs(LEASE.as_secs() / 3);

    /// The call goes on. Budgets that can't be reached for a while take it for spent until it is settled.
    pub async fn renew(&self) {
        if let Err(error) = self.spending.budgets.renew(&self.ask).await {
            metrics::count_budget_failure("renew");
            tracing::warn!(error = %error, "the budgets could not be told that a call goes on");
        }
    }

    /// The call has ended and took this.
    pub fn settle(self, usage: &Usage) {
        let Held { spending, ask, provider, model } = self;
        let nano_usd = spending.prices.cost(&provider, &model, usage).unwrap_or(0);
        let spent = Amount { tokens: usage.input_tokens.saturating_add(usage.output_tokens), nano_usd };
        spending.tell(ask, spent);
    }
}

/// A call of which it is not known yet whether something is set aside for it. Without an answer it is never sent: what may be
/// set aside is given back.
struct Asking<'a> {
    spending: &'a Spending,
    ask: Ask,
    answered: bool,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.spending.tell(self.ask.clone(), Amount::default());
        }
    }
}

async fn tell(spending: Spending, ask: Ask, spent: Amount) {
    let (mut wait, longest) = TELL_AGAIN;
    let began = Instant::now();
    loop {
        let Err(error) = spending.budgets.settle(&ask, spent).await else { return };
        if began.elapsed() > TELL_FOR || spending.settling.len() > TELLING_MAX {
            tracing::error!(
                call = ask.id,
                spent.tokens,
                spent.nano_usd,
                error = %error,
                "a call could not be settled: its reservation counts as spent"
            );
            return;
        }
        metrics::count_budget_failure("settle");
        tracing::warn!(error = %error, "what a call took could not be told to the budgets yet");
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(longest);
    }
}

fn exceeded(refusal: &Refusal) -> TaskError {
    let again = match refusal.resets_at.and_then(|at| jiff::Timestamp::from_millisecond(at).ok()) {
        Some(at) => format!("it begins anew at {at}"),
        None => "it does not begin anew: raise it, or ask for less".to_owned(),
    };
    let Refusal { scope, unit, limit, spent, reserved, wanted, resets_at } = *refusal;
    let (scope, unit) = (scope.as_str().to_owned(), unit.as_str().to_owned());
    let budget = BudgetExceeded { scope, unit, limit, spent, reserved, wanted, resets_at };
    failure::budget_exceeded(format!("{refusal}; {again}"), budget)
}

fn unavailable(error: &QuotaError) -> TaskError {
    metrics::count_budget_failure("reserve");
    tracing::warn!(error = %error, "a call is not made, for nobody knows whether it may be");
    failure::budget_store_unavailable("budgets can't be looked up at the moment, so no call is made; try again")
}
