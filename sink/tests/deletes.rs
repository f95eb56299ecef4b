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
    update::{Edited, Happened, RunStatus},
};
use http::Response;
use run_store::{Deletes, Position, StoreError};
use schemas::{record::UpdateRecord, stream::Waited};
use serde_json::{Value, json};
use stage::{PARTITIONS, Run, Running, Stage, whole};

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
    let records = [run.started(1), run.prepared(2), run.ended(3)].map(old);
    for record in &records {
        stage.put(&run, record.clone()).await;
    }
    stage.put(&id, old(delete(&id, 4))).await;
    let repeat = async |sink: &Running, n: u64| {
        // An owner that has died is followed by one that appends its last updates again.
        for record in &records {
            stage.put(&run, record.clone()).await;
        }
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

    async fn deleted(&self, tenant: &str, thread_id: &str) -> Result<Option<Position>, StoreError> {
        self.store.deleted(tenant, thread_id).await
    }
}
