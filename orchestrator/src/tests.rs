//! The whole stage on an embedded log and store, with a fold that panics where a test asks for it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use event_log::{
    Class, EmbeddedLog, EventLog, GroupEvent, ProgressBoard, Reader, Start, TopicSpec, embedded, partition_for,
};
use graph::{
    envelope::{Envelope, GraphRef, Key, Lane, Millis, Principal, RULES, RunBudget, RunId},
    event::{Event, Request, TimeToLive, TtlStrategy},
    ids,
    spec::GraphSpec,
    task::TaskResult,
    update::{Happened, RunStatus},
    world::Clock,
};
use run_store::{
    EmbeddedStore, Specs, States,
    rows::{SpecRow, StateRow},
};
use schemas::{
    record::{RunsRecord, TaskRecord, UpdateRecord, Wire},
    topic::{CONTROL, DEAD_LETTERS, Names, ORCHESTRATOR_GROUP, RUNS, SIGNALS, UPDATES},
};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Config, Deps, Error, consumer::Member, graphs::GraphCache, poisoned::Poisoned};

const PATIENCE: Duration = Duration::from_secs(30);
const NOW: Millis = 1_763_721_600_000;
/// In a run's metadata: the fold panics on results of its tasks.
const PANICS: &str = "panics";

const GRAPH: &str = "
version: 1
name: one
state: {text: string}
nodes:
  work: {kind: transform, update: {text: \"state.text\"}}
edges: [START -> work, work -> END]
";

/// Called by the fold, for every record.
pub fn panic_where_asked(record: &RunsRecord) {
    let asked = record.envelope.metadata.contains_key(PANICS) && matches!(record.event, Event::TaskFinished(_));
    assert!(!asked, "asked to panic");
}

struct At(Arc<AtomicI64>);

impl Clock for At {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

fn config() -> Config {
    Config { commit_every: Duration::from_millis(20), ..Config::default() }
}

struct Stage {
    now: Arc<AtomicI64>,
    log: Arc<EmbeddedLog>,
    store: Arc<EmbeddedStore>,
    names: Names,
    spec: GraphSpec,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock: embedded::Clock = Arc::new(|| NOW);
        let log = EmbeddedLog::open(&folder.path().join("log"), embedded::Config::default(), clock).unwrap();
        let store = EmbeddedStore::open(folder.path().join("store"), run_store::embedded::Config::default());
        let checked = graph::file::read(GRAPH, None);
        let spec = checked.spec.expect("the graph is right");
        let now = Arc::new(AtomicI64::new(NOW));
        let stage = Stage { now, log, store: store.await.unwrap(), names: Names::new("t-"), spec, _folder: folder };
        let durable = Class::Durable { retention_ms: 3_600_000 };
        let node = stage.names.node("one", "work", Lane::Interactive);
        let mut topics: Vec<_> = [RUNS, UPDATES, SIGNALS, DEAD_LETTERS]
            .map(|name| TopicSpec { name: stage.names.of(name), partitions: 1, class: durable })
            .into();
        topics.push(TopicSpec { name: node, partitions: 1, class: durable });
        topics.push(TopicSpec { name: stage.names.of(CONTROL), partitions: 1, class: Class::Compacted });
        stage.log.create_topics(&topics).await.unwrap();
        let row = SpecRow {
            hash: stage.spec.hash(),
            name: "one".to_owned(),
            spec: stage.spec.canonical().into(),
            created_at: NOW,
        };
        stage.store.put_spec(&row).await.unwrap();
        stage
    }

    fn start(&self, shutdown: &CancellationToken) -> JoinHandle<Result<(), Error>> {
        #[expect(clippy::disallowed_methods, reason = "the test waits for it")]
        tokio::spawn(crate::run(config(), self.deps(), shutdown.clone()))
    }

    fn deps(&self) -> Deps {
        Deps {
            log: Arc::clone(&self.log) as Arc<dyn EventLog>,
            specs: Arc::clone(&self.store) as Arc<dyn Specs>,
            states: Arc::clone(&self.store) as Arc<dyn run_store::States>,
            archive: Arc::clone(&self.store) as Arc<dyn run_store::Archive>,
            blobs: Arc::clone(&self.store) as Arc<dyn run_store::Blobs>,
            clock: Arc::new(At(Arc::clone(&self.now))),
            names: self.names.clone(),
            board: ProgressBoard::default(),
        }
    }

    fn envelope(&self, number: u64, panics: bool) -> Arc<Envelope> {
        Arc::new(Envelope {
            tenant: "default".to_owned(),
            principal: Principal::default(),
            endpoint: "/x".to_owned(),
            run_id: ids::run_id(NOW, number, 0),
            thread_id: None,
            graph: GraphRef { name: "one".to_owned(), hash: self.spec.hash() },
            rules: RULES,
            lane: Lane::Interactive,
            priority: 0,
            deadline: NOW + 3_600_000,
            metadata: panics.then(|| (PANICS.to_owned(), json!(true))).into_iter().collect(),
            tags: Vec::new(),
            batch: None,
            traceparent: None,
            budget: RunBudget::default(),
        })
    }

    fn on_thread(&self, number: u64, thread: &str) -> Arc<Envelope> {
        Arc::new(Envelope { thread_id: Some(thread.to_owned()), ..Envelope::clone(&self.envelope(number, false)) })
    }

    async fn tell(&self, envelope: &Arc<Envelope>, event: Event) {
        let at = self.now.load(Ordering::Relaxed);
        let record = RunsRecord { envelope: Arc::clone(envelope), at, event, references: None };
        let wire = event_log::Record::json(record.key(), record.headers("test", None), Arc::new(record));
        self.log.append(&self.names.of(RUNS), 0, wire).await.unwrap();
    }

    async fn request(&self, envelope: &Arc<Envelope>) {
        let request = Request { input: Some(Arc::new(json!({"text": "x"}))), ..Request::default() };
        self.tell(envelope, Event::Requested(Box::new(request))).await;
    }

    async fn read(&self, topic: String) -> Box<dyn Reader> {
        assert_eq!(partition_for(b"x", 1), 0);
        self.log.read(&topic, 0, Start::Earliest).await.unwrap()
    }

    /// Gives the results of the tasks of these runs, each once.
    async fn work(&self, runs: &[&Arc<Envelope>]) {
        let mut tasks = self.read(self.names.node("one", "work", Lane::Interactive)).await;
        let mut waiting: BTreeSet<RunId> = runs.iter().map(|envelope| envelope.run_id).collect();
        while !waiting.is_empty() {
            for fetched in tokio::time::timeout(PATIENCE, tasks.next()).await.expect("a task is issued").unwrap() {
                let record = fetched.json::<TaskRecord>().unwrap();
                if waiting.remove(&record.envelope.run_id) {
                    let result = TaskResult {
                        task_id: record.task.id,
                        issue: record.task.issue,
                        execution: Uuid::from_u128(7),
                        attempt: 1,
                        node: "work".into(),
                        writes: Arc::new(vec![("text".into(), Arc::new(json!("done")))]),
                        ..TaskResult::default()
                    };
                    self.tell(&record.envelope, Event::TaskFinished(Box::new(result))).await;
                }
            }
        }
    }

    /// How a run ended, and its error's text.
    async fn end_of(&self, run: RunId) -> (RunStatus, String) {
        let mut updates = self.read(self.names.of(UPDATES)).await;
        loop {
            for fetched in tokio::time::timeout(PATIENCE, updates.next()).await.expect("the run ends").unwrap() {
                let record = fetched.json::<UpdateRecord>().unwrap();
                for happened in &record.update.happened {
                    if let Happened::Ended(ended) = happened
                        && record.envelope.run_id == run
                    {
                        return (ended.status, format!("{:?}", ended.error));
                    }
                }
            }
        }
    }

    /// Waits until a thread is said to be deleted, and gives how often it is by then.
    async fn deletes_of(&self, thread: &str) -> usize {
        let mut updates = self.read(self.names.of(UPDATES)).await;
        let deletes = |fetched: &event_log::Fetched| {
            let record = fetched.json::<UpdateRecord>().unwrap();
            let deletes = |happened: &Happened| matches!(happened, Happened::Edited(edited) if edited.deleted);
            record.envelope.thread_id.as_deref() == Some(thread) && record.update.happened.iter().any(deletes)
        };
        loop {
            let some = tokio::time::timeout(PATIENCE, updates.next()).await.expect("it is deleted").unwrap();
            let deletes = some.iter().filter(|fetched| deletes(fetched)).count();
            if deletes > 0 {
                return deletes;
            }
        }
    }

    /// Waits until the store's row of a thread is as is wanted.
    async fn state_of(&self, thread: &str, wanted: impl Fn(&Option<StateRow>) -> bool) -> Option<StateRow> {
        let key = Key::thread("default", thread);
        let waits = async {
            loop {
                let row = self.store.state(0, &key).await.unwrap();
                if wanted(&row) {
                    return row;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, waits).await.expect("the row is so in the end")
    }

    /// Records of `runs` that say that a run failed within.
    async fn failures(&self) -> usize {
        let topic = self.names.of(RUNS);
        let (_, end) = self.log.bounds(&topic, 0).await.unwrap();
        let (mut runs, mut next, mut failures) = (self.read(topic).await, 0, 0);
        while next < end {
            for fetched in runs.next().await.unwrap() {
                next = fetched.offset + 1;
                let record = fetched.json::<RunsRecord>().unwrap();
                failures += usize::from(matches!(record.event, Event::RunFailed { .. }));
            }
        }
        failures
    }

    async fn committed(&self) -> u64 {
        let committed = self.log.committed(&self.names.of(ORCHESTRATOR_GROUP), &self.names.of(RUNS), 0).await;
        committed.unwrap().map_or(0, |(offset, _)| offset)
    }
}

/// A broker that was away takes its members for dead: each loses its partitions and may have them back at once, while
/// their former owners still come to an end.
#[tokio::test]
async fn a_partition_that_was_lost_and_comes_back_is_served() {
    let stage = Stage::new().await;
    let shutdown = CancellationToken::new();
    let (config, deps) = (config(), stage.deps());
    let graphs =
        GraphCache::new(Arc::clone(&deps.specs), Arc::clone(&deps.log), deps.names.clone(), &Config::default());
    let (graphs, poisoned) = (Arc::new(graphs), Poisoned::default());
    let mut member = Member::join(&config, &deps, &graphs, &poisoned).await.unwrap();
    let assigned = loop {
        if let GroupEvent::Assigned(assigned) = member.consumer.next().await.unwrap() {
            break assigned;
        }
    };
    let lost = assigned.iter().map(|assigned| (Arc::clone(&assigned.topic), assigned.partition)).collect();
    member.on_event(GroupEvent::Assigned(assigned.clone())).await.unwrap();
    // The first owner runs before it is lost.
    tokio::task::yield_now().await;
    member.on_event(GroupEvent::Lost(lost)).await.unwrap();
    member.on_event(GroupEvent::Assigned(assigned)).await.unwrap();
    let run = stage.envelope(1, false);
    let served = async {
        stage.request(&run).await;
        stage.work(&[&run]).await;
        let ended = stage.end_of(run.run_id).await.0;
        shutdown.cancel();
        ended
    };
    let (result, ended) = tokio::join!(member.serve(&shutdown), served);
    result.unwrap();
    assert_eq!(ended, RunStatus::Success);
}

#[tokio::test]
async fn a_panic_of_the_fold_ends_its_run_and_no_other() {
    let stage = Stage::new().await;
    let shutdown = CancellationToken::new();
    let running = stage.start(&shutdown);
    let (broken, whole, later) = (stage.envelope(1, true), stage.envelope(2, false), stage.envelope(3, false));
    stage.request(&broken).await;
    stage.request(&whole).await;
    stage.work(&[&broken, &whole]).await;

    let (status, error) = stage.end_of(broken.run_id).await;
    assert_eq!(status, RunStatus::Error);
    assert!(error.contains("a record of type task_finished could not be applied"), "{error}");
    assert_eq!(stage.end_of(whole.run_id).await.0, RunStatus::Success);

    // The partition goes on, and its offset passes the record.
    stage.request(&later).await;
    stage.work(&[&later]).await;
    assert_eq!(stage.end_of(later.run_id).await.0, RunStatus::Success);
    let (_, end) = stage.log.bounds(&stage.names.of(RUNS), 0).await.unwrap();
    tokio::time::timeout(PATIENCE, async {
        while stage.committed().await < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the offset passes the record");
    assert_eq!(stage.failures().await, 1);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// Another process knows nothing of the panic: it learns of it by its own, and finds that the run has been ended for it.
#[tokio::test]
async fn a_replay_of_the_panic_ends_the_run_no_second_time() {
    let stage = Stage::new().await;
    let (broken, whole) = (stage.envelope(1, true), stage.envelope(2, false));
    let shutdown = CancellationToken::new();
    let running = stage.start(&shutdown);
    stage.request(&broken).await;
    stage.request(&whole).await;
    stage.work(&[&broken, &whole]).await;
    stage.end_of(broken.run_id).await;
    // As a kill leaves it: nothing committed, nothing stored.
    running.abort();
    let _ = running.await;
    let mut consumer = stage
        .log
        .subscribe(event_log::Subscription {
            group: stage.names.of(ORCHESTRATOR_GROUP),
            topics: vec![stage.names.of(RUNS)],
            prefetch_bytes_max: 1 << 20,
        })
        .await
        .unwrap();
    while !matches!(consumer.next().await.unwrap(), event_log::GroupEvent::Assigned(_)) {}
    consumer.commit(&stage.names.of(RUNS), 0, 0, "").await.unwrap();
    drop(consumer);

    let running = stage.start(&shutdown);
    let later = stage.envelope(3, false);
    stage.request(&later).await;
    stage.work(&[&later]).await;
    assert_eq!(stage.end_of(later.run_id).await.0, RunStatus::Success);
    assert_eq!(stage.failures().await, 1);
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

/// Whoever owns the partition when a thread's time is over ends it, once; in between it costs a row and an entry in a list.
#[tokio::test]
async fn a_thread_that_sleeps_ends_under_a_later_owner() {
    const DAY_MS: Millis = 86_400_000;
    let stage = Stage::new().await;
    let stop = async |shutdown: CancellationToken, running: JoinHandle<Result<(), Error>>| {
        shutdown.cancel();
        running.await.unwrap().unwrap();
    };
    let ttl = TimeToLive { ms: 30 * DAY_MS, strategy: TtlStrategy::Delete };
    let timed = |row: &Option<StateRow>| row.as_ref().is_some_and(|row| row.wake_at.is_some());

    let (shutdown, first) = (CancellationToken::new(), CancellationToken::new());
    let running = stage.start(&first);
    // One has had a run, which is remembered; the other has had none.
    let mut claimed = Request { input: Some(Arc::new(json!({"text": "x"}))), claimed: true, ..Request::default() };
    claimed.ttl = Some(ttl);
    let run = stage.on_thread(1, "ran");
    stage.tell(&run, Event::Requested(Box::new(claimed))).await;
    stage.work(&[&run]).await;
    stage.end_of(run.run_id).await;
    stage.tell(&stage.on_thread(2, "made"), Event::ThreadTimed(ttl)).await;
    for thread in ["ran", "made"] {
        let row = stage.state_of(thread, timed).await.expect("a row");
        assert_eq!((row.wake_at, row.expires_at), (Some(NOW + ttl.ms), None), "it stays until its timer fires");
    }
    stop(first, running).await;

    stage.now.store(NOW + ttl.ms - 1, Ordering::Relaxed);
    let second = CancellationToken::new();
    let running = stage.start(&second);
    // A use of it, a millisecond before its time is over; the other is left alone.
    let use_of = stage.on_thread(3, "ran");
    stage.request(&use_of).await;
    stage.work(&[&use_of]).await;
    stage.end_of(use_of.run_id).await;
    stop(second, running).await;

    stage.now.store(NOW + ttl.ms, Ordering::Relaxed);
    let running = stage.start(&shutdown);
    assert_eq!(stage.deletes_of("made").await, 1);
    stage.state_of("made", Option::is_none).await;
    let again = NOW + 2 * ttl.ms - 1;
    let rearmed = |row: &Option<StateRow>| row.as_ref().is_some_and(|row| row.wake_at == Some(again));
    stage.state_of("ran", rearmed).await;
    stop(shutdown, running).await;

    stage.now.store(again, Ordering::Relaxed);
    let last = CancellationToken::new();
    let running = stage.start(&last);
    assert_eq!(stage.deletes_of("ran").await, 1);
    let remembered = stage.state_of("ran", |row| row.as_ref().is_some_and(|row| row.wake_at.is_none())).await;
    assert!(remembered.is_some_and(|row| row.expires_at.is_some()), "a run that was claimed stays known for a day");
    stop(last, running).await;
}
