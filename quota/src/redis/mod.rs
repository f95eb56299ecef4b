//! Budgets, rates and answers that many processes share, in Redis. A script is one step there, whoever else asks; its time is Redis' own.

mod budgets;
mod cache;
mod epoch;
mod link;
mod rates;

use std::sync::Arc;

use ::redis::Script;
use graph::world::{Clock, Random};

pub use self::{
    budgets::RedisBudgets,
    cache::RedisCache,
    epoch::{Epochs, EpochsUnavailable},
    rates::RedisRates,
};
use self::{epoch::Epoch, link::Link};
use crate::contract::QuotaError;

#[derive(Clone)]
pub struct Config {
    /// `redis://` or `rediss://` (TLS), with user, password and database where there are some.
    pub url: String,
    /// Before every key, as their hash tag: they stay together where Redis is a cluster.
    pub prefix: String,
}

/// One Redis, for all that is kept in it. Nothing is asked of it before the first call.
pub struct Redis {
    link: Link,
    epoch: Epoch,
    base: String,
    /// In place of Redis' own, for tests.
    clock: Option<Arc<dyn Clock>>,
}

impl Redis {
    pub fn new(config: &Config, epochs: Arc<dyn Epochs>, random: &dyn Random) -> Result<Self, QuotaError> {
        let base = format!("{{{}}}:", config.prefix);
        let epoch = Epoch::new(format!("{base}epoch"), epochs, random.uuid().to_string());
        Ok(Redis { link: Link::new(&config.url)?, epoch, base, clock: None })
    }

    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Redis { clock: Some(clock), ..self }
    }

    /// Whether a call would be answered.
    pub async fn reach(&self) -> Result<(), QuotaError> {
        self.link.ask(|mut connection| async move { ::redis::cmd("PING").query_async(&mut connection).await }).await
    }

    /// Whether a call to budgets would be answered, and on the data that is known.
    pub async fn check(&self) -> Result<(), QuotaError> {
        self.epoch.check(&self.link).await
    }

    /// Whether the data that is known is not there, nor any other.
    async fn is_lost(&self) -> Result<bool, QuotaError> {
        self.epoch.is_lost(&self.link).await
    }

    /// What was lost is there again.
    async fn found_again(&self) -> Result<(), QuotaError> {
        self.epoch.put_back(&self.link).await
    }

    /// What the script answers on the data that is known, and on no other.
    async fn call_on_known(
        &self,
        script: &Script,
        operation: &str,
        arguments: &[String],
    ) -> Result<Vec<String>, QuotaError> {
        let epoch = self.epoch.known(&self.link).await?;
        let answer = self.call(script, operation, epoch, arguments).await?;
        match answer.as_slice() {
            [kind, found] if kind == "epoch" => Err(self.epoch.refused(found)),
            _ => Ok(answer),
        }
    }

    /// What the script answers, whose first arguments are base, operation, epoch and time.
    async fn call(
        &self,
        script: &Script,
        operation: &str,
        epoch: &str,
        arguments: &[String],
    ) -> Result<Vec<String>, QuotaError> {
        let at = self.clock.as_ref().map(|clock| clock.now().to_string()).unwrap_or_default();
        let mut call = script.key(self.epoch.key());
        call.arg(&self.base).arg(operation).arg(epoch).arg(at).arg(arguments);
        let call = &call;
        self.link.ask(|mut connection| async move { call.invoke_async(&mut connection).await }).await
    }
}

fn not_understood(answer: &[String]) -> QuotaError {
    unavailable(format!("Redis answered what nobody here understands: {answer:?}"))
}

fn unavailable(reason: impl Into<String>) -> QuotaError {
    QuotaError::Unavailable { reason: reason.into() }
}
