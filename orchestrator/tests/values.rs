//! Values by reference through an owner: those that are gone fail what they belong to, and only that.

use std::{sync::Arc, time::Duration};

use event_log::{Class, EventLog, ProgressBoard, Record, Start, TopicSpec, embedded::EmbeddedLog};
use graph::{
    envelope::{Envelope, GraphRef, Key, Lane, Millis, Principal, RULES, RunBudget},
    event::{Edit, Event, Multitask, Request, StateUpdate},
    ids,
    task::TaskResult,
    update::{Edited, Happened, RunStatus},
    world::Clock,
};
use orchestrator::{Config, Deps, NodeTopics};
use run_store::{
    Archive, Blobs, EmbeddedStore, Position, Specs, States,
    rows::SpecRow,
    values::{MISSING_AFTER, find_values, put_values},
};
use schemas::{
    record::{RunsRecord, TaskRecord, UpdateRecord, Wire},
    reference::{self, RECORD_BYTES_INLINE, References, Referring},
    topic::{CONTROL, DEAD_LETTERS, Names, ORCHESTRATOR_GROUP, RUNS, SIGNALS, UPDATES},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

const NOW: Millis = 1_763_721_600_000;
const PATIENCE: Duration = Duration::from_secs(40);

const FILE: &str = "
version: 1
name: g
state:
  text: string
  other: string
nodes:
  a: {kind: transform, update: {other: state.text}}
edges:
  - START -> a
  - a -> END
";

struct Still;

impl Clock for Still {
    fn now(&self) -> Millis {
        NOW
    }
}

struct Stage {
    log: Arc<EmbeddedLog>,
    store: Arc<EmbeddedStore>,
    names: Names,
    graph: GraphRef,
    stop: CancellationToken,
    tasks: TaskTracker,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = event_log::embedded::Config::default();
        let log = EmbeddedLog::open(&folder.path().join("log"), config, Arc::new(|| NOW)).unwrap();
        let store = EmbeddedStore::open(folder.path().join("store"), run_store::embedded::Config::default()).await;
        let (store, names) = (store.unwrap(), Names::new("t-"));
        let durable = Class::Durable { retention_ms: 86_400_000 };
        let topics = [
            (RUNS, durable),
            (UPDATES, durable),
            (SIGNALS, durable),
            (DEAD_LETTERS, durable),
            (CONTROL, Class::Compacted),
        ];
        let topics = topics.map(|(name, class)| TopicSpec { name: names.of(name), partitions: 1, class });
        log.create_topics(&topics).await.unwrap();
        let spec = graph::file::read(FILE, None).spec.unwrap();
        let graph = GraphRef { name: spec.name.clone(), hash: spec.hash() };
        let row = SpecRow { hash: spec.hash(), name: spec.name.clone(), spec: spec.canonical().into(), created_at: 1 };
        store.put_spec(&row).await.unwrap();
        let stage = Stage {
            log,
            store,
            names,
            graph,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            _folder: folder,
        };
        stage.start();
        stage
    }

    fn start(&self) {
        let deps = Deps {
            log: self.log.clone(),
            specs: self.store.clone(),
            states: self.store.clone(),
            archive: self.store.clone(),
            blobs: self.store.clone(),
            clock: Arc::new(Still),
            names: self.names.clone(),
            board: ProgressBoard::default(),
        };
        let config = Config {
            create_topics: Some(NodeTopics { partitions: 1, retention: Duration::from_secs(86_400) }),
            // States go to the store and leave memory as soon as they may.
            commit_every: Duration::from_millis(50),
            store_after: Duration::ZERO,
            evict_after: Duration::from_millis(100),
            ..Config::default()
        };
        self.tasks.spawn(orchestrator::run(config, deps, self.stop.clone()));
    }

    /// A new orchestrator, which knows what log and store know.
    async fn restart(&mut self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        (self.stop, self.tasks) = (CancellationToken::new(), TaskTracker::new());
        self.start();
    }

    /// Waits until nothing is left to replay: all that the store is to have is there.
    async fn settle(&self) {
        let (group, topic) = (self.names.of(ORCHESTRATOR_GROUP), self.names.of(RUNS));
        let committed = async {
            let (_, end) = self.log.bounds(&topic, 0).await.unwrap();
            while self.log.committed(&group, &topic, 0).await.unwrap().is_none_or(|(offset, _)| offset < end) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, committed).await.expect("the owner never commits");
    }

    /// The table of the thread's stored state, once it is there and the state has left memory.
    async fn put_to_sleep(&self, thread: &str) -> References {
        let key = Key::thread("default", thread);
        let storing = async {
            loop {
                let row = self.store.state(0, &key).await.unwrap().and_then(|row| row.state);
                if let Some(references) = row.as_deref().and_then(reference::references_of_row) {
                    return references;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let references =
            tokio::time::timeout(PATIENCE, storing).await.expect("a state with references is never stored");
        tokio::time::sleep(Duration::from_millis(600)).await;
        references
    }

    /// What a disk does to every value that the table names.
    async fn lose(&self, references: &References) {
        for value in &references.values {
            self.store.put_blob(&references.owner, &value.hash, "damaged".into()).await.unwrap();
        }
    }

    fn requested(&self, n: u64, text: &str) -> RunsRecord {
        self.requested_on(&format!("t{n}"), n, text, true)
    }

    fn requested_on(&self, thread: &str, n: u64, text: &str, new_thread: bool) -> RunsRecord {
        let envelope = Envelope {
            tenant: "default".into(),
            principal: Principal::default(),
            endpoint: "/x".into(),
            run_id: ids::run_id(NOW, n, 0),
            thread_id: Some(thread.to_owned()),
            graph: self.graph.clone(),
            rules: RULES,
            lane: Lane::Interactive,
            priority: 0,
            deadline: NOW + 3_600_000,
            metadata: Default::default(),
            tags: Vec::new(),
            traceparent: None,
            budget: RunBudget::default(),
            batch: None,
        };
        let input = Some(Arc::new(json!({"text": text})));
        let request = Request { input, new_thread, ..Request::default() };
        RunsRecord {
            envelope: Arc::new(envelope),
            at: NOW,
            event: Event::Requested(Box::new(request)),
            references: None,
        }
    }

    /// A request to go on from a checkpoint.
    fn requested_at(&self, thread: &str, n: u64, checkpoint: Uuid) -> RunsRecord {
        let request = Request { checkpoint_id: Some(checkpoint), ..Request::default() };
        RunsRecord { event: Event::Requested(Box::new(request)), ..self.requested_on(thread, n, "", false) }
    }

    /// An edit of the thread's state.
    fn edited(&self, thread: &str, n: u64, text: &str) -> RunsRecord {
        let update = StateUpdate { values: Some(Arc::new(json!({"text": text}))), as_node: None };
        let edit = Edit { supersteps: vec![vec![update]], ..Edit::default() };
        RunsRecord { event: Event::StateEdited(Box::new(edit)), ..self.requested_on(thread, n, "", false) }
    }

    /// Has node `a` write `other`, and gives what became of the run.
    async fn finish(&self, run: Uuid, other: &str) -> Vec<(UpdateRecord, usize)> {
        let (task, _) = self.task_of(run).await;
        self.append(self.finished(&task, json!([["other", other]])), true).await;
        self.updates_to(run, RunStatus::Success).await
    }

    /// Appends, with large values in the store or not at all.
    async fn append(&self, record: RunsRecord, stored: bool) {
        let mut wire = Record::json(record.key(), record.headers("test", None), Arc::new(record.clone()));
        if let Some(put) = reference::put_away(&wire.payload, &record.owner(), &RunsRecord::LAYOUT) {
            wire.replace_payload(put.json);
            if stored {
                put_values(&*self.store, &put.references.owner, &put.values).await.unwrap();
            }
        }
        self.log.append(&self.names.of(RUNS), 0, wire).await.unwrap();
    }

    /// The records of a topic up to one that is wanted, whole, each with the bytes that it has in the log.
    async fn read<T>(&self, topic: &str, wanted: impl Fn(&T) -> bool) -> Vec<(T, usize)>
    where
        T: Referring,
    {
        let mut reader = self.log.read(topic, 0, Start::Earliest).await.unwrap();
        let mut found = Vec::new();
        let reading = async {
            loop {
                for fetched in reader.next().await.unwrap() {
                    let payload = &fetched.record.payload;
                    let mut record: T = serde_json::from_slice(payload).unwrap();
                    if let Some(references) = record.references().cloned() {
                        // One that a test has lost since stays a hole.
                        if let Ok(values) = find_values(&*self.store, &references.owner, references.wanted()).await {
                            record = T::filled(payload, &references, &values).unwrap();
                        }
                    }
                    let last = wanted(&record);
                    found.push((record, fetched.record.size()));
                    if last {
                        return;
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the record never came");
        found
    }

    async fn updates_to(&self, run: Uuid, status: RunStatus) -> Vec<(UpdateRecord, usize)> {
        let wanted = |record: &UpdateRecord| record.envelope.run_id == run && record.update.status == status;
        let mut updates = self.read(&self.names.of(UPDATES), wanted).await;
        updates.retain(|(record, _)| record.envelope.run_id == run);
        updates
    }

    async fn task_of(&self, run: Uuid) -> (TaskRecord, usize) {
        let topic = self.names.node("g", "a", Lane::Interactive);
        while self.log.partitions(&topic).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.read(&topic, |record: &TaskRecord| record.envelope.run_id == run).await.pop().unwrap()
    }

    /// The task's result: it wrote this.
    fn finished(&self, task: &TaskRecord, writes: Value) -> RunsRecord {
        let result = TaskResult {
            task_id: task.task.id,
            issue: task.task.issue,
            execution: Uuid::from_u128(9),
            attempt: 1,
            node: "a".into(),
            writes: serde_json::from_value(writes).unwrap(),
            ..TaskResult::default()
        };
        let event = Event::TaskFinished(Box::new(result));
        RunsRecord { envelope: task.envelope.clone(), at: NOW, event, references: None }
    }

    async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn error_of(updates: &[(UpdateRecord, usize)]) -> (String, String) {
    let happened = updates.last().unwrap().0.update.happened.iter();
    let mut ended = happened.filter_map(|happened| match happened {
        Happened::Ended(ended) => ended.error.clone(),
        _ => None,
    });
    let error = ended.next_back().expect("an error");
    (error.code, error.message)
}

#[tokio::test(flavor = "multi_thread")]
async fn values_come_through_and_records_stay_small() {
    let stage = Stage::open().await;
    let text = "é".repeat(1_000_000);
    let request = stage.requested(1, &text);
    let run = request.envelope.run_id;
    stage.append(request, true).await;
    let (task, bytes) = stage.task_of(run).await;
    assert!(bytes < 4_096, "the task has {bytes} bytes");
    assert_eq!(*task.task.channels["text"], json!(text));
    stage.append(stage.finished(&task, json!([["other", text]])), true).await;
    let updates = stage.updates_to(run, RunStatus::Success).await;
    assert!(updates.iter().all(|(_, bytes)| *bytes <= RECORD_BYTES_INLINE));
    let numbers: Vec<_> = updates.iter().map(|(record, _)| record.update.number.unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "in order, without a hole");
    let mut outputs = updates.last().unwrap().0.update.happened.iter().filter_map(|happened| match happened {
        Happened::Ended(ended) => ended.output.as_ref().map(|output| json!(output)),
        _ => None,
    });
    assert_eq!(outputs.next_back(), Some(json!({"text": text, "other": text})));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_a_value_that_is_gone_fails_and_holds_up_no_other_key() {
    let stage = Stage::open().await;
    let began = Instant::now();
    let gone = stage.requested(1, &"x".repeat(50_000));
    let (gone_run, after) = (gone.envelope.run_id, stage.requested(2, "small"));
    let (after_run, third) = (after.envelope.run_id, stage.requested(3, "small too"));
    let third_run = third.envelope.run_id;
    stage.append(gone, false).await;
    stage.append(after, true).await;
    stage.append(third, true).await;
    let (task, _) = stage.task_of(after_run).await;
    stage.append(stage.finished(&task, json!([["other", "y"]])), true).await;
    stage.updates_to(after_run, RunStatus::Success).await;
    assert!(began.elapsed() < Duration::from_secs(6), "another key waited {:?}", began.elapsed());
    let (task, _) = stage.task_of(third_run).await;
    stage.append(stage.finished(&task, json!([["other", "z".repeat(50_000)]])), false).await;

    let updates = stage.updates_to(gone_run, RunStatus::Error).await;
    assert!(began.elapsed() >= MISSING_AFTER, "it failed after {:?}", began.elapsed());
    assert_eq!(updates[0].0.update.number, Some(1));
    let (code, message) = error_of(&updates);
    assert_eq!(code, "value_missing");
    assert!(message.starts_with("a value that the record names is gone: the store has no value "), "{message}");
    let (code, _) = error_of(&stage.updates_to(third_run, RunStatus::Error).await);
    assert_eq!(code, "value_missing", "a result without its value fails its task");
    stage.close().await;
}

fn output_of(updates: &[(UpdateRecord, usize)]) -> Option<Value> {
    let happened = updates.last().unwrap().0.update.happened.iter();
    let mut ended = happened.filter_map(|happened| match happened {
        Happened::Ended(ended) => Some(ended.output.as_ref().map(|output| json!(output))),
        _ => None,
    });
    ended.next_back().expect("an end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_comes_back_whole_from_the_store() {
    let mut stage = Stage::open().await;
    let texts = ["evicted", "recovered"].map(|name| format!("{name} ü ").repeat(20_000));
    let requests = [stage.requested(1, &texts[0]), stage.requested(2, &texts[1])];
    let runs = [requests[0].envelope.run_id, requests[1].envelope.run_id];
    for request in requests {
        stage.append(request, true).await;
    }
    let tasks = [stage.task_of(runs[0]).await.0, stage.task_of(runs[1]).await.0];
    for thread in ["t1", "t2"] {
        stage.put_to_sleep(thread).await;
    }
    for n in 0..2 {
        if n == 1 {
            stage.restart().await;
        }
        stage.append(stage.finished(&tasks[n], json!([["other", "small"]])), true).await;
        let updates = stage.updates_to(runs[n], RunStatus::Success).await;
        assert_eq!(output_of(&updates), Some(json!({"text": texts[n], "other": "small"})));
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_whose_value_is_gone_ends_its_runs_and_holds_up_no_other_key() {
    for restarted in [false, true] {
        let mut stage = Stage::open().await;
        let live = stage.requested(1, &"x".repeat(50_000));
        let waiting = stage.requested_on("t1", 2, "waits", false);
        let other = stage.requested(3, "small");
        let [live_run, waiting_run, other_run] = [&live, &waiting, &other].map(|record| record.envelope.run_id);
        for record in [live, waiting, other] {
            stage.append(record, true).await;
        }
        let (task, _) = stage.task_of(live_run).await;
        let (other_task, _) = stage.task_of(other_run).await;
        let references = stage.put_to_sleep("t1").await;
        stage.lose(&references).await;
        if restarted {
            stage.restart().await;
        }
        let began = Instant::now();
        stage.append(stage.finished(&task, json!([["other", "y"]])), true).await;
        stage.append(stage.finished(&other_task, json!([["other", "y"]])), true).await;
        stage.updates_to(other_run, RunStatus::Success).await;
        assert!(began.elapsed() < Duration::from_secs(6), "another key waited {:?}", began.elapsed());
        for run in [live_run, waiting_run] {
            let updates = stage.updates_to(run, RunStatus::Error).await;
            let (code, message) = error_of(&updates);
            assert_eq!(code, "value_missing");
            assert!(message.contains("the store has no value "), "{message}");
            assert_eq!(output_of(&updates), None, "what it held is not known");
        }
        assert!(began.elapsed() >= MISSING_AFTER, "it failed after {:?}", began.elapsed());
        // What the thread held is not taken for empty by whoever comes next, nor after it was stored again.
        for n in 4..6 {
            let next = stage.requested_on("t1", n, "next", false);
            let run = next.envelope.run_id;
            stage.append(next, true).await;
            assert_eq!(error_of(&stage.updates_to(run, RunStatus::Error).await).0, "value_missing");
            stage.restart().await;
        }
        stage.close().await;
    }
}

fn edits(updates: &[(UpdateRecord, usize)]) -> Vec<Edited> {
    let happened = updates.iter().flat_map(|(record, _)| &record.update.happened);
    let edited = happened.filter_map(|happened| match happened {
        Happened::Edited(edited) => Some(Edited::clone(edited)),
        _ => None,
    });
    edited.collect()
}

fn checkpoints(updates: &[(UpdateRecord, usize)]) -> Vec<Uuid> {
    let happened = updates.iter().flat_map(|(record, _)| &record.update.happened);
    let made = happened.filter_map(|happened| match happened {
        Happened::StepDone(done) => Some(done.checkpoint_id),
        _ => None,
    });
    made.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_may_be_large_and_one_whose_value_is_gone_is_refused() {
    let stage = Stage::open().await;
    let text = "edited ü ".repeat(20_000);
    let (edit, gone) = (stage.edited("t1", 1, &text), stage.edited("t1", 2, &"gone".repeat(20_000)));
    let (edit_id, gone_id) = (edit.envelope.run_id, gone.envelope.run_id);
    stage.append(edit, true).await;
    stage.append(gone, false).await;
    let updates = stage.updates_to(edit_id, RunStatus::Success).await;
    assert!(updates.iter().all(|(_, bytes)| *bytes < 4_096), "the update holds a reference");
    assert!(edits(&updates)[0].checkpoint_id.is_some());
    let refused = edits(&stage.updates_to(gone_id, RunStatus::Error).await);
    assert_eq!(refused[0].checkpoint_id, None);
    assert_eq!(refused[0].error.as_ref().map(|error| error.code.as_str()), Some("value_missing"));
    // What it would have written is nowhere.
    let run = stage.requested_on("t1", 3, "", false);
    let id = run.envelope.run_id;
    let request = Request { input: None, ..Request::default() };
    stage.append(RunsRecord { event: Event::Requested(Box::new(request)), ..run }, true).await;
    let (task, _) = stage.task_of(id).await;
    assert_eq!(*task.task.channels["text"], json!(text));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_goes_back_to_a_large_checkpoint_and_fails_where_its_value_is_gone() {
    let mut stage = Stage::open().await;
    let text = "then ü ".repeat(20_000);
    let (first, second) = (stage.requested_on("t1", 1, &text, true), stage.requested_on("t1", 2, "now", false));
    let (first_run, second_run) = (first.envelope.run_id, second.envelope.run_id);
    stage.append(first, true).await;
    let before_a = checkpoints(&stage.finish(first_run, "one").await)[1];
    stage.append(second, true).await;
    stage.finish(second_run, "two").await;
    // Nothing is in memory any more.
    stage.restart().await;
    let back = stage.requested_at("t1", 3, before_a);
    let run = back.envelope.run_id;
    stage.append(back, true).await;
    let (task, _) = stage.task_of(run).await;
    assert_eq!(*task.task.channels["text"], json!(text), "what the channel held then");
    assert_eq!(output_of(&stage.finish(run, "three").await), Some(json!({"text": text, "other": "three"})));
    let third = stage.requested_on("t1", 4, "now", false);
    let third_run = third.envelope.run_id;
    stage.append(third, true).await;
    stage.finish(third_run, "four").await;
    // What a replay would make anew is at hand, whatever became of the store's copy.
    stage.settle().await;
    stage.restart().await;

    let key = Key::thread("default", "t1");
    let all = Position::new(0, 1 << 30).unwrap();
    let row = stage.store.archived(&key, "", before_a, all).await.unwrap().expect("it is in the archive");
    stage.lose(&reference::references_of_row(&row.checkpoint).expect("with a reference")).await;
    let (lost, after) = (stage.requested_at("t1", 5, before_a), stage.requested_on("t1", 6, "after", false));
    let (lost_run, after_run) = (lost.envelope.run_id, after.envelope.run_id);
    stage.append(lost, true).await;
    stage.append(after, true).await;
    let (code, message) = error_of(&stage.updates_to(lost_run, RunStatus::Error).await);
    assert_eq!(code, "value_missing");
    assert!(message.contains(&before_a.to_string()), "{message}");
    // The thread itself is whole.
    let (task, _) = stage.task_of(after_run).await;
    assert_eq!(*task.task.channels["text"], json!("after"));
    stage.close().await;
}

/// A busy thread, through an owner that knows only what the store knows.
#[tokio::test(flavor = "multi_thread")]
async fn runs_give_way_or_are_undone_and_threads_deleted() {
    let mut stage = Stage::open().await;
    let busy = |record: RunsRecord, multitask: Multitask| {
        let Event::Requested(request) = record.event else { panic!("a request") };
        RunsRecord { event: Event::Requested(Box::new(Request { multitask, ..*request })), ..record }
    };
    let first = stage.requested_on("t1", 1, "one", true);
    let first_run = first.envelope.run_id;
    stage.append(first, true).await;
    stage.finish(first_run, "x").await;
    let undone = stage.requested_on("t1", 2, "two", false);
    let undone_run = undone.envelope.run_id;
    stage.append(undone, true).await;
    stage.task_of(undone_run).await;
    stage.restart().await;

    let next = busy(stage.requested_on("t1", 3, "three", false), Multitask::Rollback);
    let next_run = next.envelope.run_id;
    stage.append(next, true).await;
    let updates = stage.updates_to(undone_run, RunStatus::Cancelled).await;
    let mut ended =
        updates.iter().flat_map(|(record, _)| &record.update.happened).filter_map(|happened| match happened {
            Happened::Ended(ended) => Some(ended),
            _ => None,
        });
    let ended = ended.next_back().expect("an end");
    assert_eq!((ended.rolled_back, json!(ended.values)), (true, json!({"text": "one", "other": "x"})));
    let began = stage.updates_to(next_run, RunStatus::Running).await;
    assert!(
        began.iter().flat_map(|(record, _)| &record.update.happened).any(|told| matches!(told, Happened::Started(_)))
    );
    stage.restart().await;

    let last = busy(stage.requested_on("t1", 4, "four", false), Multitask::Interrupt);
    let last_run = last.envelope.run_id;
    stage.append(last, true).await;
    stage.updates_to(next_run, RunStatus::Interrupted).await;
    assert_eq!(output_of(&stage.finish(last_run, "y").await), Some(json!({"text": "four", "other": "y"})));
    stage.restart().await;

    let delete = RunsRecord { event: Event::ThreadDeleted, ..stage.requested_on("t1", 5, "", false) };
    let deleted = delete.envelope.run_id;
    stage.append(delete, true).await;
    assert!(edits(&stage.updates_to(deleted, RunStatus::Success).await)[0].deleted);
    let key = Key::thread("default", "t1");
    let forgotten = async {
        while stage.store.state(0, &key).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.expect("the state is forgotten");
    let anew = stage.requested_on("t1", 6, "anew", false);
    let anew_run = anew.envelope.run_id;
    stage.append(anew, true).await;
    let output = output_of(&stage.finish(anew_run, "z").await);
    assert_eq!(output, Some(json!({"text": "anew", "other": "z"})));
    stage.close().await;
}
