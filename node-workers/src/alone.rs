//! Tasks without a log: each is run to its result, for whoever tries a graph in a process of their own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use graph::{
    envelope::Millis,
    event::Event,
    spec::GraphSpec,
    world::{Clock, Random},
};
use quota::Prices;
use run_store::{Specs, StoreError, rows::SpecRow};
use schemas::record::TaskRecord;
use tokio_util::sync::CancellationToken;

use crate::{
    CallContent, Config, ModelRegistry, NodeRegistry,
    cache::Cache,
    compiled::Parts,
    execute::Executor,
    metrics::NodeMetrics,
    nodes::{Environment, http::service::Services},
    specs::SpecCache,
    tokens::{Coalescing, TokenTarget},
};

/// Runs nodes of a few graphs that it is given, and tells nobody.
pub struct Alone {
    executor: Executor,
    metrics: NodeMetrics,
}

/// What nodes are made from.
pub struct AloneDeps {
    pub graphs: Vec<GraphSpec>,
    pub models: ModelRegistry,
    pub nodes: NodeRegistry,
    pub http: reqwest::Client,
    pub environment: Environment,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub prices: Arc<Prices>,
}

impl Alone {
    pub fn new(deps: AloneDeps) -> Self {
        let AloneDeps { graphs, models, nodes, http, environment, clock, random, prices } = deps;
        let config = Config::default();
        let tokens = TokenTarget {
            log: None,
            clock: Arc::clone(&clock),
            topic: "".into(),
            source: "".into(),
            coalescing: Coalescing { interval: config.token_interval, bytes_max: config.token_bytes_max },
        };
        let given = Given(graphs.into_iter().map(|spec| (spec.hash(), spec)).collect());
        let services = Services { http, environment };
        let executor = Executor {
            clock,
            random,
            specs: SpecCache::new(Arc::new(given), Parts { models: Arc::new(models), nodes, services }),
            cache: Cache::default(),
            tokens,
            call_content: CallContent::default(),
            attempt_timeout: config.attempt_timeout,
            // Nobody takes a task that is given back.
            retry_in_place_max: Duration::MAX,
            store: None,
            prices,
            pace: None,
            spending: None,
        };
        Alone { executor, metrics: NodeMetrics::new("", "", 1) }
    }

    /// Runs the task to the event that tells its run what came of it.
    pub async fn execute(&self, record: TaskRecord) -> Event {
        self.executor.execute(Arc::new(record), CancellationToken::new(), &self.metrics, None).await
    }
}

/// The graphs by hash.
struct Given(BTreeMap<String, GraphSpec>);

impl Given {
    fn row(&self, hash: &str) -> Option<SpecRow> {
        let spec = self.0.get(hash)?;
        let (name, created_at): (String, Millis) = (spec.name.clone(), 0);
        Some(SpecRow { hash: hash.to_owned(), name, spec: spec.canonical().into(), created_at })
    }
}

#[async_trait]
impl Specs for Given {
    async fn put_spec(&self, _: &SpecRow) -> Result<(), StoreError> {
        Ok(())
    }

    async fn spec(&self, hash: &str) -> Result<Option<SpecRow>, StoreError> {
        Ok(self.row(hash))
    }

    async fn publish(&self, _: &str, _: &str, _: Millis) -> Result<(), StoreError> {
        Ok(())
    }

    async fn current(&self) -> Result<Vec<SpecRow>, StoreError> {
        Ok(self.0.keys().filter_map(|hash| self.row(hash)).collect())
    }

    async fn current_of(&self, name: &str) -> Result<Option<SpecRow>, StoreError> {
        Ok(self.current().await?.into_iter().find(|row| row.name == name))
    }

    async fn versions(&self, name: &str) -> Result<Vec<SpecRow>, StoreError> {
        Ok(self.current().await?.into_iter().filter(|row| row.name == name).collect())
    }
}
