//! How long threads live, as clients say it and see it; that they end is the fold's.

use graph::event::{Event, TimeToLive, TtlStrategy};
use serde_json::{Value, json};

use crate::stage::{ACME, Stage};

const HOUR: TimeToLive = TimeToLive { ms: 3_600_000, strategy: TtlStrategy::Delete };

async fn with_default() -> Stage {
    Stage::with(|config| config.thread_ttl = Some(HOUR)).await
}

async fn make(stage: &Stage, body: Value) -> String {
    let made = stage.post("/threads", body).await.expect(200).json();
    assert_eq!(made.get("ttl"), None, "it is shown to whoever asks for it");
    made["thread_id"].as_str().unwrap().to_owned()
}

/// What the log was told of threads.
async fn told(stage: &Stage) -> Vec<(String, TimeToLive)> {
    let records = stage.records().await.into_iter().filter_map(|(partition, record)| {
        let Event::ThreadTimed(ttl) = record.event else { return None };
        assert_eq!(u32::from(graph::ids::partition_of(record.envelope.run_id)), partition);
        assert_eq!(record.envelope.tenant, "acme");
        Some((record.envelope.thread_id.clone().unwrap(), ttl))
    });
    let mut told: Vec<_> = records.collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}

/// What `include=ttl` shows, and when the thread was used last by that.
async fn shown(stage: &Stage, thread: &str) -> Value {
    let plain = stage.get(&format!("/threads/{thread}")).await.expect(200).json();
    assert_eq!(plain.get("ttl"), None);
    stage.get(&format!("/threads/{thread}?include=extracted,ttl")).await.expect(200).json()["ttl"].clone()
}

async fn ran(stage: &Stage, thread: &str) {
    let run = json!({"input": {"messages": "x"}, "mode": "wait", "thread_id": thread});
    stage.post("/graphs/support/runs", run).await.expect(200);
}

#[tokio::test]
async fn a_client_says_how_long_its_thread_lives() {
    let stage = Stage::new().await;
    let untimed = make(&stage, json!({})).await;
    let thread = make(&stage, json!({"thread_id": "t", "ttl": {"ttl": 60, "strategy": "delete"}})).await;
    assert_eq!(told(&stage).await, [("t".to_owned(), HOUR)]);
    let ttl = shown(&stage, &thread).await;
    assert_eq!((&ttl["strategy"], &ttl["ttl_minutes"]), (&json!("delete"), &json!(60.0)));
    let expires_at: jiff::Timestamp = ttl["expires_at"].as_str().unwrap().parse().unwrap();
    let made = stage.get("/threads/t").await.expect(200).json();
    let made_at: jiff::Timestamp = made["created_at"].as_str().unwrap().parse().unwrap();
    let lives = expires_at.as_millisecond() - made_at.as_millisecond();
    assert!((lives - HOUR.ms).abs() < 1_000, "{lives}");
    assert_eq!(shown(&stage, &untimed).await, Value::Null);

    let patch = async |body: Value| stage.ask(ACME, "PATCH", "/threads/t", Some(body)).await;
    patch(json!({"metadata": {"owner": "ann"}})).await.expect(200);
    assert_eq!(told(&stage).await.len(), 1, "nothing was said of its time");
    assert_eq!(shown(&stage, &thread).await["ttl_minutes"], json!(60.0));
    let patched = patch(json!({"ttl": 0.02})).await.expect(200).json();
    assert_eq!(patched["metadata"]["owner"], "ann");
    assert_eq!(told(&stage).await.last().map(|(_, ttl)| ttl.ms), Some(1_200));
    assert_eq!(shown(&stage, &thread).await["ttl_minutes"], json!(0.02));
    ran(&stage, &thread).await;
    assert_eq!(shown(&stage, &thread).await["ttl_minutes"], json!(0.02), "a run says nothing of it");
    patch(json!({"ttl": {"ttl": 60, "strategy": "keep_latest"}})).await.expect(200);
    assert_eq!(told(&stage).await.last().map(|(_, ttl)| ttl.strategy), Some(TtlStrategy::KeepLatest));
    assert_eq!(shown(&stage, &thread).await["strategy"], "keep_latest");
}

#[tokio::test]
async fn what_nobody_could_live_by_is_refused() {
    let stage = Stage::new().await;
    make(&stage, json!({"thread_id": "t"})).await;
    for (ttl, status, says) in [
        (json!(0), 422, "more than 0 minutes"),
        (json!({"ttl": -5}), 422, "more than 0 minutes"),
        (json!(1e12), 422, "at most for 52596000"),
        (json!("1h"), 422, "give the minutes"),
        (json!({"strategy": "delete"}), 422, "give the minutes"),
        (json!({"ttl": 5, "strategy": "forget"}), 422, "ttl.strategy"),
    ] {
        let made = stage.post("/threads", json!({"thread_id": "new", "ttl": ttl})).await.expect(status);
        assert!(made.text.contains(says), "{ttl}: {}", made.text);
        let patched = stage.ask(ACME, "PATCH", "/threads/t", Some(json!({"ttl": ttl}))).await.expect(status);
        assert!(patched.text.contains(says), "{ttl}: {}", patched.text);
    }
    stage.get("/threads/new").await.expect(404);
    stage.ask(ACME, "PATCH", "/threads/nobody", Some(json!({"ttl": 5}))).await.expect(404);
    assert_eq!(told(&stage).await, []);
}

#[tokio::test]
async fn a_repeat_says_it_again() {
    let stage = Stage::new().await;
    for _ in 0..2 {
        let request = http::Request::post("/threads").header("authorization", format!("Bearer {ACME}"));
        let request = request.header("idempotency-key", "k").header("content-type", "application/json");
        stage.send(request.body(json!({"ttl": 60}).to_string().into()).unwrap()).await.expect(200);
    }
    let told = told(&stage).await;
    assert_eq!(told.len(), 2, "the first may have been cut off before the log heard of it");
    assert_eq!(told[0], told[1]);
}

#[tokio::test]
async fn the_servers_default_is_for_threads_of_which_nobody_says_more() {
    let stage = with_default().await;
    let own = make(&stage, json!({"thread_id": "own", "ttl": 5})).await;
    let other = make(&stage, json!({"thread_id": "other"})).await;
    let five = TimeToLive { ms: 300_000, ..HOUR };
    assert_eq!(told(&stage).await, [(other.clone(), HOUR), (own.clone(), five)]);
    assert_eq!(shown(&stage, &own).await["ttl_minutes"], json!(5.0));
    assert_eq!(shown(&stage, &other).await["ttl_minutes"], json!(60.0));
    let asks = async |body: Value, path: &str| {
        stage.post(path, body).await.expect(200);
        let requests = stage.records().await.into_iter().filter_map(|(_, record)| match record.event {
            Event::Requested(request) => Some((record.envelope.run_id, request.ttl)),
            _ => None,
        });
        requests.max_by_key(|(run, _)| *run).unwrap().1
    };
    let input = json!({"messages": "x"});
    let begun = asks(json!({"input": input, "mode": "wait", "thread_id": "begun"}), "/graphs/support/runs").await;
    assert_eq!(begun, Some(HOUR), "a run times the thread that it begins");
    let alone = json!({"assistant_id": "support", "input": input});
    assert_eq!(asks(alone, "/runs/wait").await, None, "a run without a thread has none to time");
}

#[tokio::test]
async fn a_copy_is_a_thread_of_which_nobody_has_said_it() {
    for (stage, expected) in [(Stage::new().await, Value::Null), (with_default().await, json!(60.0))] {
        make(&stage, json!({"thread_id": "t", "ttl": 5})).await;
        let copy = stage.ask(ACME, "POST", "/threads/t/copy", None).await.expect(200).json();
        let copy = copy["thread_id"].as_str().unwrap();
        assert_eq!(shown(&stage, copy).await["ttl_minutes"], expected);
        let of_copy: Vec<_> = told(&stage).await.into_iter().filter(|(thread, _)| thread == copy).collect();
        assert_eq!(of_copy.is_empty(), expected.is_null());
    }
}
