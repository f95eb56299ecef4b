//! A whole ingest in a temporary folder, and a way to ask it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use axum::{Router, body::Body};
use event_log::{Class, EmbeddedLog, EventLog, Fetched, Start, TopicSpec};
use graph::{
    envelope::Millis,
    spec::{Serve, Speaks},
    world::{Clock, Random},
};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use ingest::{ApiKey, Auth, Config, Deps, Ingest, KeySet, Readiness, Scope};
use quota::{InProcessRates, RateLimits, Rates};
use run_store::{LongTermStore, embedded::EmbeddedStore};
use schemas::{
    record::RunsRecord,
    topic::{CONTROL, Names, RUNS},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use crate::sinks::TestSinks;

pub const ACME: &str = "the-secret-of-acme";
pub const BETA: &str = "the-secret-of-beta";
pub const READER: &str = "a-secret-for-reading";
/// May make keys, and nothing else.
pub const ROOT: &str = "the-secret-of-root";
pub const PARTITIONS: u32 = 4;

/// Answers a chat, can be continued, and knows a typed channel and a context.
pub const SUPPORT: &str = r#"
version: 1
name: support
description: Answers a customer.
state:
  messages: {type: messages}
  topic: string
input: [messages, topic]
output: [messages, topic]
context: {locale: {type: string, default: en}}
nodes:
  answer: {kind: transform, update: {topic: "'other'"}}
edges:
  - START -> answer
  - answer -> END
serve: {path: /support, as: chat}
"#;

/// A plain input and output. Bound `as: query` below: the API can, and files can't say so yet.
pub const SUM: &str = r#"
version: 1
name: sum
state: {left: integer, right: integer, total: integer}
input: [left, right]
output: [total]
nodes:
  add: {kind: transform, update: {total: "state.left + state.right"}}
edges:
  - START -> add
  - add -> END
"#;

pub struct Stage {
    pub ingest: Ingest,
    pub log: Arc<dyn EventLog>,
    pub sinks: Arc<TestSinks>,
    pub store: Arc<EmbeddedStore>,
    router: Router,
    config: Config,
    at: Arc<TestWorld>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    _folder: TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    /// Null where the body is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The code of an error on our addresses.
    #[track_caller]
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_else(|| panic!("no error: {}", self.text)).to_owned()
    }
}

impl Stage {
    /// Two tenants, and both graphs.
    pub async fn new() -> Self {
        Stage::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        Stage::limited(RateLimits::default(), change).await
    }

    pub async fn limited(limits: RateLimits, change: impl FnOnce(&mut Config)) -> Self {
        let rates = (limits != RateLimits::default())
            .then(|| Arc::new(InProcessRates::new(limits, Arc::new(Still))) as Arc<dyn Rates>);
        Stage::paced(rates, change).await
    }

    pub async fn paced(rates: Option<Arc<dyn Rates>>, change: impl FnOnce(&mut Config)) -> Self {
        Stage::of(rates, None, change).await
    }

    /// Takes tokens of an issuer with these keys.
    pub async fn trusting(key_set: Arc<dyn KeySet>, change: impl FnOnce(&mut Config)) -> Self {
        Stage::of(None, Some(key_set), change).await
    }

    async fn of(
        rates: Option<Arc<dyn Rates>>,
        key_set: Option<Arc<dyn KeySet>>,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = Arc::new(TestWorld::default());
        let clock = Arc::clone(&at);
        let log =
            EmbeddedLog::open(&folder.path().join("log"), Default::default(), Arc::new(move || clock.now())).unwrap();
        let log: Arc<dyn EventLog> = log;
        let durable = Class::Durable { retention_ms: 3_600_000 };
        let topic = |name: &str, partitions, class| TopicSpec { name: name.into(), partitions, class };
        log.create_topics(&[topic(RUNS, PARTITIONS, durable), topic(CONTROL, 1, Class::Compacted)]).await.unwrap();
        let store = EmbeddedStore::open(folder.path().join("store"), Default::default()).await.unwrap();
        let tasks = TaskTracker::new();
        let shutdown = CancellationToken::new();
        let sinks = TestSinks::start(&log, &tasks, &shutdown).await;
        let mut config = Config::new(Auth::Keys(keys()), Names::default(), PARTITIONS);
        config.wait_timeout = std::time::Duration::from_millis(400);
        config.fresh_run_wait = std::time::Duration::from_millis(300);
        change(&mut config);
        let parts = (Arc::clone(&log), Arc::clone(&store), Arc::clone(&sinks));
        let ingest = ingest(config.clone(), parts, Arc::clone(&at), rates, key_set);
        let (follower, until) = (ingest.clone(), shutdown.clone());
        tasks.spawn(async move { follower.follow(until).await });
        let router = ingest.router();
        let stage = Stage { router, ingest, log, sinks, store, config, at, tasks, shutdown, _folder: folder };
        stage.keys_are_read().await;
        stage.publish("support", SUPPORT).await;
        stage.publish("sum", SUM).await;
        stage
    }

    /// Another ingest of the same deployment.
    pub async fn another(&self) -> Stage {
        let parts = (Arc::clone(&self.log), Arc::clone(&self.store), Arc::clone(&self.sinks));
        let ingest = ingest(self.config.clone(), parts, Arc::clone(&self.at), None, None);
        let shutdown = self.shutdown.child_token();
        let (follower, until) = (ingest.clone(), shutdown.clone());
        self.tasks.spawn(async move { follower.follow(until).await });
        let stage = Stage {
            router: ingest.router(),
            ingest,
            log: Arc::clone(&self.log),
            sinks: Arc::clone(&self.sinks),
            store: Arc::clone(&self.store),
            config: self.config.clone(),
            at: Arc::clone(&self.at),
            tasks: self.tasks.clone(),
            shutdown,
            _folder: tempfile::tempdir().unwrap(),
        };
        stage.keys_are_read().await;
        stage
    }

    /// A key that nobody has is refused as such, and no longer because the store wasn't read.
    async fn keys_are_read(&self) {
        while self.ask("a-key-that-nobody-has", "GET", "/graphs", None).await.status == StatusCode::SERVICE_UNAVAILABLE
        {
            tokio::task::yield_now().await;
        }
    }

    pub fn now(&self) -> Millis {
        self.at.now()
    }

    /// Lets time go by.
    pub fn skip_ms(&self, ms: Millis) {
        self.at.now.fetch_add(ms, Ordering::Relaxed);
    }

    async fn publish(&self, name: &str, file: &str) {
        let checked = graph::file::read(file, None);
        let mut spec = checked.spec.clone().unwrap_or_else(|| panic!("{}", checked.report(name)));
        if name == "sum" {
            spec.serve = Some(Serve { path: "/sum".to_owned(), speaks: Speaks::Query });
        }
        self.ingest.publish(spec).await.unwrap();
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// As a key, with a JSON body where one is given.
    pub async fn ask(&self, key: &str, method: &str, path: &str, body: Option<Value>) -> Reply {
        let request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(path);
        let request = request.header("authorization", format!("Bearer {key}"));
        let request = match body {
            None => request.body(Body::empty()),
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        };
        self.send(request.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask(ACME, "GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.ask(ACME, "POST", path, Some(body)).await
    }

    /// Everything on `runs` so far, by partition.
    pub async fn fetched(&self) -> Vec<Fetched> {
        let mut all = Vec::new();
        for partition in 0..PARTITIONS {
            let (start, end) = self.log.bounds(RUNS, partition).await.unwrap();
            let mut reader = self.log.read(RUNS, partition, Start::At(start)).await.unwrap();
            let wanted = all.len() + (end - start) as usize;
            while all.len() < wanted {
                all.extend(reader.next().await.unwrap());
            }
        }
        all
    }

    /// As another process would read them: from the bytes. The oldest first, of whatever partition.
    pub async fn records(&self) -> Vec<(u32, RunsRecord)> {
        let parse = |fetched: Fetched| (fetched.partition, serde_json::from_slice(&fetched.record.payload).unwrap());
        let mut records: Vec<(u32, RunsRecord)> = self.fetched().await.into_iter().map(parse).collect();
        records.sort_by_key(|(_, record)| record.at);
        records
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn ingest(
    config: Config,
    (log, store, sinks): (Arc<dyn EventLog>, Arc<EmbeddedStore>, Arc<TestSinks>),
    at: Arc<TestWorld>,
    rates: Option<Arc<dyn Rates>>,
    key_set: Option<Arc<dyn KeySet>>,
) -> Ingest {
    let deps = Deps {
        log,
        claims: store.clone(),
        keys: store.clone(),
        key_set,
        specs: store.clone(),
        blobs: store.clone(),
        store: LongTermStore::new(store, at.clone()),
        sinks,
        clock: at.clone(),
        random: at,
        rates,
        readiness: Arc::new(Readiness::ok),
        metrics: Arc::new(|| "up 1\n".to_owned()),
    };
    Ingest::new(config, deps).unwrap()
}

fn keys() -> Vec<ApiKey> {
    let key = |name: &str, secret: &str, tenant: &str, scopes: Vec<Scope>| ApiKey {
        name: name.into(),
        secret: Some(secret.into()),
        hash: None,
        tenant: tenant.into(),
        scopes,
        graphs: vec![],
    };
    vec![
        key("acme-app", ACME, "acme", vec![]),
        key("beta-app", BETA, "beta", vec![]),
        key("acme-eyes", READER, "acme", vec![Scope::Read]),
        key("root", ROOT, "default", vec![Scope::Admin]),
    ]
}

/// A clock that moves a little with each look, and numbers that never repeat.
struct TestWorld {
    now: AtomicI64,
    drawn: AtomicU64,
}

impl Default for TestWorld {
    fn default() -> Self {
        TestWorld { now: AtomicI64::new(1_763_721_600_000), drawn: AtomicU64::new(1) }
    }
}

impl Clock for TestWorld {
    fn now(&self) -> Millis {
        self.now.fetch_add(1, Ordering::Relaxed)
    }
}

/// For rates: no time goes by.
struct Still;

impl Clock for Still {
    fn now(&self) -> Millis {
        0
    }
}

impl Random for TestWorld {
    fn next_u64(&self) -> u64 {
        // Spread over all bits: partitions are drawn from the middle ones.
        self.drawn.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
