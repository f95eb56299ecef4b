//! Finds the graphs and serves their nodes: those that are there at the start, and those published later.

mod hints;
mod published;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use event_log::{EventLog, LogError, ProgressBoard};
use graph::{
    envelope::Lane,
    spec::GraphSpec,
    world::{Clock, Random},
};
use quota::{Prices, Rates};
use run_store::{Blobs, Specs, rows::SpecRow};
use schemas::topic::{CONTROL, DEAD_LETTERS, Names, RUNS, SIGNALS, TOKENS};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Config, Error, ModelRegistry, NodeRegistry, Serve, Spending,
    cache::Cache,
    compiled::Parts,
    consumer::{Hint, NodeConsumer, ProcessBudget, Served, Worker},
    execute::Executor,
    metrics,
    nodes::{Environment, http::service::Services},
    outbox::Outbox,
    pace::Pace,
    specs::SpecCache,
    store::NodeStore,
    tokens::{Coalescing, TokenTarget},
};

/// Wait before a consumer that could not be, or had to end, is begun again.
const AGAIN: Duration = Duration::from_secs(1);
/// Graphs are looked up this often too: a hint on `control` may be lost.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// What results may take to become durable after calls were given up.
const GIVE_UP_MAX: Duration = Duration::from_secs(5);
/// Hints that wait for a consumer; beyond it they are dropped.
const HINTS_MAX: usize = 1_024;

/// What a worker works with.
pub struct Deps {
    pub log: Arc<dyn EventLog>,
    pub specs: Arc<dyn Specs>,
    /// Values of tasks and results that are too large for a record.
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub names: Names,
    pub models: Arc<ModelRegistry>,
    pub nodes: NodeRegistry,
    /// For `http` nodes; see [`http_client`].
    pub http: reqwest::Client,
    /// Where `${env.X}` is looked up.
    pub environment: Environment,
    pub progress: ProgressBoard,
    /// What nodes keep, apart from runs.
    pub store: NodeStore,
    pub prices: Arc<Prices>,
    /// What learns the tokens that calls took; None where nothing is limited by the minute.
    pub rates: Option<Arc<dyn Rates>>,
    /// None where nothing limits what calls cost.
    pub spending: Option<Spending>,
}

/// A client for models and `http` nodes: it gives up on a connection soon, and never follows a redirect with a body.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .pool_idle_timeout(Duration::from_secs(60))
        .tcp_keepalive(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Serves nodes until `shutdown`; then calls under way have `config.drain` to end.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    let tasks = TaskTracker::new();
    let (names, models) = (deps.names.clone(), Arc::clone(&deps.models));
    let worker = Arc::new(worker(config, deps));
    let mut serving = Serving {
        worker: Arc::clone(&worker),
        names,
        tasks: tasks.clone(),
        hints: BTreeMap::new(),
        served: BTreeSet::new(),
        shutdown: shutdown.clone(),
    };
    let (published, known) = published::follow(&worker, models, serving.names.of(CONTROL), &tasks, &shutdown);
    // A call that begins before could ask another model than it should.
    if shutdown.run_until_cancelled(known).await.is_some()
        && let Some(cancelled) = serving.begin().await?
    {
        serving.follow(published, cancelled).await;
    }
    drain(&worker, &tasks).await;
    if let Some(spending) = &worker.executor.spending {
        spending.settled(GIVE_UP_MAX).await;
    }
    if let Some(pace) = &worker.executor.pace {
        let _ = tokio::time::timeout(GIVE_UP_MAX, pace.told()).await;
    }
    Ok(())
}

fn worker(config: Config, deps: Deps) -> Worker {
    let Deps {
        log,
        specs,
        blobs,
        clock,
        random,
        names,
        models,
        nodes,
        http,
        environment,
        progress,
        store,
        prices,
        rates,
        spending,
    } = deps;
    if spending.is_some() {
        metrics::begin_budget_failures();
    }
    let source: Arc<str> = config.source.as_str().into();
    let tokens = TokenTarget {
        log: Some(Arc::clone(&log)),
        clock: Arc::clone(&clock),
        topic: names.of(TOKENS).into(),
        source: Arc::clone(&source),
        coalescing: Coalescing { interval: config.token_interval, bytes_max: config.token_bytes_max },
    };
    let outbox = Outbox {
        log,
        blobs,
        clock: Arc::clone(&clock),
        runs: names.of(RUNS).into(),
        dead_letters: names.of(DEAD_LETTERS).into(),
        source,
        result_bytes_max: config.result_bytes_max,
    };
    let executor = Executor {
        clock,
        random,
        specs: SpecCache::new(specs, Parts { models, nodes, services: Services { http, environment } }),
        cache: Cache::default(),
        tokens,
        call_content: config.call_content,
        attempt_timeout: config.attempt_timeout,
        retry_in_place_max: config.retry_in_place_max,
        store: Some(store),
        prices,
        pace: rates.map(Pace::new),
        spending,
    };
    Worker {
        budget: ProcessBudget::new(config.permits, config.in_flight_bytes_max),
        executions: TaskTracker::new(),
        give_up: CancellationToken::new(),
        executor,
        outbox,
        progress,
        config,
    }
}

struct Serving {
    worker: Arc<Worker>,
    names: Names,
    tasks: TaskTracker,
    /// By graph and node: one consumer each.
    hints: BTreeMap<(String, String), mpsc::Sender<Hint>>,
    /// Versions whose nodes have their consumers.
    served: BTreeSet<String>,
    shutdown: CancellationToken,
}

type Published = mpsc::Receiver<String>;
type Cancelled = mpsc::Receiver<hints::Cancelled>;

impl Serving {
    /// Tries for as long as log or store can't be reached; None where shutdown came first.
    async fn begin(&mut self) -> Result<Option<Cancelled>, Error> {
        let shutdown = self.shutdown.clone();
        loop {
            let error = match self.try_begin().await {
                Ok(cancelled) => return Ok(Some(cancelled)),
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error),
            };
            tracing::warn!(error = &error as &dyn std::error::Error, "the worker can't begin yet");
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    /// What is published meanwhile is heard: nothing is missed.
    async fn try_begin(&mut self) -> Result<Cancelled, Error> {
        self.serve_current().await?;
        Ok(hints::watch(&self.worker, &self.names.of(SIGNALS), &self.tasks, &self.shutdown).await?)
    }

    async fn follow(&mut self, mut published: Published, mut cancelled: Cancelled) {
        let shutdown = self.shutdown.clone();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(graph) = published.recv() => self.serve_published(&graph).await,
                Some(cancelled) = cancelled.recv() => self.pass_on(cancelled),
                _ = look.tick() => self.look_again().await,
            }
        }
    }

    async fn look_again(&mut self) {
        if let Err(error) = self.serve_current().await {
            tracing::warn!(error = %error, "graphs can't be looked up for now");
        }
        if let Serve::Node { graph, node } = &self.worker.config.serve
            && self.hints.is_empty()
        {
            tracing::warn!(graph, node, "the node that is to be served is in no version of the graph: publish one");
        }
    }

    async fn serve_current(&mut self) -> Result<(), run_store::StoreError> {
        for row in self.worker.executor.specs.specs().current().await? {
            self.serve_graph(&row.name).await?;
        }
        Ok(())
    }

    async fn serve_published(&mut self, graph: &str) {
        if let Err(error) = self.serve_graph(graph).await {
            tracing::warn!(error = %error, graph, "a published graph can't be read yet: it is looked up again");
        }
    }

    /// All versions of a graph share a node's topic, and a node that a newer version lacks may still have tasks.
    async fn serve_graph(&mut self, graph: &str) -> Result<(), run_store::StoreError> {
        for row in self.worker.executor.specs.specs().versions(graph).await? {
            self.serve_version(&row).await?;
        }
        Ok(())
    }

    /// A version's nodes, and those of the graphs that its nodes are, at any depth.
    async fn serve_version(&mut self, row: &SpecRow) -> Result<(), run_store::StoreError> {
        let mut open = vec![row.clone()];
        while let Some(row) = open.pop() {
            if !self.served.insert(row.hash.clone()) {
                continue;
            }
            let spec = match serde_json::from_slice::<GraphSpec>(&row.spec) {
                Ok(spec) => spec,
                Err(error) => {
                    tracing::error!(error = %error, graph = row.name, hash = row.hash, "a graph's version can't be read");
                    continue;
                }
            };
            for place in spec.places_of_work() {
                let concurrency = spec.node(place).and_then(|node| node.concurrency);
                self.serve_place(&spec.name, place, concurrency);
            }
            for inner in spec.subgraphs() {
                match self.worker.executor.specs.specs().spec(&inner.hash).await? {
                    Some(row) => open.push(row),
                    // It stands in the store before whoever names it.
                    None => tracing::error!(graph = inner.graph, hash = inner.hash, "a subgraph is not in the store"),
                }
            }
        }
        Ok(())
    }

    fn serve_place(&mut self, graph: &str, node: &str, concurrency: Option<u32>) {
        let place = (graph.to_owned(), node.to_owned());
        if !self.worker.config.serve.covers(graph, node) || self.hints.contains_key(&place) {
            return;
        }
        let concurrency = concurrency.map_or(self.worker.config.permits_per_node, |count| count as usize);
        let served = Served {
            topics: vec![self.names.node(graph, node, Lane::Interactive)],
            group: self.names.node_group(graph, node).into(),
            graph: place.0.clone(),
            node: place.1.clone(),
            concurrency,
        };
        let (hints, heard) = mpsc::channel(HINTS_MAX);
        self.hints.insert(place, hints);
        self.tasks.spawn(keep_serving(Arc::clone(&self.worker), served, heard, self.shutdown.clone()));
    }

    fn pass_on(&self, hints::Cancelled { graph, node, tasks }: hints::Cancelled) {
        if let Some(consumer) = self.hints.get(&(graph, node)) {
            // Only a hint: with a full queue the calls just end by themselves.
            let _ = consumer.try_send(Hint::Cancelled(tasks));
        }
    }
}

/// Begins a node's consumer again whenever it ends by an error.
async fn keep_serving(
    worker: Arc<Worker>,
    served: Served,
    mut hints: mpsc::Receiver<Hint>,
    shutdown: CancellationToken,
) {
    let group = served.group.clone();
    let mut consumer = NodeConsumer::new(worker, served);
    while !shutdown.is_cancelled() {
        match consumer.run(&mut hints, &shutdown).await {
            Ok(()) => return,
            Err(LogError::UnknownTopic { topic }) => tracing::info!(topic, "the node's topic is not there yet"),
            Err(error) => {
                tracing::error!(error = %error, group = &*group, "the node's consumer ended and is begun again")
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// Consumers have left their groups when this ends, and calls have ended or were given back.
async fn drain(worker: &Worker, tasks: &TaskTracker) {
    tasks.close();
    tasks.wait().await;
    worker.executions.close();
    if tokio::time::timeout(worker.config.drain, worker.executions.wait()).await.is_ok() {
        return;
    }
    tracing::info!(calls = worker.executions.len(), "calls that outlast the drain are given back");
    worker.give_up.cancel();
    if tokio::time::timeout(GIVE_UP_MAX, worker.executions.wait()).await.is_err() {
        tracing::warn!(
            calls = worker.executions.len(),
            "calls could not be given back: their runs wait until they are due"
        );
    }
}
