//! Puts the stages of a process together: all of them, or one role.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use axum::Router;
use event_log::ProgressBoard;
use graph::world::{Clock, Random};
use ingest::{AdmissionLimits, ApiKey, Auth, Cors, Ingest, Readiness};
use metrics_exporter_prometheus::PrometheusHandle;
use node_workers::{CallContent, NodeRegistry, NodeStore, Serve};
use quota::Prices;
use run_store::LongTermStore;
use sink::Sink;
use tokio::net::TcpListener;

use crate::{
    config::{Config, Jwt, LogKind},
    issuer, models, opening,
    parts::Parts,
    quotas::Quotas,
    reach::Reach,
    readiness::Dependencies,
    sinks::{Apart, InProcess},
    stages::Stages,
    world::{SystemRandom, WallClock},
};

/// What a process may take beyond `drain_seconds` to write and leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);
/// How long a finished task may stay uncommitted: after a kill it would be done, and paid for, again. A commit costs a
/// row without a sync on the embedded log, and some milliseconds of a broker on Kafka.
const COMMIT_EMBEDDED: Duration = Duration::from_millis(50);
const COMMIT_KAFKA: Duration = Duration::from_millis(200);

/// What all roles are built from.
pub struct Process {
    pub config: Config,
    pub parts: Parts,
    pub stages: Stages,
    /// Rust nodes that graphs may name.
    pub nodes: NodeRegistry,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    board: ProgressBoard,
    needs: Dependencies,
    metrics: PrometheusHandle,
    listener: Mutex<Option<TcpListener>>,
    /// What nodes and clients keep: one for all of them.
    store: LongTermStore,
    pub node_store: NodeStore,
    quotas: Arc<Quotas>,
}

impl Process {
    /// Returns when log and store are open; None where the process was told to stop before.
    pub async fn open(config: Config, metrics: PrometheusHandle) -> anyhow::Result<Option<Self>> {
        config.refuse_strangers()?;
        config.refuse_deafness()?;
        config.thread_ttl()?;
        config.budget_limits()?;
        config.auth.jwt.as_ref().map(Jwt::read).transpose()?;
        config.rate_limits()?;
        Prices::with(&config.prices).context("[prices] can't be used")?;
        config.warn_of_secrets();
        let random: Arc<dyn Random> = Arc::new(SystemRandom::new());
        let Some((parts, listener)) = opening::open(&config, Arc::clone(&random)).await? else { return Ok(None) };
        let (stages, clock) = (Stages::new(), Arc::new(WallClock));
        let (failure, sweep, shutdown) = (parts.failure(), parts.sweep(clock.clone()), stages.shutdown());
        stages.start("embedded-parts", async move {
            tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                error = failure => Err(error),
                () = async { sweep.await; std::future::pending().await } => Ok(()),
            }
        });
        let reach = Reach::default();
        let asking = reach.clone().ask(config.clone(), parts.clone(), stages.shutdown());
        stages.start("reach", async move {
            asking.await;
            anyhow::Ok(())
        });
        let board = ProgressBoard::default();
        let needs = Dependencies::new(board.clone(), reach, stages.shutdown());
        let models = needs.clone().follow_models();
        stages.start("readiness", async move {
            models.await;
            anyhow::Ok(())
        });
        let store = LongTermStore::new(parts.store.clone(), clock.clone()).with_index(models::index(&config)?);
        let node_store = node_store(&config, store.clone(), clock.clone(), &*random);
        let quotas = Arc::new(Quotas::new(&config, parts.store.clone(), clock.clone(), &*random)?);
        Ok(Some(Process {
            config,
            store,
            node_store,
            parts,
            stages,
            nodes: NodeRegistry::default(),
            clock,
            random,
            board,
            needs,
            metrics,
            listener: Mutex::new(Some(listener)),
            quotas,
        }))
    }

    /// Everything in this process.
    pub fn start_all(&self) -> anyhow::Result<Ingest> {
        // Nobody reaches it but this process: it asks for no proof.
        let sink = self.sink(String::new(), None);
        self.start_orchestrator();
        self.start_node_workers(Serve::All)?;
        self.ingest(Arc::new(InProcess(sink.router())))
    }

    pub fn start_orchestrator(&self) {
        let config = orchestrator::Config {
            generation: self.parts.generation,
            create_topics: self.config.log.create.then_some(orchestrator::NodeTopics {
                partitions: self.config.log.node_partitions,
                retention: self.node_retention(),
            }),
            reducers: self.nodes.reducers().clone(),
            ..orchestrator::Config::default()
        };
        let deps = orchestrator::Deps {
            log: Arc::clone(&self.parts.log),
            specs: self.parts.store.clone(),
            states: self.parts.store.clone(),
            archive: self.parts.store.clone(),
            blobs: self.parts.store.clone(),
            clock: Arc::clone(&self.clock),
            names: self.parts.names.clone(),
            board: self.board.clone(),
        };
        self.stages.start("orchestrator", orchestrator::run(config, deps, self.stages.shutdown()));
    }

    pub fn start_node_workers(&self, serve: Serve) -> anyhow::Result<()> {
        let limits = &self.config.limits;
        let config = node_workers::Config {
            serve,
            permits: limits.tasks_in_flight_max,
            permits_per_node: limits.node_tasks_in_flight_max,
            commit_every: match self.config.log.kind {
                LogKind::Embedded => COMMIT_EMBEDDED,
                LogKind::Kafka => COMMIT_KAFKA,
            },
            drain: Duration::from_secs(self.config.server.drain_seconds),
            call_content: CallContent { kept: self.config.telemetry.content, ..CallContent::default() },
            ..node_workers::Config::default()
        };
        let http = node_workers::http_client()?;
        let models = Arc::new(models::registry(&self.config, &http, self.quotas.cache())?);
        let named = models.providers_named();
        self.needs.add_models(Arc::clone(&models), named, self.config.ready.model);
        let (follow, shutdown) = (models::follow(self.config.clone(), Arc::clone(&models)), self.stages.shutdown());
        self.stages.start("models-file", async move {
            shutdown.run_until_cancelled(follow).await;
            anyhow::Ok(())
        });
        let prices = Arc::new(Prices::with(&self.config.prices).context("[prices] can't be used")?);
        let spending = self.quotas.spending(&self.config, &prices)?;
        self.needs.add_quotas(Arc::clone(&self.quotas));
        let deps = node_workers::Deps {
            log: Arc::clone(&self.parts.log),
            specs: self.parts.store.clone(),
            blobs: self.parts.store.clone(),
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            names: self.parts.names.clone(),
            models,
            nodes: self.nodes.clone(),
            http,
            environment: Arc::new(|name: &str| std::env::var(name).ok()),
            progress: self.board.clone(),
            store: self.node_store.clone(),
            prices,
            rates: self.quotas.rates.clone(),
            spending,
        };
        self.stages.start("node-workers", node_workers::run(config, deps, self.stages.shutdown()));
        Ok(())
    }

    /// A sink that others reach at `address`.
    pub fn start_sink(&self, address: String) -> Sink {
        self.sink(address, self.config.server.secret.as_ref().map(|secret| secret.expose().to_owned()))
    }

    fn sink(&self, address: String, secret: Option<String>) -> Sink {
        let config = sink::Config { address, ..sink::Config::default() };
        let deps = sink::Deps {
            log: Arc::clone(&self.parts.log),
            results: self.parts.store.clone(),
            deletes: self.parts.store.clone(),
            states: self.parts.store.clone(),
            blobs: self.parts.store.clone(),
            clock: Arc::clone(&self.clock),
            names: self.parts.names.clone(),
            board: self.board.clone(),
            secret,
        };
        let sink = Sink::new(config, deps);
        self.stages.start("sink", sink.clone().run(self.stages.shutdown()));
        sink
    }

    /// Sinks of other processes.
    pub fn sinks_apart(&self) -> anyhow::Result<Arc<Apart>> {
        let secret = self.config.server.secret.as_ref().map(|secret| secret.expose());
        let apart = Arc::new(Apart::new(secret)?);
        let follow = apart.follow(Arc::clone(&self.parts.log), self.parts.names.clone(), self.stages.shutdown());
        self.stages.start("sink-addresses", async move {
            follow.await;
            anyhow::Ok(())
        });
        Ok(apart)
    }

    pub fn ingest(&self, sinks: Arc<dyn ingest::Sinks>) -> anyhow::Result<Ingest> {
        let limits = &self.config.limits;
        let mut config = ingest::Config::new(self.auth(), self.parts.names.clone(), self.parts.partitions);
        config.node_partitions = self.config.log.node_partitions;
        config.node_retention = self.node_retention();
        config.cors = self.cors();
        config.jwt = self.config.auth.jwt.as_ref().map(Jwt::read).transpose()?;
        config.body_bytes_max = limits.body_bytes_max;
        config.requests_in_flight_max = limits.requests_in_flight_max;
        config.wait_timeout = Duration::from_secs(limits.wait_seconds);
        config.admission = Some(AdmissionLimits {
            lag_records_max: limits.partition_lag_records_max,
            open_runs_max: limits.partition_open_runs_max,
            silent_max: Duration::from_secs(limits.partition_silent_seconds),
        });
        config.thread_ttl = self.config.thread_ttl()?;
        config.providers = (self.config.log.kind == LogKind::Embedded).then(|| models::providers(&self.config));
        config.drain_timeout = Duration::from_secs(self.config.server.drain_seconds);
        if self.quotas.rates.is_some() {
            self.needs.add_quotas(Arc::clone(&self.quotas));
        }
        let deps = ingest::Deps {
            log: Arc::clone(&self.parts.log),
            claims: self.parts.store.clone(),
            keys: self.parts.store.clone(),
            key_set: self.config.auth.jwt.as_ref().map(issuer::key_set).transpose()?,
            specs: self.parts.store.clone(),
            blobs: self.parts.store.clone(),
            store: self.store.clone(),
            sinks,
            clock: Arc::clone(&self.clock),
            random: Arc::clone(&self.random),
            rates: self.quotas.rates.clone(),
            readiness: self.readiness(),
            metrics: self.render_metrics(),
        };
        Ok(Ingest::new(config, deps)?)
    }

    /// Serves clients, and what another stage adds, until shutdown.
    pub fn serve_clients(&self, ingest: Ingest, beside: Router) -> anyhow::Result<()> {
        let listener = self.listener()?;
        self.stages.start("ingest", ingest::run(ingest, beside, listener, self.stages.shutdown()));
        Ok(())
    }

    /// Serves `/health`, `/ready`, `/metrics` and what a role adds, until shutdown.
    pub fn serve_role(&self, extra: Router) -> anyhow::Result<()> {
        let listener = self.listener()?;
        let (readiness, metrics) = (self.readiness(), self.render_metrics());
        let router = extra
            .route("/health", axum::routing::get(|| async { "ok\n" }))
            .route("/metrics", axum::routing::get(move || async move { metrics() }))
            .route("/ready", axum::routing::get(move || async move { answer(&readiness()) }));
        let shutdown = self.stages.shutdown();
        self.stages.start("http", async move {
            axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
        });
        Ok(())
    }

    /// Runs what was started until the process is told to stop, then lets go of the log.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let drain = Duration::from_secs(self.config.server.drain_seconds) + LEAVE_WITHIN;
        let Process { stages, parts, .. } = self;
        let result = stages.run_until_stopped(drain).await;
        let _ = tokio::time::timeout(LEAVE_WITHIN, parts.close()).await;
        result
    }

    /// The listener that has answered since the start.
    fn listener(&self) -> anyhow::Result<TcpListener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take().context("a process serves once")
    }

    fn readiness(&self) -> Arc<dyn Fn() -> Readiness + Send + Sync> {
        let needs = self.needs.clone();
        Arc::new(move || needs.look())
    }

    fn render_metrics(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let metrics = self.metrics.clone();
        Arc::new(move || {
            metrics.run_upkeep();
            metrics.render()
        })
    }

    fn auth(&self) -> Auth {
        if self.config.auth.keys.is_empty() && self.config.auth.jwt.is_none() {
            return Auth::Open;
        }
        let key = |key: &crate::config::Key| ApiKey {
            name: key.name.clone(),
            secret: key.secret.as_ref().map(|secret| secret.inner()),
            hash: key.hash.clone(),
            tenant: key.tenant.clone(),
            scopes: key.scopes.clone(),
            graphs: key.graphs.clone(),
        };
        Auth::Keys(self.config.auth.keys.iter().map(key).collect())
    }

    fn node_retention(&self) -> Duration {
        Duration::from_secs(self.config.log.node_retention_hours * 3600)
    }

    fn cors(&self) -> Cors {
        match self.config.server.cors.as_slice() {
            [] if self.config.server.listen.ip().is_loopback() => Cors::Localhost,
            [] => Cors::Off,
            origins => Cors::Origins(origins.to_vec()),
        }
    }
}

fn answer(readiness: &Readiness) -> (axum::http::StatusCode, String) {
    let status = if readiness.ready { axum::http::StatusCode::OK } else { axum::http::StatusCode::SERVICE_UNAVAILABLE };
    (status, readiness.checks.iter().map(|(name, says)| format!("{name}: {says}\n")).collect())
}

/// Where services reach the store, by tokens of the secret that roles share; one process alone needs nobody else's.
fn node_store(config: &Config, store: LongTermStore, clock: Arc<dyn Clock>, random: &dyn Random) -> NodeStore {
    let secret = match &config.server.secret {
        Some(secret) => secret.expose().as_bytes().to_vec(),
        None => [random.uuid(), random.uuid()].map(uuid::Uuid::into_bytes).concat(),
    };
    NodeStore::new(store, clock, &secret, config.store_address().as_deref())
}
