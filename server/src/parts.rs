//! The log and the store that the configuration names, opened and checked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use event_log::{Class, EmbeddedLog, EventLog, TopicSpec};
use graph::world::Clock;
use run_store::{EmbeddedStore, Meta, RunStore};
use schemas::topic::{CONTROL, DEAD_LETTERS, Names, RUNS, SIGNALS, TOKENS, UPDATES};

use crate::{
    config::{Config, LogKind, StoreKind},
    world::WallClock,
};

const HOUR_MS: u64 = 3_600_000;
const TOKENS_RETENTION_MS: u64 = HOUR_MS / 6;
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// Below it a run could outlive the records that it is made of.
const RETENTION_HOURS_MIN: u64 = 24;

/// What every stage is given a share of.
#[derive(Clone)]
pub struct Parts {
    pub log: Arc<dyn EventLog>,
    pub store: Arc<dyn RunStore>,
    pub names: Names,
    /// Of `runs`, `updates` and `tokens`.
    pub partitions: u32,
    /// See [`run_store::Position`].
    pub generation: u32,
    embedded: Embedded,
}

/// The parts that live and die with this process.
#[derive(Clone, Default)]
struct Embedded {
    log: Option<Arc<EmbeddedLog>>,
    store: Option<Arc<EmbeddedStore>>,
}

impl Parts {
    /// Resolves when an embedded part can't keep its promise any more (a disk that fails to sync): the process must end
    /// rather than go on as if it could.
    pub fn failure(&self) -> impl Future<Output = anyhow::Error> + use<> {
        let Embedded { log, store } = self.embedded.clone();
        async move {
            let log = async {
                match log {
                    Some(log) => anyhow::Error::new(log.failed().await).context("the embedded log failed"),
                    None => std::future::pending().await,
                }
            };
            let store = async {
                match store {
                    Some(store) => anyhow::anyhow!("the embedded store failed: {}", store.failed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                error = log => error,
                error = store => error,
            }
        }
    }

    /// Forgets what has expired in the embedded store, every minute. Scylla forgets by itself.
    pub fn sweep(&self, clock: Arc<dyn Clock>) -> impl Future<Output = ()> + use<> {
        let store = self.embedded.store.clone();
        async move {
            let Some(store) = store else { return };
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                if let Err(error) = store.sweep(clock.now()).await {
                    tracing::warn!(%error, "what has expired can't be forgotten, trying again");
                }
            }
        }
    }

    /// Lets go of log and store when everything taken is written.
    pub async fn close(&self) {
        self.log.close().await;
        if let Some(store) = &self.embedded.store {
            store.close().await;
        }
    }
}

/// Opens both, makes topics where that is asked for, and refuses a log that doesn't fit the store.
pub async fn open(config: &Config) -> anyhow::Result<Parts> {
    if config.log.retention_hours < RETENTION_HOURS_MIN {
        bail!(
            "[log] retention_hours is {}; below {RETENTION_HOURS_MIN} a run could outlive its records",
            config.log.retention_hours
        );
    }
    if config.log.node_retention_hours < RETENTION_HOURS_MIN {
        bail!(
            "[log] node_retention_hours is {}; below {RETENTION_HOURS_MIN} a task could be gone before it is begun",
            config.log.node_retention_hours
        );
    }
    let mut embedded = Embedded::default();
    let log = open_log(config, &mut embedded).await?;
    let store = open_store(config, &mut embedded).await?;
    let names = Names::new(config.log.prefix.clone());
    if config.log.create || config.log.kind == LogKind::Embedded {
        log.create_topics(&topics(config, &names)).await.context("the topics can't be made")?;
    }
    let partitions = agree(&*store, &names, "partitions", config.log.partitions).await?;
    let found = log.partitions(&names.of(RUNS)).await?;
    if found != partitions {
        bail!(
            "the topic {} has {found} partitions, but the store was filled with {partitions}: runs would be looked for \
             in the wrong place; drain and switch to grow, see docs/operations.md",
            names.of(RUNS)
        );
    }
    let generation = agree(&*store, &names, "generation", 0).await?;
    Ok(Parts { log, store, names, partitions, generation, embedded })
}

async fn open_log(config: &Config, embedded: &mut Embedded) -> anyhow::Result<Arc<dyn EventLog>> {
    match config.log.kind {
        LogKind::Embedded => {
            let folder = config.server.data_dir.join("log");
            let clock: Arc<dyn Fn() -> i64 + Send + Sync> = Arc::new(|| WallClock.now());
            let log = event_log::EmbeddedLog::open(&folder, event_log::embedded::Config::default(), clock)
                .with_context(|| format!("the log in {} can't be opened", folder.display()))?;
            embedded.log = Some(Arc::clone(&log));
            Ok(log)
        }
        LogKind::Kafka => {
            let brokers = config.log.brokers.clone().context(
                "[log] kind is kafka, but no brokers are named: set MILLSTREAM__LOG__BROKERS=host:port[,host:port]",
            )?;
            let kafka = event_log::kafka::Config {
                client: config.log.client.clone(),
                replication: config.log.replication,
                ..event_log::kafka::Config::new(brokers.clone())
            };
            let log = event_log::kafka::KafkaLog::connect(kafka).await;
            let log = log.with_context(|| format!("Kafka at {brokers} can't be used"))?;
            Ok(Arc::new(log))
        }
    }
}

async fn open_store(config: &Config, embedded: &mut Embedded) -> anyhow::Result<Arc<dyn RunStore>> {
    match config.store.kind {
        StoreKind::Embedded => {
            let folder = config.server.data_dir.join("store");
            let store = run_store::EmbeddedStore::open(&folder, run_store::embedded::Config::default())
                .await
                .with_context(|| format!("the store in {} can't be opened", folder.display()))?;
            embedded.store = Some(Arc::clone(&store));
            Ok(store)
        }
        StoreKind::Scylla => open_scylla(config).await,
    }
}

/// Makes the topics that are missing, and names all.
pub async fn apply_topics(config: &Config) -> anyhow::Result<Vec<TopicSpec>> {
    let log = open_log(config, &mut Embedded::default()).await?;
    let topics = topics(config, &Names::new(config.log.prefix.clone()));
    log.create_topics(&topics).await.context("the topics can't be made")?;
    log.close().await;
    Ok(topics)
}

/// Makes the store's schema, or brings it up to date.
pub async fn migrate_store(config: &Config) -> anyhow::Result<()> {
    open_store(config, &mut Embedded::default()).await.map(drop)
}

/// The store alone.
pub async fn store(config: &Config) -> anyhow::Result<Arc<dyn RunStore>> {
    open_store(config, &mut Embedded::default()).await
}

async fn open_scylla(config: &Config) -> anyhow::Result<Arc<dyn RunStore>> {
    let nodes = config.store.nodes.as_deref().context(
        "[store] kind is scylla, but no nodes are named: set MILLSTREAM__STORE__NODES=host:port[,host:port]",
    )?;
    let named = format!("the store at {nodes} can't be used");
    let nodes = nodes.split(',').map(|node| node.trim().to_owned()).collect();
    let mut scylla = run_store::scylla::Config::new(nodes, config.store.keyspace.clone());
    scylla.create = config.store.create;
    scylla.replication_factor = config.store.replication;
    scylla.user = config.store.user.clone();
    scylla.password = config.store.password.as_ref().map(|password| password.expose().to_owned());
    Ok(run_store::ScyllaStore::connect(scylla, Arc::new(WallClock)).await.context(named)?)
}

/// The deployment's number of that name: the first to start decides, and everybody else follows.
async fn agree(store: &dyn Meta, names: &Names, name: &str, mine: u32) -> anyhow::Result<u32> {
    let name = format!("{}{name}", names.prefix);
    let agreed = store.set_once(&name, &mine.to_string()).await?;
    agreed.parse().with_context(|| format!("the store holds {agreed:?} as {name}"))
}

/// Every topic but the nodes': those are made when a graph is published.
fn topics(config: &Config, names: &Names) -> Vec<TopicSpec> {
    let retention_ms = config.log.retention_hours * HOUR_MS;
    let partitions = config.log.partitions;
    let durable = Class::Durable { retention_ms };
    let by_name: BTreeMap<&str, (u32, Class)> = BTreeMap::from([
        (RUNS, (partitions, durable)),
        (UPDATES, (partitions, durable)),
        (TOKENS, (partitions, Class::Ephemeral { retention_ms: TOKENS_RETENTION_MS })),
        (SIGNALS, (1, Class::Durable { retention_ms: HOUR_MS })),
        (CONTROL, (1, Class::Compacted)),
        (DEAD_LETTERS, (1, durable)),
    ]);
    by_name
        .into_iter()
        .map(|(name, (partitions, class))| TopicSpec { name: names.of(name), partitions, class })
        .collect()
}
