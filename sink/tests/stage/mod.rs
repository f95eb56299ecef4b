//! A log, a store and sinks over them, and runs to put on the log: real parts, synthetic records.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod faulty;
mod run;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body};
use event_log::{Class, EventLog, ProgressBoard, Record, TopicSpec, embedded::EmbeddedLog};
use futures_util::StreamExt;
use graph::{envelope::Millis, world::Clock};
use http::{Request, Response};
use http_body_util::BodyExt;
use run_store::{Blobs, Deletes, EmbeddedStore, Results, States, values::put_values};
use schemas::{
    record::{TokenRecord, UpdateRecord, Wire},
    reference::{self, References, Referring},
    stream::TENANT_HEADER,
    topic::{CONTROL, DEAD_LETTERS, Names, TOKENS, UPDATES},
};
use serde_json::Value;
use sink::{Config, Deps, Sink};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub use self::{
    faulty::Faulty,
    run::{NOW, Run},
};

pub const PARTITIONS: u32 = 4;
const PATIENCE: Duration = Duration::from_secs(20);

struct Still;

impl Clock for Still {
    fn now(&self) -> Millis {
        NOW
    }
}

pub struct Stage {
    folder: tempfile::TempDir,
    pub log: Arc<EmbeddedLog>,
    pub store: Arc<EmbeddedStore>,
    pub names: Names,
    offsets: AtomicU64,
}

pub struct Running {
    pub router: Router,
    stop: CancellationToken,
    task: JoinHandle<Result<(), sink::Error>>,
}

impl Stage {
    pub async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log =
            EmbeddedLog::open(&folder.path().join("log"), event_log::embedded::Config::default(), Arc::new(|| NOW));
        let store = EmbeddedStore::open(folder.path().join("store"), run_store::embedded::Config::default());
        let (log, store) = (log.unwrap(), store.await.unwrap());
        let names = Names::new("t-");
        let kept = Class::Durable { retention_ms: 86_400_000 };
        let topics = [
            (UPDATES, PARTITIONS, kept),
            (TOKENS, PARTITIONS, Class::Ephemeral { retention_ms: 600_000 }),
            (CONTROL, 1, Class::Compacted),
            (DEAD_LETTERS, 1, kept),
        ];
        let topics = topics.map(|(name, partitions, class)| TopicSpec { name: names.of(name), partitions, class });
        log.create_topics(&topics).await.unwrap();
        Stage { folder, log, store, names, offsets: AtomicU64::new(0) }
    }

    pub fn deps(&self) -> Deps {
        Deps {
            log: Arc::clone(&self.log) as Arc<dyn EventLog>,
            results: Arc::clone(&self.store) as Arc<dyn Results>,
            deletes: Arc::clone(&self.store) as Arc<dyn Deletes>,
            states: Arc::clone(&self.store) as Arc<dyn States>,
            blobs: Arc::clone(&self.store) as Arc<dyn Blobs>,
            clock: Arc::new(Still),
            names: self.names.clone(),
            board: ProgressBoard::default(),
            secret: None,
        }
    }

    pub fn config() -> Config {
        Config { address: "here".to_owned(), commit_every: Duration::from_millis(50), ..Config::default() }
    }

    pub async fn sink(&self) -> Running {
        self.sink_of(Self::config(), self.deps()).await
    }

    pub async fn sink_of(&self, config: Config, deps: Deps) -> Running {
        let sink = Sink::new(config, deps);
        let (router, stop) = (sink.router(), CancellationToken::new());
        // Tests wait for the task themselves.
        #[allow(clippy::disallowed_methods)]
        let task = tokio::spawn(sink.run(stop.clone()));
        Running { router, stop, task }
    }

    pub async fn put(&self, run: &Run, record: UpdateRecord) {
        let record = Arc::new(record);
        let (key, headers) = (record.key(), record.headers("test", None));
        self.log.append(&self.names.of(UPDATES), run.partition, Record::json(key, headers, record)).await.unwrap();
    }

    /// As an orchestrator appends an update whose values are too large for it: they stand in the store before it, or
    /// not at all. Gives the table.
    pub async fn put_by_reference(&self, run: &Run, record: UpdateRecord, stored: bool) -> References {
        let mut wire = Record::json(record.key(), record.headers("test", None), Arc::new(record.clone()));
        let put = reference::put_away(&wire.payload, &record.owner(), &UpdateRecord::LAYOUT).expect("it is large");
        wire.replace_payload(put.json);
        if stored {
            put_values(&*self.store, &put.references.owner, &put.values).await.unwrap();
        }
        self.log.append(&self.names.of(UPDATES), run.partition, wire).await.unwrap();
        put.references
    }

    pub async fn put_token(&self, run: &Run, record: TokenRecord) -> u64 {
        let record = Arc::new(record);
        let (key, headers) = (record.key(), record.headers("test", None));
        let topic = self.names.of(TOKENS);
        self.log.append(&topic, run.partition, Record::json(key, headers, record)).await.unwrap().offset
    }

    /// The whole run: started, `prepare`, `answer` with its tokens, ended.
    pub async fn play(&self, run: &Run) {
        self.put(run, run.started(self.next())).await;
        self.put(run, run.prepared(self.next())).await;
        self.say(run, 0..run.words.len()).await;
        self.put(run, run.ended(self.next())).await;
    }

    pub async fn say(&self, run: &Run, words: std::ops::Range<usize>) {
        for n in words {
            self.put_token(run, run.token(n)).await;
        }
    }

    pub fn next(&self) -> u64 {
        self.offsets.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub async fn put_garbage(&self, topic: &str, partition: u32) {
        self.log.append(&self.names.of(topic), partition, Record::new("k", "{nonsense")).await.unwrap();
    }
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }

    /// Asks as `tenant`, again while the partition is nobody's yet.
    pub async fn ask_as(&self, tenant: &str, path: &str) -> Response<Body> {
        let asking = async {
            loop {
                let response = self.ask_once(tenant, path).await;
                if response.status() != 421 {
                    return response;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("a partition stays nobody's")
    }

    pub async fn ask_once(&self, tenant: &str, path: &str) -> Response<Body> {
        let request = Request::get(path).header(TENANT_HEADER, tenant).body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn ask(&self, path: &str) -> Response<Body> {
        self.ask_as("default", path).await
    }

    pub async fn json(&self, path: &str) -> Value {
        let response = self.ask(path).await;
        assert_eq!(response.status(), 200, "{path}");
        serde_json::from_slice(&whole(response).await).unwrap()
    }

    /// Asks until the answer pleases: the store is written after streams are fed, and what is new may have to be looked up
    /// there before it is found.
    pub async fn json_when(&self, path: &str, pleases: impl Fn(&Value) -> bool) -> Value {
        let asking = async {
            loop {
                let response = self.ask(path).await;
                let found = response.status() != 404;
                assert!(!found || response.status() == 200, "{path}: {}", response.status());
                let answer = serde_json::from_slice(&whole(response).await).unwrap();
                if found && pleases(&answer) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never pleased"))
    }
}

pub async fn whole(response: Response<Body>) -> Vec<u8> {
    let body = tokio::time::timeout(PATIENCE, response.into_body().collect()).await.expect("the body never ended");
    body.unwrap().to_bytes().to_vec()
}

/// One frame of an SSE body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Frame {
    pub id: String,
    pub event: String,
    pub data: String,
    pub comment: String,
}

pub fn frames(body: &[u8]) -> Vec<Frame> {
    let text = std::str::from_utf8(body).unwrap();
    let parse = |block: &str| {
        let mut frame = Frame::default();
        for line in block.lines() {
            match line.split_once(": ") {
                Some(("id", id)) => frame.id = id.to_owned(),
                Some(("event", event)) => frame.event = event.to_owned(),
                Some(("data", data)) => frame.data.push_str(data),
                _ => frame.comment.push_str(line),
            }
        }
        frame
    };
    text.split_terminator("\n\n").map(parse).collect()
}

/// Reads frames until one pleases; the rest of the body is dropped with the connection.
pub async fn frames_until(response: Response<Body>, pleases: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let mut body = response.into_body().into_data_stream();
    let mut bytes = Vec::new();
    loop {
        let chunk = tokio::time::timeout(PATIENCE, body.next()).await.expect("the frame never came");
        bytes.extend_from_slice(&chunk.expect("the stream ended before the frame").unwrap());
        let frames = frames(&bytes);
        if frames.iter().any(&pleases) {
            return frames;
        }
    }
}

pub fn names_of(frames: &[Frame]) -> Vec<&str> {
    frames.iter().map(|frame| frame.event.as_str()).collect()
}

pub fn text_of(frames: &[Frame]) -> String {
    let token = |frame: &&Frame| frame.event == "token";
    frames
        .iter()
        .filter(token)
        .map(|frame| serde_json::from_str::<Value>(&frame.data).unwrap()["text"].as_str().unwrap().to_owned())
        .collect()
}
