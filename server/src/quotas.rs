//! Budgets and rates: of this process alone, or in a Redis that others use too.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use graph::world::{Clock, Random};
use node_workers::Spending;
use quota::redis::{Config as RedisConfig, Epochs, EpochsUnavailable};
use quota::{
    BudgetLimits, Budgets, Cache, InProcess, InProcessRates, Prices, QuotaError, RateLimits, Rates, Redis,
    RedisBudgets, RedisCache, RedisRates, Rules,
};
use run_store::RunStore;
use tokio_util::task::TaskTracker;

use crate::config::{Config, LogKind};

/// What limits this process, and where that is kept.
pub struct Quotas {
    budgets: Rules<BudgetLimits>,
    /// Processes may work on the same runs.
    are_apart: bool,
    /// What ingest lets in, and workers take of it.
    pub rates: Option<Arc<dyn Rates>>,
    /// None where what is limited is kept in this process.
    redis: Option<Arc<Redis>>,
    clock: Arc<dyn Clock>,
}

impl Quotas {
    pub fn new(
        config: &Config,
        store: Arc<dyn RunStore>,
        clock: Arc<dyn Clock>,
        random: &dyn Random,
    ) -> anyhow::Result<Self> {
        let (budgets, limits) = (config.budget_limits()?, config.rate_limits()?);
        let redis = shared(config, store, random)?;
        let rates = limits.map(|limits| rates(limits, redis.as_ref(), &clock));
        let are_apart = config.log.kind != LogKind::Embedded;
        Ok(Quotas { budgets, are_apart, rates, redis, clock })
    }

    /// Budgets as they were left; None where nobody can keep what a graph says.
    pub fn spending(&self, config: &Config, prices: &Arc<Prices>) -> anyhow::Result<Option<Spending>> {
        let journal = config.server.data_dir.join("budgets").join("journal");
        let budgets: Arc<dyn Budgets> = match &self.redis {
            Some(redis) => Arc::new(RedisBudgets::new(Arc::clone(redis))),
            None if self.are_apart => return Ok(None),
            None => Arc::new(InProcess::open(&journal, Arc::clone(&self.clock))?),
        };
        Ok(Some(Spending {
            prices: Arc::clone(prices),
            limits: Arc::new(self.budgets.clone()),
            budgets,
            output_tokens_max: config.budgets.output_tokens_max,
            clock: Arc::clone(&self.clock),
            settling: TaskTracker::new(),
        }))
    }

    /// Where answers are kept that other processes need not ask for again.
    pub fn cache(&self) -> Option<Arc<dyn Cache>> {
        self.redis.as_ref().map(|redis| Arc::new(RedisCache::new(Arc::clone(redis))) as _)
    }

    /// Whether calls and requests wait for a Redis. Answers that are shared can be asked for again.
    pub fn are_shared(&self) -> bool {
        self.redis.is_some() && (!self.budgets.are_none() || self.rates.is_some())
    }

    /// Whether they can be looked up.
    pub async fn reach(&self) -> Result<(), QuotaError> {
        match &self.redis {
            Some(redis) if !self.budgets.are_none() => redis.check().await,
            Some(redis) => redis.reach().await,
            None => Ok(()),
        }
    }
}

fn rates(limits: Rules<RateLimits>, redis: Option<&Arc<Redis>>, clock: &Arc<dyn Clock>) -> Arc<dyn Rates> {
    match redis {
        Some(redis) => Arc::new(RedisRates::new(Arc::clone(redis), limits)),
        None => Arc::new(InProcessRates::new(limits, Arc::clone(clock))),
    }
}

/// The Redis that the configuration names, where it names one.
pub fn shared(config: &Config, store: Arc<dyn RunStore>, random: &dyn Random) -> anyhow::Result<Option<Arc<Redis>>> {
    let Some(url) = &config.quota.redis else { return Ok(None) };
    let prefix = config.quota_prefix()?.to_owned();
    let epochs = Arc::new(StoredEpochs { store, name: format!("redis-epoch {prefix}") });
    let redis = Redis::new(&RedisConfig { url: url.expose().to_owned(), prefix }, epochs, random);
    Ok(Some(Arc::new(redis.context("[quota] redis can't be used")?)))
}

/// The name of Redis' data, kept in the store.
struct StoredEpochs {
    store: Arc<dyn RunStore>,
    name: String,
}

#[async_trait]
impl Epochs for StoredEpochs {
    async fn known(&self) -> Result<Option<String>, EpochsUnavailable> {
        self.store.meta(&self.name).await.map_err(|error| EpochsUnavailable(error.to_string()))
    }

    async fn set_once(&self, epoch: &str) -> Result<String, EpochsUnavailable> {
        self.store.set_once(&self.name, epoch).await.map_err(|error| EpochsUnavailable(error.to_string()))
    }
}
