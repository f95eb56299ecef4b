//! The breakers of all targets that a process asks. What it finds it tells the other workers, and it heeds what they find.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use graph::envelope::Millis;

use super::{
    Cause, ModelError,
    breaker::{Breaker, Change, Outcome},
};
use crate::metrics;

type Tell = Box<dyn Fn(&str, Change) + Send + Sync>;

/// By the target's model as the alias names it.
#[derive(Default)]
pub struct Breakers {
    by_target: Mutex<BTreeMap<String, Breaker>>,
    tell: OnceLock<Tell>,
}

/// A call that may be made. Dropped without [`Admitted::ended`] it says nothing of its target.
pub struct Admitted<'a> {
    breakers: &'a Breakers,
    target: String,
    ended: bool,
}

impl Breakers {
    /// Who passes on what is found here.
    pub fn tell_by(&self, tell: impl Fn(&str, Change) + Send + Sync + 'static) {
        let _ = self.tell.set(Box::new(tell));
    }

    /// What another process has found.
    pub fn hear(&self, target: &str, change: Change) {
        let mut by_target = self.lock();
        let breaker = by_target.entry(target.to_owned()).or_default();
        breaker.hear(change);
        metrics::breaker(target, breaker.is_open());
    }

    /// Lets a call to the target through, or says when it may be tried again.
    pub fn admit(&self, target: String, now: Millis) -> Result<Admitted<'_>, Millis> {
        if let Some(breaker) = self.lock().get_mut(&target) {
            breaker.admit(now)?;
        }
        Ok(Admitted { breakers: self, target, ended: false })
    }

    fn ended(&self, target: &str, outcome: Outcome, now: Millis) {
        let change = {
            let mut by_target = self.lock();
            let breaker = match by_target.get_mut(target) {
                Some(breaker) => breaker,
                // Most never fail: nothing is kept of them.
                None if matches!(outcome, Outcome::Failed { .. }) => by_target.entry(target.to_owned()).or_default(),
                None => return,
            };
            breaker.ended(outcome, now)
        };
        let Some(change) = change else { return };
        let is_open = change != Change::Closed;
        metrics::breaker(target, is_open);
        match change {
            Change::Opened { until, times } => {
                tracing::warn!(
                    target_model = target,
                    until,
                    times,
                    "a model is not asked for a while: it fails too often"
                );
            }
            Change::Closed => tracing::info!(target_model = target, "a model answers again"),
        }
        if let Some(tell) = self.tell.get() {
            tell(target, change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Breaker>> {
        self.by_target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted<'_> {
    pub fn ended(mut self, error: Option<&ModelError>, now: Millis) {
        self.ended = true;
        self.breakers.ended(&self.target, outcome(error), now);
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.breakers.ended(&self.target, Outcome::Nothing, 0);
        }
    }
}

/// A refusal that the request itself has earned shows that the target is there.
fn outcome(error: Option<&ModelError>) -> Outcome {
    let Some(error) = error else { return Outcome::Answered };
    match error.cause {
        Cause::RateLimited
        | Cause::Timeout
        | Cause::ServerError
        | Cause::Truncated
        | Cause::Unreachable
        | Cause::Denied
        | Cause::QuotaExhausted
        | Cause::NotFound => Outcome::Failed {
            retry_after_ms: error.retry_after.map(|wait| wait.as_millis().try_into().unwrap_or(u64::MAX)),
        },
        Cause::BadRequest | Cause::ContextLength | Cause::ContentFilter => Outcome::Answered,
        Cause::Cancelled => Outcome::Nothing,
    }
}
