//! Threads whose history is pruned: they show where they stand and nothing before, whatever comes again.

mod stage;

use std::time::Duration;

use bytes::Bytes;
use event_log::partition_for;
use graph::{
    envelope::{Key, Millis},
    update::{Edited, Happened, OuterCheckpoint, RunStatus},
};
use run_store::{Blobs, Position, States, rows::StateRow};
use schemas::{record::UpdateRecord, stream::Waited};
use serde_json::{Value, json};
use stage::{PARTITIONS, Run, Running, Stage, whole};

const YEARS: Millis = 10 * 365 * 24 * 60 * 60 * 1_000;

fn partition_of(thread: &str) -> u32 {
    partition_for(Key::thread("default", thread).as_str().as_bytes(), PARTITIONS)
}

fn run_on(number: u64, thread: &str) -> Run {
    Run::of("default", Some(thread), number, partition_of(thread))
}

/// What is appended of a pruning: `id` names it.
fn prune(id: &Run, offset: u64, stands: &Value) -> UpdateRecord {
    let checkpoint_id = stands.as_str().and_then(|id| id.parse().ok()).expect("a checkpoint's id");
    let stands = vec![OuterCheckpoint { ns: String::new(), checkpoint_id }];
    let edited = Edited { pruned: Some(stands), ..Edited::default() };
    id.update(1, offset, RunStatus::Success, Vec::new(), vec![Happened::Edited(Box::new(edited))])
}

/// The states of the fold cover the log up to this record.
async fn cover(stage: &Stage, offset: u64) {
    let position = Position::new(0, offset + 1).expect("a position");
    stage.store.set_covered(partition_of("t"), position).await.expect("it is stored");
}

async fn look(sink: &Running) -> [Value; 5] {
    let paths = ["", "/state", "/state?subgraphs=true", "/history?limit=10"];
    let [mut thread, state, whole, history] = {
        let mut seen = Vec::new();
        for path in paths {
            seen.push(sink.json(&format!("/internal/threads/t{path}")).await);
        }
        <[Value; 4]>::try_from(seen).expect("four")
    };
    thread.as_object_mut().expect("a thread").retain(|name, _| !name.ends_with("updated_at"));
    [thread, state, whole, history, sink.json("/internal/runs?thread_id=t").await]
}

async fn told(response: http::Response<axum::body::Body>) -> Waited {
    serde_json::from_slice(&whole(response).await).expect("what is told")
}

async fn after_a_fence(stage: &Stage, sink: &Running, number: u64) {
    let mut names = (0..).map(|n| format!("fence{number}x{n}"));
    let name = names.find(|name| partition_of(name) == partition_of("t")).expect("some name is there");
    stage.play(&run_on(number, &name)).await;
    let ran = format!("/internal/runs?status=success&thread_id={name}");
    sink.json_when(&ran, |runs| runs["data"] != json!([])).await;
}

#[tokio::test]
async fn a_pruned_thread_shows_where_it_stands_and_nothing_before() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let (run, pruning) = (run_on(1, "t"), run_on(2, "t"));
    let records = [run.started(stage.next()), run.prepared(stage.next()), run.ended(stage.next())];
    for record in &records {
        stage.put(&run, record.clone()).await;
    }
    sink.json_when("/internal/runs?thread_id=t&status=success", |runs| runs["data"] != json!([])).await;
    let shown = look(&sink).await;
    let earlier = shown[3][1]["checkpoint_id"].clone();

    // Nothing goes before no replay can ask for it.
    let waiting = sink.ask(&pruning.path("/wait?register=true&timeout_ms=200")).await;
    let record = prune(&pruning, stage.next(), &shown[1]["checkpoint_id"]);
    stage.put(&pruning, record.clone()).await;
    assert!(matches!(told(waiting).await, Waited::StillRunning));
    assert_eq!(look(&sink).await[3], shown[3]);
    let waiting = sink.ask(&pruning.path("/wait?register=true")).await;
    cover(&stage, record.position.offset).await;
    let Waited::Ended(view) = told(waiting).await else { panic!("it is told") };
    assert_eq!(view.status, RunStatus::Success);

    let stands = async |sink: &Running| {
        let [thread, state, whole, history, runs] = look(sink).await;
        assert_eq!([&thread, &state, &whole, &runs], [&shown[0], &shown[1], &shown[2], &shown[4]]);
        assert_eq!(history, json!([shown[3][0]]), "the newest alone, as it was shown");
        let gone = format!("/internal/threads/t/state?checkpoint_id={}", earlier.as_str().expect("an id"));
        let refused = sink.ask(&gone).await;
        assert!(refused.status().is_client_error());
        assert!(String::from_utf8_lossy(&stage::whole(refused).await).contains("pruned"));
        assert_eq!(sink.json(&run.path("")).await["status"], "success");
        let Waited::Ended(view) = told(sink.ask(&run.path("/wait")).await).await else { panic!("it is over") };
        assert_eq!(view.run_id, run.id.to_string());
        assert_eq!(sink.ask(&run.path("/stream")).await.status(), 410, "what it streamed is gone, and that is said");
    };
    stands(&sink).await;
    sink.stop().await;
    let sink = stage.sink().await;
    stands(&sink).await;

    // An owner that has died is followed by one that appends its last updates again; what is old, and what is young.
    for age in [0, 60_000] {
        for (of, record) in records.iter().map(|record| (&run, record)).chain([(&pruning, &record)]) {
            let mut again = record.clone();
            again.update.at -= age;
            stage.put(of, again).await;
        }
    }
    after_a_fence(&stage, &sink, 3).await;
    stands(&sink).await;
    sink.stop().await;
    let sink = stage.sink().await;
    stands(&sink).await;

    // It goes on.
    let next = run_on(90_000 << 32, "t");
    stage.play(&next).await;
    sink.json_when("/internal/runs?thread_id=t&status=success", |runs| runs["data"].as_array().unwrap().len() == 2)
        .await;
    let history = sink.json("/internal/threads/t/history?limit=10").await;
    assert_eq!(history.as_array().expect("a list").len(), 4, "{history}");
    sink.stop().await;
}

fn large(name: &str) -> Value {
    json!(format!("{name} \"\u{fc}\"\n").repeat(10_000))
}

#[tokio::test]
async fn values_go_with_the_history_that_named_them() {
    let stage = Stage::open().await;
    let config = sink::Config { values_young: Duration::ZERO, ..Stage::config() };
    let sink = stage.sink_of(config, stage.deps()).await;
    let (run, pruning, key) = (run_on(1, "t"), run_on(2, "t"), Key::thread("default", "t"));
    stage.put(&run, run.started(stage.next())).await;
    let mut prepared = run.prepared(stage.next());
    let done = run.done(1, "prepare", json!({"draft": large("draft")}));
    let step = run.step(0, json!({"draft": large("draft")}), vec![run.issued(2, "answer")]);
    prepared.update.happened = vec![Happened::TaskDone(Box::new(done)), step];
    let draft = stage.put_by_reference(&run, prepared, true).await;
    let mut ended = run.ended(stage.next());
    for happened in &mut ended.update.happened {
        match happened {
            Happened::StepDone(step) => {
                step.values = [("answer".to_owned(), large("answer").into())].into_iter().collect()
            }
            Happened::Ended(ended) => ended.output = Some([("said", large("said").into())].into_iter().collect()),
            _ => {}
        }
    }
    let answer = stage.put_by_reference(&run, ended, true).await;
    sink.json_when("/internal/runs?thread_id=t&status=success", |runs| runs["data"] != json!([])).await;
    let shown = look(&sink).await;
    stage.store.put_blob(&key, "feed", Bytes::from_static(b"of the fold")).await.expect("it is stored");
    let named = json!({"version": 1, "owner": key, "values": [{"at": "/root", "hash": "feed", "bytes": 11}]});
    let state = format!("{{\"references\":{named},\"root\":\"\"}}");
    let record = UpdateRecord {
        update: graph::update::Update {
            at: stage::NOW + YEARS,
            ..prune(&pruning, 0, &shown[1]["checkpoint_id"]).update
        },
        ..prune(&pruning, stage.next(), &shown[1]["checkpoint_id"])
    };
    let row = StateRow {
        key: key.clone(),
        partition: partition_of("t"),
        position: Position::new(0, record.position.offset).expect("a position"),
        state: Some(state.into()),
        wake_at: None,
        expires_at: None,
    };
    stage.store.put_states(&[row]).await.expect("it is stored");
    let waiting = sink.ask(&pruning.path("/wait?register=true")).await;
    stage.put(&pruning, record).await;
    assert!(matches!(told(waiting).await, Waited::Ended(_)));
    sink.stop().await;
    let hashes = |table: &schemas::reference::References| -> Vec<String> {
        table.values.iter().map(|value| value.hash.clone()).collect()
    };
    for (hash, stays) in hashes(&draft)
        .into_iter()
        .map(|hash| (hash, false))
        .chain(hashes(&answer).into_iter().map(|hash| (hash, true)))
        .chain([("feed".to_owned(), true)])
    {
        let there = stage.store.blob(&key, &hash).await.expect("the store answers").is_some();
        assert_eq!(there, stays, "{hash}");
    }
    let sink = stage.sink().await;
    let [_, state, _, history, runs] = look(&sink).await;
    assert_eq!((&state, &history, &runs), (&shown[1], &json!([shown[3][0]]), &shown[4]));
    sink.stop().await;
}
