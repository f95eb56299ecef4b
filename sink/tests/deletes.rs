//! Threads that are deleted: gone from reads, lists and the store, in order with what was read before and after.

mod stage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use event_log::partition_for;
use graph::{
    envelope::Key,
    update::{Edited, Ended, Happened, RunStatus},
};
use http::Response;
use run_store::{Deletes, Position, StoreError, rows::KeptValues};
use schemas::{record::UpdateRecord, stream::Waited};
use serde_json::{Value, json};
use stage::{PARTITIONS, Run, Running, Stage, whole};
use uuid::Uuid;

fn run_on(number: u64, thread: &str) -> Run {
    let partition = partition_for(Key::thread("default", thread).as_str().as_bytes(), PARTITIONS);
    Run::of("default", Some(thread), number, partition)
}

/// A run of another thread in the same partition: when it has ended, all that came before it was read.
fn fence(number: u64, like: &Run) -> Run {
    let near = (0..).map(|n| run_on(number, &format!("fence {n}"))).find(|run| run.partition == like.partition);
    near.expect("some thread is in every partition")
}

/// What is appended of a delete: `id` names it.
fn delete(id: &Run, offset: u64) -> UpdateRecord {
    let edited = Edited { deleted: true, ..Edited::default() };
    id.update(1, offset, RunStatus::Success, Vec::new(), vec![Happened::Edited(Box::new(edited))])
}

/// As if the record that caused it were so old that the store is asked whether it knows it.
fn old(record: UpdateRecord) -> UpdateRecord {
    let mut record = record;
    record.update.at -= 60_000;
    record
}

async fn ended(response: Response<axum::body::Body>) -> Waited {
    serde_json::from_slice(&whole(response).await).unwrap()
}

async fn status(sink: &Running, path: &str) -> u16 {
    sink.ask(path).await.status().as_u16()
}

/// Nothing of the thread `t` and its run can be read.
async fn check_gone(sink: &Running, run: &Run) {
    for path in ["", "/state", "/history"] {
        assert_eq!(status(sink, &format!("/internal/threads/t{path}")).await, 404, "{path}");
    }
    for path in ["", "/updates", "/wait", "/stream"] {
        assert_eq!(status(sink, &run.path(path)).await, 404, "{path}");
    }
    let empty = json!([]);
    assert_eq!(sink.json("/internal/runs?thread_id=t").await["data"], empty);
    let threads = sink.json("/internal/threads").await;
    assert!(threads["data"].as_array().unwrap().iter().all(|thread| thread["thread_id"] != "t"), "{threads}");
}

#[tokio::test]
async fn a_deleted_thread_is_gone_when_whoever_deleted_it_is_told() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let (run, id) = (run_on(1, "t"), run_on(2, "t"));
    stage.play(&run).await;
    sink.json_when("/internal/runs?thread_id=t&status=success", |runs| runs["data"] != json!([])).await;
    let told = sink.ask(&id.path("/wait?register=true")).await;
    stage.put(&id, delete(&id, stage.next())).await;
    assert!(matches!(ended(told).await, Waited::Ended(_)));
    check_gone(&sink, &run).await;
    let spent = sink.json("/internal/usage?by=graph&since=0&until=2030-01-01T00:00:00Z").await;
    assert_eq!(spent["data"][0]["calls"], 1, "what it cost is still owed");
    sink.stop().await;
    let sink = stage.sink().await;
    check_gone(&sink, &run).await;
    sink.stop().await;
}

#[tokio::test]
async fn what_comes_again_of_a_deleted_thread_brings_nothing_back() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let (run, id) = (run_on(1, "t"), run_on(2, "t"));
    let records = [run.started(1), run.prepared(2), run.ended(3)];
    for record in records.clone().map(old) {
        stage.put(&run, record).await;
    }
    stage.put(&id, old(delete(&id, 4))).await;
    let repeat = async |sink: &Running, n: u64| {
        // An owner that has died is followed by one that appends its last updates again, soon or late.
        for record in records.clone().into_iter().chain(records.clone().map(old)) {
            stage.put(&run, record).await;
        }
        stage.put(&id, delete(&id, 4)).await;
        stage.put(&id, old(delete(&id, 4))).await;
        let fence = fence(n, &run);
        stage.play(&fence).await;
        sink.json_when(&format!("/internal/runs?status=success&thread_id={}", thread_of(&fence)), |runs| {
            runs["data"] != json!([])
        })
        .await;
        check_gone(sink, &run).await;
    };
    repeat(&sink, 3).await;
    sink.stop().await;
    let sink = stage.sink().await;
    repeat(&sink, 4).await;
    sink.stop().await;
}

/// The end of a run of which its thread shall know nothing.
fn undo(run: &Run, number: u64, offset: u64, thread: &Value) -> UpdateRecord {
    let values =
        thread.as_object().map(|values| values.iter().map(|(name, value)| (name.clone(), Arc::new(value.clone()))));
    let Some(Happened::Ended(ended)) = run.ended(0).update.happened.pop() else { panic!("a run's end") };
    let values = values.map(Iterator::collect);
    let ended = Ended { status: RunStatus::Cancelled, output: None, values, rolled_back: true, ..*ended };
    run.update(number, offset, RunStatus::Cancelled, Vec::new(), vec![Happened::Ended(Box::new(ended))])
}

#[tokio::test]
async fn an_undone_run_leaves_its_thread_as_it_was() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let (first, undone, next) = (run_on(1, "t"), run_on(70_000 << 32, "t"), run_on(90_000 << 32, "t"));
    stage.play(&first).await;
    sink.json_when("/internal/runs?thread_id=t&status=success", |runs| runs["data"] != json!([])).await;
    let look = async |sink: &Running| {
        let mut seen = Vec::new();
        for path in ["", "/state", "/history?limit=10"] {
            let mut shown = sink.json(&format!("/internal/threads/t{path}")).await;
            if let Some(thread) = shown.as_object_mut() {
                // It was touched.
                thread.retain(|name, _| !name.ends_with("updated_at"));
            }
            seen.push(shown);
        }
        seen
    };
    let before = look(&sink).await;
    let mut records = [undone.started(11), undone.prepared(12)].map(old);
    for happened in &mut records[0].update.happened {
        if let Happened::StepDone(step) = happened {
            step.parent_id = before[1]["checkpoint_id"].as_str().map(|id| id.parse().unwrap());
        }
    }
    for record in &records {
        stage.put(&undone, record.clone()).await;
    }
    sink.json_when("/internal/threads/t", |thread| thread["status"] == "busy").await;
    let told = sink.ask(&undone.path("/wait")).await;
    let end = old(undo(&undone, 3, 13, &before[1]["values"]));
    stage.put(&undone, end.clone()).await;
    let Waited::Ended(view) = ended(told).await else { panic!("who watched it is told") };
    assert_eq!(view.status, RunStatus::Cancelled);
    let gone = async |sink: &Running| {
        assert_eq!(status(sink, &undone.path("")).await, 404);
        let runs = sink.json("/internal/runs?thread_id=t").await;
        assert_eq!(runs["data"].as_array().unwrap().len(), 1, "{runs}");
        assert_eq!(look(sink).await, before);
    };
    gone(&sink).await;
    sink.stop().await;
    // From the store, and when an owner that follows a dead one appends it all again.
    let sink = stage.sink().await;
    gone(&sink).await;
    for record in records.into_iter().chain([end]) {
        stage.put(&undone, record).await;
    }
    let fence = fence(3, &first);
    stage.play(&fence).await;
    let ran = format!("/internal/runs?status=success&thread_id={}", thread_of(&fence));
    sink.json_when(&ran, |runs| runs["data"] != json!([])).await;
    gone(&sink).await;
    stage.put(&next, next.started(14)).await;
    let thread = sink.json_when("/internal/threads/t", |thread| thread["status"] == "busy").await;
    assert_eq!(thread["created_at"], before[0]["created_at"]);
    sink.stop().await;
}

#[tokio::test]
async fn a_run_without_a_thread_that_is_undone_stays_known_as_cancelled() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = Run::new(1, 1);
    stage.put(&run, run.started(1)).await;
    stage.put(&run, undo(&run, 2, 2, &json!(null))).await;
    sink.json_when("/internal/runs?status=cancelled", |runs| runs["data"] != json!([])).await;
    assert_eq!(sink.json(&run.path("")).await["status"], "cancelled");
    sink.stop().await;
}

fn thread_of(run: &Run) -> String {
    run.envelope.thread_id.as_deref().unwrap_or_default().replace(' ', "%20")
}

#[tokio::test]
async fn a_deleted_thread_begins_anew_also_where_the_delete_was_cut_off() {
    let stage = Stage::open().await;
    let down = Arc::new(AtomicBool::new(true));
    let deletes = Arc::new(Refusing { store: Arc::clone(&stage.store) as Arc<dyn Deletes>, down: Arc::clone(&down) });
    let config = sink::Config { release_within: Duration::from_millis(100), ..Stage::config() };
    let sink = stage.sink_of(config, sink::Deps { deletes, ..stage.deps() }).await;
    let (run, id, anew) = (run_on(1, "t"), run_on(2, "t"), run_on(3, "t"));
    stage.play(&run).await;
    let told = sink.ask(&id.path("/wait?register=true&timeout_ms=200")).await;
    stage.put(&id, delete(&id, stage.next())).await;
    stage.play(&anew).await;
    let fence = fence(4, &run);
    stage.play(&fence).await;
    let ran = format!("/internal/runs?status=success&thread_id={}", thread_of(&fence));
    sink.json_when(&ran, |runs| runs["data"] != json!([])).await;
    assert!(matches!(ended(told).await, Waited::StillRunning), "nobody is told what is not so");
    assert_eq!(sink.json(&run.path("")).await["status"], "success");
    assert_eq!(status(&sink, &anew.path("")).await, 404, "what follows a delete waits for it");
    sink.stop().await;

    down.store(false, Ordering::SeqCst);
    let sink = stage.sink().await;
    let of_thread = "/internal/runs?thread_id=t";
    let ids = |runs: &Value| -> Vec<Value> {
        runs["data"].as_array().unwrap().iter().map(|run| run["run_id"].clone()).collect()
    };
    sink.json_when(of_thread, |runs| ids(runs) == [json!(anew.id)] && runs["data"][0]["status"] == "success").await;
    assert_eq!(status(&sink, &run.path("")).await, 404);
    let history = sink.json("/internal/threads/t/history?limit=10").await;
    assert_eq!(history.as_array().unwrap().len(), 3, "the history of the new run alone: {history}");
    sink.stop().await;
}

/// A store that deletes nothing while it is down.
struct Refusing {
    store: Arc<dyn Deletes>,
    down: Arc<AtomicBool>,
}

#[async_trait]
impl Deletes for Refusing {
    async fn delete_thread(&self, tenant: &str, thread_id: &str, at: Position) -> Result<(), StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { reason: "down".to_owned() });
        }
        self.store.delete_thread(tenant, thread_id, at).await
    }

    async fn delete_run(&self, tenant: &str, thread_id: &str, run_id: Uuid, at: Position) -> Result<(), StoreError> {
        self.store.delete_run(tenant, thread_id, run_id, at).await
    }

    async fn prune_thread(
        &self,
        tenant: &str,
        thread_id: &str,
        at: Position,
        kept: &KeptValues,
    ) -> Result<(), StoreError> {
        self.store.prune_thread(tenant, thread_id, at, kept).await
    }

    async fn deleted(&self, tenant: &str, thread_id: &str) -> Result<Option<Position>, StoreError> {
        self.store.deleted(tenant, thread_id).await
    }
}
