//! The orchestrator on an embedded log and store that fail when asked to, started again when it dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use event_log::{Class, EmbeddedLog, EventLog, ProgressBoard, TopicSpec, embedded};
use graph::{envelope::Millis, spec::GraphSpec, world::Clock};
use orchestrator::{Config, Deps, NodeTopics};
use run_store::{EmbeddedStore, Specs, rows::SpecRow};
use schemas::topic::{CONTROL, DEAD_LETTERS, Names, RUNS, SIGNALS, UPDATES};
use semantics::client::BEGAN;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{faulty_log::FaultyLog, faulty_store::FaultyStore};

pub const PATIENCE: Duration = Duration::from_secs(120);

/// What fails, by the number of appends or calls; nothing where 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The process dies at every so many-th append.
    pub kill_every: u64,
    /// An append fails, lost or not.
    pub fail_append_every: u64,
    /// A call of the store fails.
    pub refuse_every: u64,
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Millis {
        BEGAN
    }
}

pub struct Stage {
    pub log: Arc<FaultyLog>,
    pub store: Arc<FaultyStore>,
    pub names: Names,
    shutdown: CancellationToken,
    kills: Arc<AtomicU64>,
    running: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub async fn open(faults: Faults) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: embedded::Clock = Arc::new(|| BEGAN);
        let log = EmbeddedLog::open(&folder.path().join("log"), embedded::Config::default(), clock).unwrap();
        let store = EmbeddedStore::open(folder.path().join("store"), run_store::embedded::Config::default());
        let names = Names::new("t-");
        let durable = Class::Durable { retention_ms: 86_400_000 };
        let kept = [RUNS, UPDATES, SIGNALS, DEAD_LETTERS].map(|name| (name, durable));
        let topics = kept.into_iter().chain([(CONTROL, Class::Compacted)]);
        let topics: Vec<_> =
            topics.map(|(name, class)| TopicSpec { name: names.of(name), partitions: 1, class }).collect();
        log.create_topics(&topics).await.unwrap();
        let log = Arc::new(FaultyLog::new(log, &names, faults));
        let store = Arc::new(FaultyStore::new(store.await.unwrap(), faults.refuse_every));
        let (shutdown, kills) = (CancellationToken::new(), Arc::new(AtomicU64::new(0)));
        let process = Process { log: Arc::clone(&log), store: Arc::clone(&store), names: names.clone() };
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        let running = tokio::spawn(keep_alive(process, shutdown.clone(), Arc::clone(&kills)));
        Stage { log, store, names, shutdown, kills, running, _folder: folder }
    }

    pub async fn put_specs(&self, specs: &[GraphSpec]) {
        for spec in specs {
            let (hash, name) = (spec.hash(), spec.name.clone());
            let row = SpecRow { hash, name, spec: spec.canonical().into(), created_at: BEGAN };
            self.store.inner.put_spec(&row).await.unwrap();
        }
    }

    pub fn kills(&self) -> u64 {
        self.kills.load(Ordering::Relaxed)
    }

    pub async fn close(self) {
        self.shutdown.cancel();
        self.running.await.expect("the orchestrator ends");
    }
}

/// What a process is given.
struct Process {
    log: Arc<FaultyLog>,
    store: Arc<FaultyStore>,
    names: Names,
}

impl Process {
    fn start(&self, shutdown: &CancellationToken) -> JoinHandle<Result<(), orchestrator::Error>> {
        let config = Config {
            create_topics: Some(NodeTopics { partitions: 1, retention: Duration::from_secs(86_400) }),
            // States go to the store and leave memory as soon as they may.
            commit_every: Duration::from_millis(4),
            store_after: Duration::ZERO,
            evict_after: Duration::from_millis(20),
            ..Config::default()
        };
        let deps = Deps {
            log: Arc::clone(&self.log) as Arc<dyn EventLog>,
            specs: self.store.inner.clone(),
            states: self.store.clone(),
            archive: self.store.clone(),
            blobs: self.store.clone(),
            clock: Arc::new(Still),
            names: self.names.clone(),
            board: ProgressBoard::default(),
        };
        #[expect(clippy::disallowed_methods, reason = "it is aborted, as by a kill, or waited for")]
        tokio::spawn(orchestrator::run(config, deps, shutdown.clone()))
    }
}

async fn keep_alive(process: Process, shutdown: CancellationToken, kills: Arc<AtomicU64>) {
    let mut running = process.start(&shutdown);
    loop {
        tokio::select! {
            () = process.log.kill.notified() => {
                running.abort();
                let _ = running.await;
                kills.fetch_add(1, Ordering::Relaxed);
                running = process.start(&shutdown);
            }
            ended = &mut running => return ended.expect("no panic").expect("no error that a repeat can't mend"),
        }
    }
}
