//! A log, a store, one graph in it, and workers that can be stopped or killed.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use event_log::{
    Class, EmbeddedLog, EventLog, Fetched, Offset, ProgressBoard, Record, Start, TopicSpec, partition_for,
};
use graph::{
    by_name::ChannelValues,
    envelope::{Envelope, GraphRef, Lane, Millis, Principal, RULES, RunBudget},
    event::Event,
    ids,
    spec::GraphSpec,
    task::{Task, TaskPath, TaskResult},
    world::{Clock, Random},
};
use node_workers::{
    Config, Deps, Environment, ModelRegistry, NodeRegistry, NodeStore, Spending, models::scripted::Scripted,
};
use quota::{Prices, Rates};
use run_store::{
    Blobs, Items, LongTermStore, Specs,
    embedded::{self, EmbeddedStore},
    items::{Index, Words},
    rows::SpecRow,
    values::put_values,
};
use schemas::{
    record::{DeadLetter, RunsRecord, TaskRecord, TokenRecord, Wire},
    reference::{self, Referring},
    topic::{CONTROL, DEAD_LETTERS, Names, RUNS, SIGNALS, TOKENS},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// No step of a test takes longer, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const PARTITIONS: u32 = 2;

pub struct Bench {
    pub log: Arc<EmbeddedLog>,
    pub store: Arc<EmbeddedStore>,
    pub spec: GraphSpec,
    pub names: Names,
    /// How services reach the long-term store; not at all where None.
    pub services_reach: Option<String>,
    pub spending: Option<Spending>,
    pub rates: Option<Arc<dyn Rates>>,
    /// The scripted ones where None.
    pub models: Option<Arc<ModelRegistry>>,
    tasks: AtomicU64,
    _folder: tempfile::TempDir,
}

pub struct WallClock;

impl Clock for WallClock {
    fn now(&self) -> Millis {
        // The log stamps records with real time, and the worker compares.
        #[allow(clippy::disallowed_methods)]
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        since.as_millis() as Millis
    }
}

struct Counting(AtomicU64);

impl Random for Counting {
    fn next_u64(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A worker in a runtime of its own, so that it can be killed as a process would be.
pub struct RunningWorker {
    runtime: Option<tokio::runtime::Runtime>,
    shutdown: CancellationToken,
    ended: Option<tokio::task::JoinHandle<Result<(), node_workers::Error>>>,
}

impl Bench {
    /// A graph file, published, with the topics of its nodes.
    pub async fn new(file: &str) -> Self {
        let checked = graph::file::read(file, None);
        assert!(!checked.has_errors(), "{}", checked.report("graph.yaml"));
        Self::of_spec(checked.spec.expect("a file without errors gives a spec")).await
    }

    pub async fn of_spec(spec: GraphSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: event_log::embedded::Clock = Arc::new(|| WallClock.now());
        let log = EmbeddedLog::open(&folder.path().join("log"), event_log::embedded::Config::default(), clock).unwrap();
        let store = EmbeddedStore::open(folder.path().join("store"), embedded::Config::default()).await.unwrap();
        let bench = Bench {
            log,
            store,
            spec,
            names: Names::new("t-"),
            services_reach: None,
            spending: None,
            rates: None,
            models: None,
            tasks: AtomicU64::new(1),
            _folder: folder,
        };
        bench.make_topics().await;
        bench.publish().await;
        bench
    }

    pub fn node_store(&self, address: Option<&str>) -> NodeStore {
        let index = Index::new(Arc::new(Words { dims: 24 }), 24, vec!["first".to_owned()]);
        let store = LongTermStore::new(Arc::clone(&self.store) as Arc<dyn Items>, Arc::new(WallClock));
        let store = store.with_index(Some(index));
        NodeStore::new(store, Arc::new(WallClock), b"shared", address)
    }

    async fn make_topics(&self) {
        let retention_ms = 3_600_000;
        let durable = |name: String, partitions| TopicSpec { name, partitions, class: Class::Durable { retention_ms } };
        let mut topics = vec![
            durable(self.names.of(RUNS), PARTITIONS),
            durable(self.names.of(DEAD_LETTERS), 1),
            durable(self.names.of(SIGNALS), 1),
            TopicSpec { name: self.names.of(CONTROL), partitions: 1, class: Class::Compacted },
            TopicSpec { name: self.names.of(TOKENS), partitions: PARTITIONS, class: Class::Ephemeral { retention_ms } },
        ];
        topics.extend(self.spec.nodes.iter().map(|node| durable(self.topic(&node.name), PARTITIONS)));
        self.log.create_topics(&topics).await.unwrap();
    }

    async fn publish(&self) {
        let (name, hash) = (self.spec.name.clone(), self.spec.hash());
        let row = SpecRow { hash: hash.clone(), name, spec: self.spec.canonical().into(), created_at: 1 };
        self.store.put_spec(&row).await.unwrap();
        self.store.publish(&row.name, &hash, 1).await.unwrap();
    }

    pub fn topic(&self, node: &str) -> String {
        self.names.node(&self.spec.name, node, Lane::Interactive)
    }

    pub fn start(&self, nodes: NodeRegistry) -> RunningWorker {
        self.start_with(nodes, |_| {})
    }

    pub fn start_with(&self, nodes: NodeRegistry, configure: impl FnOnce(&mut Config)) -> RunningWorker {
        self.start_on(Arc::clone(&self.log) as Arc<dyn EventLog>, nodes, configure)
    }

    /// A worker that reaches the log through another one.
    pub fn start_on(
        &self,
        log: Arc<dyn EventLog>,
        nodes: NodeRegistry,
        configure: impl FnOnce(&mut Config),
    ) -> RunningWorker {
        let mut config =
            Config { commit_every: Duration::from_millis(20), drain: Duration::from_millis(200), ..Config::default() };
        configure(&mut config);
        let environment: Environment = Arc::new(|name| (name == "TEST_TOKEN").then(|| "s3cret".to_owned()));
        let deps = Deps {
            log,
            specs: Arc::clone(&self.store) as Arc<dyn Specs>,
            blobs: Arc::clone(&self.store) as Arc<dyn Blobs>,
            clock: Arc::new(WallClock),
            random: Arc::new(Counting(AtomicU64::new(WallClock.now() as u64))),
            names: self.names.clone(),
            models: self.models.clone().unwrap_or_else(|| Arc::new(ModelRegistry::new().provider(Scripted::default()))),
            nodes,
            http: node_workers::http_client().unwrap(),
            environment,
            progress: ProgressBoard::default(),
            store: self.node_store(self.services_reach.as_deref()),
            prices: Arc::new(Prices::with(&quota::prices::Table::new()).unwrap()),
            rates: self.rates.clone(),
            spending: self.spending.clone(),
        };
        let shutdown = CancellationToken::new();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let ended = runtime.spawn(node_workers::run(config, deps, shutdown.clone()));
        RunningWorker { runtime: Some(runtime), shutdown, ended: Some(ended) }
    }

    /// A task of the node with these channels; nothing is appended.
    pub fn task(&self, node: &str, channels: Value) -> TaskRecord {
        let n = self.tasks.fetch_add(1, Ordering::Relaxed);
        let run_id = ids::run_id(WallClock.now(), n, (n % u64::from(PARTITIONS)) as u16);
        let channels: ChannelValues = serde_json::from_value(channels).unwrap();
        TaskRecord {
            envelope: Arc::new(Envelope {
                tenant: "default".to_owned(),
                principal: Principal::default(),
                endpoint: "/chat".to_owned(),
                run_id,
                thread_id: None,
                graph: GraphRef { name: self.spec.name.clone(), hash: self.spec.hash() },
                rules: RULES,
                lane: Lane::Interactive,
                priority: 0,
                deadline: WallClock.now() + 3_600_000,
                metadata: BTreeMap::from([("from".to_owned(), json!("test"))]),
                tags: Vec::new(),
                batch: None,
                traceparent: None,
                budget: RunBudget::default(),
            }),
            at: WallClock.now(),
            task: Task {
                id: Uuid::from_u128(u128::from(n) << 64 | 7),
                issue: 1,
                attempt: 0,
                repeat: false,
                node: node.into(),
                graph: None,
                work: None,
                handles: None,
                step: 1,
                stop: 25,
                recursion_limit: 25,
                checkpoint_id: Uuid::from_u128(1),
                checkpoint_ns: format!("{node}:{n}").into(),
                path: TaskPath::Pull,
                triggers: ["branch:to".into()].into(),
                answers: Vec::new(),
                channels,
                context: Arc::new(Value::Null),
                configurable: BTreeMap::new(),
                thread_age_ms: 0,
                model_config: Arc::new(Value::Null),
            },
            references: None,
        }
    }

    /// Appends the task to its node's topic, as the orchestrator does.
    pub async fn issue(&self, task: &TaskRecord) {
        let partition = partition_for(task.key().as_bytes(), PARTITIONS);
        self.issue_to(partition, task).await;
    }

    /// Appends a task to the topic of another node.
    pub async fn issue_on(&self, node: &str, task: &TaskRecord) {
        let partition = partition_for(task.key().as_bytes(), PARTITIONS);
        let record = Record::json(task.key(), task.headers("test", None), Arc::new(task.clone()));
        self.log.append(&self.topic(node), partition, record).await.unwrap();
    }

    pub async fn issue_to(&self, partition: u32, task: &TaskRecord) {
        let record = Record::json(task.key(), task.headers("test", Some("00-trace-01")), Arc::new(task.clone()));
        self.log.append(&self.topic(&task.task.node), partition, record).await.unwrap();
    }

    /// Appends the task as the orchestrator does where its values are too large for it: they stand in the store, or not
    /// at all.
    pub async fn issue_by_reference(&self, task: &TaskRecord, stored: bool) {
        let mut wire = Record::json(task.key(), task.headers("test", None), Arc::new(task.clone()));
        let put = reference::put_away(&wire.payload, &task.owner(), &TaskRecord::LAYOUT).expect("it is large");
        wire.headers.push(reference::BYTES_HEADER, wire.size().to_string());
        wire.replace_payload(put.json);
        if stored {
            put_values(&*self.store, &put.references.owner, &put.values).await.unwrap();
        }
        let partition = partition_for(task.key().as_bytes(), PARTITIONS);
        self.log.append(&self.topic(&task.task.node), partition, wire).await.unwrap();
    }

    pub async fn issue_all(&self, tasks: &[TaskRecord]) {
        for task in tasks {
            self.issue(task).await;
        }
    }

    /// Everything on a topic, once `enough` of it is there.
    pub async fn read<T: DeserializeOwned + Send + Sync + 'static>(
        &self,
        topic: &str,
        enough: impl Fn(&[T]) -> bool,
    ) -> Vec<T> {
        let topic = self.names.of(topic);
        let read: Arc<Mutex<Vec<Fetched>>> = Arc::default();
        let reading = async {
            let partitions = self.log.partitions(&topic).await.unwrap();
            let readers = (0..partitions).map(|partition| {
                let (read, topic) = (Arc::clone(&read), topic.clone());
                async move {
                    let mut reader = self.log.read(&topic, partition, Start::Earliest).await.unwrap();
                    loop {
                        let records = reader.next().await.unwrap();
                        read.lock().unwrap().extend(records);
                    }
                }
            });
            futures_util::future::join_all(readers).await;
        };
        let found = || -> Vec<T> {
            let read = read.lock().unwrap();
            read.iter().map(|fetched| serde_json::from_slice(&fetched.record.payload).unwrap()).collect()
        };
        let waiting = async {
            loop {
                let found = found();
                if enough(&found) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            found = waiting => found,
            () = async { reading.await; } => unreachable!("readers don't end"),
            () = tokio::time::sleep(PATIENCE) => panic!("only {} records on {topic}", read.lock().unwrap().len()),
        }
    }

    pub async fn events(&self, count: usize) -> Vec<Event> {
        let records = self.read::<RunsRecord>(RUNS, |records| records.len() >= count).await;
        records.into_iter().map(|record| record.event).collect()
    }

    pub async fn results(&self, count: usize) -> Vec<TaskResult> {
        let is_result = |record: &RunsRecord| matches!(record.event, Event::TaskFinished(_));
        let records = self
            .read::<RunsRecord>(RUNS, |records| records.iter().filter(|record| is_result(record)).count() >= count)
            .await;
        records
            .into_iter()
            .filter_map(|record| match record.event {
                Event::TaskFinished(result) => Some(*result),
                _ => None,
            })
            .collect()
    }

    /// The one result of the one task that is issued.
    pub async fn result_of(&self, task: &TaskRecord) -> TaskResult {
        self.issue(task).await;
        self.result(task).await
    }

    /// The one result of a task that was issued.
    pub async fn result(&self, task: &TaskRecord) -> TaskResult {
        let results = self
            .read::<RunsRecord>(RUNS, |records| records.iter().any(|record| is_result_of(&record.event, task)))
            .await;
        results
            .into_iter()
            .find_map(|record| match record.event {
                Event::TaskFinished(result) if result.task_id == task.task.id => Some(*result),
                _ => None,
            })
            .unwrap()
    }

    pub async fn tokens(&self, count: usize) -> Vec<TokenRecord> {
        self.read(TOKENS, |tokens: &[TokenRecord]| tokens.len() >= count).await
    }

    pub async fn dead_letters(&self, count: usize) -> Vec<DeadLetter> {
        self.read(DEAD_LETTERS, |letters: &[DeadLetter]| letters.len() >= count).await
    }

    /// What the node's group has committed, once it is as wanted.
    pub async fn committed(
        &self,
        node: &str,
        partition: u32,
        wanted: impl Fn(Offset, &str) -> bool,
    ) -> (Offset, String) {
        let group = self.names.node_group(&self.spec.name, node);
        within(async {
            loop {
                let committed = self.log.committed(&group, &self.topic(node), partition).await.unwrap();
                if let Some((offset, metadata)) = committed
                    && wanted(offset, &metadata)
                {
                    return (offset, metadata);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

fn is_result_of(event: &Event, task: &TaskRecord) -> bool {
    matches!(event, Event::TaskFinished(result) if result.task_id == task.task.id)
}

impl RunningWorker {
    /// Asks it to end, as SIGTERM does, and waits until it has.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        within(self.ended.take().unwrap()).await.unwrap().unwrap();
    }

    pub fn ask_to_stop(&self) {
        self.shutdown.cancel();
    }

    /// Ends everything that it does, at once and without a word.
    pub fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for RunningWorker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, wait).await.expect("this takes too long")
}
