//! Reads, lists, what is set aside, and what a store that is down does not stop.

mod stage;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use event_log::{EventLog, Start, partition_for};
use graph::{envelope::Key, update::RunStatus};
use http::Request;
use run_store::{
    Deletes, Position, Results,
    rows::{KeptValues, RunRow, RunWrite},
};
use schemas::{
    http::RunView,
    record::{ControlFact, ControlRecord, DeadLetter, UpdateRecord},
    stream::{SECRET_HEADER, TENANT_HEADER, Waited},
    topic::{CONTROL, DEAD_LETTERS, SINK_GROUP, TOKENS, UPDATES},
};
use serde_json::{Value, json};
use stage::{Faulty, PARTITIONS, Run, Stage, frames, names_of, whole};
use tokio::sync::Semaphore;
use tower::ServiceExt;
use uuid::Uuid;

fn thread_run(number: u64, thread: &str) -> Run {
    let partition = partition_for(Key::thread("default", thread).as_str().as_bytes(), PARTITIONS);
    Run::of("default", Some(thread), number, partition)
}

#[tokio::test]
async fn a_run_is_read_from_memory_and_from_the_store() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = Run::new(1, 1);
    let wait = sink.ask(&run.path("/wait?register=true")).await;
    stage.play(&run).await;
    let Waited::Ended(told) = serde_json::from_slice(&whole(wait).await).unwrap() else { panic!("not ended") };
    let read: RunView = serde_json::from_value(sink.json(&run.path("")).await).unwrap();
    assert_eq!(read, *told);
    assert_eq!(read.user.as_deref(), Some("ann"));
    assert_eq!(read.input, Some(json!({"question": "?"})));
    assert_eq!(read.usage.output_tokens, 4);
    let lines = whole(sink.ask(&run.path("/updates")).await).await;
    sink.stop().await;

    let sink = stage.sink().await;
    let stored: RunView = serde_json::from_value(sink.json(&run.path("")).await).unwrap();
    assert_eq!(stored, read);
    assert_eq!(whole(sink.ask(&run.path("/updates")).await).await, lines);
    let numbers: Vec<Option<u64>> = lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice::<UpdateRecord>(line).unwrap().update.number)
        .collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    sink.stop().await;
}

#[tokio::test]
async fn lists_and_usage_come_from_the_store() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    for number in 1..=3 {
        stage.play(&Run::new(number, 1)).await;
    }
    let listed = |answer: &Value| answer["data"].as_array().unwrap().len();
    sink.json_when("/internal/runs?status=success", |answer| listed(answer) == 3).await;
    let page = sink.json("/internal/runs?user=ann&limit=2&since=2020-01-01T00:00:00Z").await;
    assert_eq!(listed(&page), 2);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = sink.json(&format!("/internal/runs?user=ann&limit=2&since=2020-01-01T00:00:00Z&cursor={cursor}")).await;
    assert_eq!(listed(&rest), 1);
    assert_eq!(listed(&sink.json("/internal/runs?user=bob").await), 0);
    for bad in ["?since=yesterday", "?status=odd", "?cursor=%00"] {
        assert_eq!(sink.ask(&format!("/internal/runs{bad}")).await.status(), 400, "{bad}");
    }
    let usage = sink.json("/internal/usage?by=graph,model&since=0&until=2030-01-01T00:00:00Z").await;
    let expect = json!({"graph": "support", "model": "small", "calls": 3, "calls_missing_usage": 0, "input_tokens": 9,
        "output_tokens": 12, "cached_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0, "cost_nano_usd": 0,
        "calls_unpriced": 0});
    assert_eq!(usage["data"], json!([expect]));
    assert_eq!(sink.ask("/internal/usage?by=colour").await.status(), 400);
    sink.stop().await;
}

#[tokio::test]
async fn a_thread_is_shown_as_langgraph_shows_it() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = thread_run(1, "t 1");
    stage.put(&run, run.started(stage.next())).await;
    stage.put(&run, run.prepared(stage.next())).await;
    let state = sink.json_when("/internal/threads/t%201/state", |state| state["next"] == json!(["answer"])).await;
    assert_eq!(state["values"], json!({"question": "?", "prompt": "p"}));
    assert_eq!(state["tasks"][0]["name"], "answer");
    assert_eq!(state["metadata"]["step"], 0);
    assert_eq!(sink.json("/internal/threads/t%201").await["status"], "busy");
    stage.say(&run, 0..4).await;
    stage.put(&run, run.ended(stage.next())).await;
    let thread = sink.json_when("/internal/threads/t%201", |thread| thread["status"] == "idle").await;
    assert_eq!(thread["thread_id"], "t 1");
    assert_eq!(thread["created_at"], "2025-11-21T10:40:00.000Z");
    assert_eq!(thread["values"]["messages"], json!([run.message()]));

    let history = sink.json("/internal/threads/t%201/history?limit=10").await;
    let steps: Vec<&Value> = history.as_array().unwrap().iter().map(|entry| &entry["metadata"]["step"]).collect();
    assert_eq!(steps, [1, 0, -1]);
    assert_eq!(history[1]["tasks"][0]["result"]["messages"], json!([run.message()]));
    assert_eq!(history[1]["parent_checkpoint_id"], history[2]["checkpoint_id"]);
    assert_eq!(sink.json("/internal/threads/t%201/history").await.as_array().unwrap().len(), 1);
    let before = history[0]["checkpoint_id"].as_str().unwrap();
    let older = sink.json(&format!("/internal/threads/t%201/history?limit=10&before={before}")).await;
    assert_eq!(older.as_array().unwrap().len(), 2);
    let one = history[2]["checkpoint_id"].as_str().unwrap();
    let state = sink.json(&format!("/internal/threads/t%201/state?checkpoint_id={one}")).await;
    assert_eq!(state["values"], json!({"question": "?"}));
    sink.stop().await;

    let sink = stage.sink().await;
    assert_eq!(sink.json("/internal/threads/t%201").await, thread);
    assert_eq!(sink.json("/internal/threads").await["data"], json!([thread]));
    // A later run of the thread keeps its beginning.
    let mut later = thread_run(70_000 << 32, "t 1");
    later.execution = Uuid::from_u128(9);
    let mut started = later.started(stage.next());
    started.update.at += 60_000;
    stage.put(&later, started).await;
    let thread = sink.json_when("/internal/threads/t%201", |thread| thread["status"] == "busy").await;
    assert_eq!(thread["created_at"], "2025-11-21T10:40:00.000Z");
    sink.stop().await;
}

#[tokio::test]
async fn a_thread_is_read_when_all_that_was_shown_of_it_is_known() {
    let stage = Stage::open().await;
    let run = thread_run(1, "t");
    stage.put(&run, run.started(stage.next())).await;
    let sink = stage.sink().await;
    assert_eq!(sink.json("/internal/threads/t/state").await["next"], json!(["prepare"]));
    sink.stop().await;
    // The next owner has read the update that follows, and waits for the store before it can apply it.
    stage.put(&run, run.prepared(stage.next())).await;
    let gate = Arc::new(Semaphore::new(0));
    let results = Arc::new(Faulty { first_thread: Some(Arc::clone(&gate)), ..Faulty::new(&stage.store) });
    let asked = Arc::clone(&results.threads_asked);
    let sink = stage.sink_of(Stage::config(), sink::Deps { results, ..stage.deps() }).await;
    let loads = async {
        while asked.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), loads).await.expect("the thread is loaded");
    for path in ["/internal/threads/t", "/internal/threads/t/state", "/internal/threads/t/history"] {
        assert_eq!(sink.ask_once("default", path).await.status(), 421, "{path}: what was shown is not known yet");
    }
    gate.add_permits(1);
    assert_eq!(sink.json("/internal/threads/t/state").await["next"], json!(["answer"]));
    sink.stop().await;
}

/// A store shows the row of a run before its updates; only where its thread was pruned there are none.
#[tokio::test]
async fn a_run_of_which_only_the_row_is_there_yet_has_not_been_streamed() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = thread_run(1, "t");
    stage.store.write(Arc::new(vec![only_the_row(&run)])).await.unwrap();
    for path in [run.path("/stream"), run.path("/wait")] {
        assert_eq!(sink.ask(&path).await.status(), 404, "{path}");
    }
    sink.stop().await;
}

fn only_the_row(run: &Run) -> RunWrite {
    let row = RunRow {
        tenant: "default".to_owned(),
        run_id: run.id,
        position: Position::new(0, 1).unwrap(),
        thread_id: Some("t".to_owned()),
        user: None,
        graph: "chat".to_owned(),
        graph_hash: "h".to_owned(),
        status: RunStatus::Success,
        created_at: 1,
        updated_at: 1,
        number: 3,
        view: "{}".into(),
    };
    RunWrite {
        tenant: row.tenant.clone(),
        run_id: run.id,
        updates: Vec::new(),
        run: Some(row),
        thread: None,
        checkpoints: Vec::new(),
        usage: Vec::new(),
    }
}

/// What it streamed is gone, and what it answered is not.
#[tokio::test]
async fn who_joins_a_run_of_a_pruned_thread_is_told_so() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = thread_run(1, "t");
    stage.store.write(Arc::new(vec![only_the_row(&run)])).await.unwrap();
    let pruned_at = Position::new(0, 2).unwrap();
    stage.store.prune_thread("default", "t", pruned_at, &KeptValues::default()).await.unwrap();
    for path in ["/stream", "/stream?after=2.0", "/stream?register=true&after=2.0", "/stream?modes=values", "/updates"]
    {
        let response = sink.ask(&run.path(path)).await;
        assert_eq!(response.status(), 410, "{path}");
        let body: Value = serde_json::from_slice(&whole(response).await).unwrap();
        let error = &body["error"];
        assert_eq!(error["code"], "history_pruned", "{path}");
        assert!(error["message"].as_str().is_some_and(|says| says.contains("pruned")), "{error}");
    }
    // Who has all of it, or wants what comes, misses nothing.
    assert_eq!(sink.ask(&run.path("/stream?after=3.0")).await.status(), 204);
    let live = sink.ask(&run.path("/stream?modes=values&live=true")).await;
    assert_eq!((live.status().as_u16(), whole(live).await.len()), (200, 0));
    assert_eq!(sink.json(&run.path("/wait")).await, json!({"ended": {}}));
    sink.stop().await;
}

#[tokio::test]
async fn tenants_are_walls() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let thread = "wall";
    let run = thread_run(1, thread);
    stage.play(&run).await;
    sink.json_when("/internal/runs", |answer| answer["data"].as_array().is_some_and(|rows| rows.len() == 1)).await;
    let paths =
        [run.path(""), run.path("/updates"), run.path("/stream"), run.path("/wait"), run.path("/stream?register=true")];
    for path in &paths {
        assert_eq!(sink.ask(path).await.status(), 200, "{path}");
        let refused = sink.ask_as("other", path).await;
        assert_eq!(refused.status(), 404, "{path}");
        let body: Value = serde_json::from_slice(&whole(refused).await).unwrap();
        assert_eq!(body["error"]["code"], "run_not_found");
    }
    for path in ["/internal/threads/wall", "/internal/threads/wall/state", "/internal/threads/wall/history"] {
        assert_eq!(sink.ask(path).await.status(), 200, "{path}");
        assert_eq!(sink.ask_as("other", path).await.status(), 404, "{path}");
    }
    for path in ["/internal/runs", "/internal/threads", "/internal/usage"] {
        let answer: Value = serde_json::from_slice(&whole(sink.ask_as("other", path).await).await).unwrap();
        assert_eq!(answer["data"], json!([]), "{path}");
    }
    // Interest in a run that turns out to be another's is told nothing of it.
    let theirs = Run::new(2, 1);
    let stream = sink.ask_as("other", &theirs.path("/stream?register=true")).await;
    let wait = sink.ask_as("other", &theirs.path("/wait?register=true&timeout_ms=500")).await;
    stage.play(&theirs).await;
    let told = frames(&whole(stream).await);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].comment, ": cut: there is no such run");
    assert!(!String::from_utf8(whole(wait).await).unwrap().contains("ended"));
    sink.stop().await;
}

#[tokio::test]
async fn only_who_knows_the_secret_may_ask() {
    let stage = Stage::open().await;
    let deps = sink::Deps { secret: Some("s3cret".to_owned()), ..stage.deps() };
    let sink = stage.sink_of(Stage::config(), deps).await;
    for (secret, expect) in [(None, 401), (Some("s3cres"), 401), (Some("s3cret2"), 401), (Some("s3cret"), 200)] {
        let mut request = Request::get("/internal/runs").header(TENANT_HEADER, "default");
        if let Some(secret) = secret {
            request = request.header(SECRET_HEADER, secret);
        }
        let response = sink.router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), expect, "{secret:?}");
    }
    sink.stop().await;
}

#[tokio::test]
async fn garbage_is_set_aside_and_nothing_stalls() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    let run = Run::new(1, 1);
    let response = sink.ask(&run.path("/stream?register=true")).await;
    stage.put_garbage(UPDATES, 1).await;
    stage.put_garbage(TOKENS, 1).await;
    stage.play(&run).await;
    assert_eq!(names_of(&frames(&whole(response).await)).last(), Some(&""));
    let mut letters = stage.log.read(&stage.names.of(DEAD_LETTERS), 0, Start::Earliest).await.unwrap();
    let letter = letters.next().await.unwrap()[0].json::<DeadLetter>().unwrap();
    assert_eq!((letter.topic.as_str(), letter.partition, letter.consumer.as_str()), ("t-updates", 1, "sink"));
    assert_eq!(STANDARD.decode(&letter.payload).unwrap(), b"{nonsense");
    // Everything is written and committed, the garbage too.
    sink.stop().await;
    let committed = stage.log.committed(&stage.names.of(SINK_GROUP), &stage.names.of(UPDATES), 1).await.unwrap();
    assert_eq!(committed.unwrap().0, 4);
}

#[tokio::test]
async fn a_sink_says_what_it_serves() {
    let stage = Stage::open().await;
    let sink = stage.sink().await;
    sink.ask(&Run::new(1, PARTITIONS - 1).path("/wait?register=true&timeout_ms=1")).await;
    let mut facts = stage.log.read(&stage.names.of(CONTROL), 0, Start::Earliest).await.unwrap();
    let mut served = Vec::new();
    while served.len() < PARTITIONS as usize {
        for fetched in facts.next().await.unwrap() {
            if let ControlFact::Serves { role, partition, address } = &fetched.json::<ControlRecord>().unwrap().fact {
                assert_eq!((role.as_str(), address.as_str()), ("sink", "here"));
                served.push(*partition);
            }
        }
    }
    served.sort_unstable();
    assert_eq!(served, [0, 1, 2, 3]);
    sink.stop().await;
}

#[tokio::test]
async fn streams_go_on_while_the_store_is_down_and_rows_follow() {
    let stage = Stage::open().await;
    let down = Arc::new(AtomicBool::new(true));
    let results = Arc::new(Faulty { down: Arc::clone(&down), ..Faulty::new(&stage.store) });
    let deps = sink::Deps { results, ..stage.deps() };
    let config = sink::Config {
        retry_pause: (Duration::from_millis(5), Duration::from_millis(20)),
        backlog_bytes_max: 64 << 10,
        ..Stage::config()
    };
    let sink = stage.sink_of(config, deps).await;
    let run = Run::new(1, 1);
    let response = sink.ask(&run.path("/stream?register=true")).await;
    stage.play(&run).await;
    assert_eq!(frames(&whole(response).await).last().unwrap().data, "[DONE]");
    assert_eq!(sink.json(&run.path("")).await["status"], "success");
    assert!(stage.store.run("default", run.id).await.unwrap().is_none());
    // More than may wait: intake pauses, and goes on when the store does.
    let others: Vec<Run> = (2..100).map(|number| Run::new(number, 1)).collect();
    for run in &others {
        stage.play(run).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let committed = stage.log.committed(&stage.names.of(SINK_GROUP), &stage.names.of(UPDATES), 1).await.unwrap();
    assert_eq!(committed, None, "nothing is passed that is not written");
    down.store(false, Ordering::SeqCst);
    let last = others.last().unwrap();
    sink.json_when("/internal/runs?limit=100", |answer| answer["data"].as_array().unwrap().len() == 99).await;
    assert_eq!(stage.store.updates("default", last.id, 0, 10).await.unwrap().len(), 3);
    sink.stop().await;
}

#[tokio::test]
async fn under_load_a_runs_rows_are_gathered_before_they_are_written() {
    let stage = Stage::open().await;
    let writes = Arc::new(AtomicUsize::new(0));
    let results = Arc::new(Faulty { writes: Arc::clone(&writes), ..Faulty::new(&stage.store) });
    let deps = sink::Deps { results, ..stage.deps() };
    let config = sink::Config { gather_from_runs: 1, gather_for: Duration::from_secs(1), ..Stage::config() };
    let sink = stage.sink_of(config, deps).await;
    // The first write is made at once, and says that there is load.
    stage.play(&Run::new(1, 1)).await;
    sink.json_when("/internal/runs", |answer| answer["data"].as_array().unwrap().len() == 1).await;
    let before = writes.load(Ordering::SeqCst);
    let run = Run::new(2, 1);
    for record in [run.started(10), run.prepared(11), run.ended(12)] {
        stage.put(&run, record).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sink.json_when("/internal/runs", |answer| answer["data"].as_array().unwrap().len() == 2).await;
    assert_eq!(stage.store.updates("default", run.id, 0, 10).await.unwrap().len(), 3);
    // What was left of the first run, and the second as a whole.
    assert!(writes.load(Ordering::SeqCst) - before <= 2, "{} writes", writes.load(Ordering::SeqCst) - before);
    sink.stop().await;
}
