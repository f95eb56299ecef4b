//! Threads that are copied: what reads show of one they show of the other, and then each has a life of its own.

mod stage;

use event_log::partition_for;
use graph::{
    envelope::Key,
    event::{TimeToLive, TtlStrategy},
    update::{Edited, Happened, RunStatus},
};
use run_store::{Blobs, values::THREAD_BLOB};
use schemas::{record::UpdateRecord, stream::Waited};
use serde_json::{Value, json};
use stage::{PARTITIONS, Run, Running, Stage, whole};

fn partition_of(thread: &str) -> u32 {
    partition_for(Key::thread("default", thread).as_str().as_bytes(), PARTITIONS)
}

fn run_on(number: u64, thread: &str) -> Run {
    Run::of("default", Some(thread), number, partition_of(thread))
}

/// A thread's name in the partition of another.
fn beside(thread: &str) -> String {
    let mut names = (0..).map(|n| format!("copy-{n}"));
    names.find(|name| partition_of(name) == partition_of(thread)).expect("some name is there")
}

fn edited(id: &Run, offset: u64, edited: Edited) -> UpdateRecord {
    id.update(1, offset, RunStatus::Success, Vec::new(), vec![Happened::Edited(Box::new(edited))])
}

/// What is shown of a thread, but for its name and when it was made or touched.
async fn look(sink: &Running, thread: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in ["", "/state", "/state?subgraphs=true", "/history?limit=10"] {
        let mut shown = sink.json(&format!("/internal/threads/{thread}{path}")).await;
        if let Some(thread) = shown.as_object_mut().filter(|_| path.is_empty()) {
            thread.retain(|name, _| !name.ends_with("updated_at") && name != "created_at");
        }
        let text = shown.to_string().replace(&format!("{thread:?}"), "\"the thread\"");
        seen.push(serde_json::from_str(&text).expect("it was JSON"));
    }
    seen
}

#[tokio::test]
async fn a_copy_shows_what_was_copied_whatever_becomes_of_it() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let to = beside("t");
    let (run, copying, deleting) = (run_on(1, "t"), run_on(2, "t"), run_on(3, "t"));
    stage.play(&run).await;
    sink.json_when("/internal/runs?thread_id=t&status=success", |runs| runs["data"] != json!([])).await;
    let shown = look(&sink, "t").await;
    assert!(shown[3].as_array().is_some_and(|history| history.len() == 3), "{shown:?}");
    assert!(shown[3].to_string().contains("\"result\":{"), "what came of tasks is shown: {shown:?}");

    let told = sink.ask(&copying.path("/wait?register=true")).await;
    let copied = edited(&copying, stage.next(), Edited { copied_to: Some(to.clone()), ..Edited::default() });
    stage.put(&copying, copied.clone()).await;
    let Waited::Ended(view) = serde_json::from_slice(&whole(told).await).unwrap() else { panic!("it is told") };
    assert_eq!(view.status, RunStatus::Success);
    assert_eq!((look(&sink, &to).await, look(&sink, "t").await), (shown.clone(), shown.clone()));
    assert_eq!(
        sink.json(&format!("/internal/runs?thread_id={to}")).await["data"],
        json!([]),
        "runs stay where they are"
    );

    // The copy stays when the other one goes, in memory and from the store.
    let told = sink.ask(&deleting.path("/wait?register=true")).await;
    stage.put(&deleting, edited(&deleting, stage.next(), Edited { deleted: true, ..Edited::default() })).await;
    whole(told).await;
    assert_eq!(sink.ask("/internal/threads/t").await.status().as_u16(), 404);
    assert_eq!(look(&sink, &to).await, shown);
    sink.stop().await;
    let sink = stage.sink().await;
    assert_eq!(look(&sink, &to).await, shown);

    // It goes on, and the other's repeat copies nothing over it.
    let on_copy = run_on(90_000 << 32, &to);
    stage.put(&on_copy, on_copy.started(stage.next())).await;
    sink.json_when(&format!("/internal/threads/{to}"), |thread| thread["status"] == "busy").await;
    let mut again = copied;
    again.update.at -= 60_000;
    stage.put(&copying, again).await;
    let fence =
        run_on(5, &(0..).map(|n| format!("fence{n}")).find(|name| partition_of(name) == partition_of("t")).unwrap());
    stage.play(&fence).await;
    let ran = format!("/internal/runs?status=success&thread_id={}", fence.envelope.thread_id.as_deref().unwrap());
    sink.json_when(&ran, |runs| runs["data"] != json!([])).await;
    assert_eq!(sink.json(&format!("/internal/threads/{to}")).await["status"], "busy");
    assert_eq!(sink.ask("/internal/threads/t").await.status().as_u16(), 404);
    sink.stop().await;
}

#[tokio::test]
async fn a_copy_does_not_take_over_how_long_its_thread_lives() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let to = beside("t");
    let (run, copying) = (run_on(1, "t"), run_on(2, "t"));
    let ttl = TimeToLive { ms: 60_000, strategy: TtlStrategy::Delete };
    let key = |thread: &str| Key::thread("default", thread);
    let kept = json!({"created_at": 1, "metadata": {"owner": "ann"}, "ttl": {"ttl": ttl, "at": 1}});
    stage.store.put_blob(&key("t"), THREAD_BLOB, kept.to_string().into()).await.unwrap();
    stage.put(&run, run.started_on_timed(stage.next(), ttl)).await;
    stage.put(&run, run.prepared(stage.next())).await;
    stage.put(&run, run.ended(stage.next())).await;
    sink.json_when("/internal/runs?thread_id=t&status=success", |runs| runs["data"] != json!([])).await;
    let shown = async |thread: &str, query: &str| {
        sink.json(&format!("/internal/threads/{thread}{query}")).await.get("ttl").cloned()
    };
    assert_eq!(shown("t", "?include=ttl").await, Some(json!({"ms": 60_000, "strategy": "delete"})));
    assert_eq!(shown("t", "").await, None);

    let told = sink.ask(&copying.path("/wait?register=true")).await;
    let copied = edited(&copying, stage.next(), Edited { copied_to: Some(to.clone()), ..Edited::default() });
    stage.put(&copying, copied).await;
    whole(told).await;
    assert_eq!(shown(&to, "?include=ttl").await, None);
    let kept = stage.store.blob(&key(&to), THREAD_BLOB).await.unwrap().expect("it is copied");
    let kept: Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(kept, json!({"created_at": 1, "metadata": {"owner": "ann"}}));
    sink.stop().await;
}
