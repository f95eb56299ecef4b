//! `Idempotency-Key`: a repeat finds the first request's run.

use graph::event::Event;
use http::Request;
use serde_json::{Value, json};

use crate::stage::{ACME, BETA, Reply, Stage};

async fn send(stage: &Stage, key: &str, path: &str, idempotency: &str, body: &Value) -> Reply {
    let request = Request::post(path)
        .header("x-api-key", key)
        .header("content-type", "application/json")
        .header("idempotency-key", idempotency)
        .body(body.to_string().into());
    stage.send(request.unwrap()).await
}

#[tokio::test]
async fn a_repeat_answers_with_the_same_run() {
    let stage = Stage::new().await;
    let body = json!({"input": {"messages": "hello"}, "mode": "wait"});
    let path = "/graphs/support/runs";
    let first = send(&stage, ACME, path, "k1", &body).await.expect(200).json();
    let again = send(&stage, ACME, path, "k1", &body).await.expect(200).json();
    assert_eq!(first, again);
    assert_eq!(flags(&stage).await, [(true, false)], "what is known isn't asked for again");
    let other = send(&stage, ACME, path, "k2", &body).await.expect(200).json();
    assert_ne!(first["run_id"], other["run_id"]);
}

/// Of every request: whether it has a key, and whether it is a repeat.
async fn flags(stage: &Stage) -> Vec<(bool, bool)> {
    let of = |event: &Event| match event {
        Event::Requested(request) => (request.claimed, request.repeat),
        other => panic!("{other:?}"),
    };
    stage.records().await.iter().map(|(_, record)| of(&record.event)).collect()
}

#[tokio::test]
async fn a_repeat_begins_what_the_first_request_could_not() {
    let stage = Stage::with(|config| config.sink_timeout = std::time::Duration::from_millis(60)).await;
    let body = json!({"input": {"messages": "hello"}, "mode": "wait"});
    let path = "/graphs/support/runs";
    *stage.sinks.down_for.lock().unwrap() = u32::MAX;
    send(&stage, ACME, path, "k1", &body).await.expect(503);
    *stage.sinks.down_for.lock().unwrap() = 0;
    send(&stage, ACME, path, "k1", &body).await.expect(200);
    assert_eq!(flags(&stage).await, [(true, true)]);
}

#[tokio::test]
async fn a_repeated_chat_keeps_the_thread_that_was_made_for_it() {
    let stage = Stage::new().await;
    let body = json!({"message": "hello"});
    let first = send(&stage, ACME, "/support", "k", &body).await.expect(200).json();
    let again = send(&stage, ACME, "/support", "k", &body).await.expect(200).json();
    assert_eq!((&first["run_id"], &first["thread_id"]), (&again["run_id"], &again["thread_id"]));
    assert!(first["thread_id"].is_string());
}

#[tokio::test]
async fn a_repeated_stream_is_the_first_runs() {
    let stage = Stage::new().await;
    let body = json!({"message": "hello", "stream": true});
    let first = send(&stage, ACME, "/support", "k", &body).await.expect(200);
    let again = send(&stage, ACME, "/support", "k", &body).await.expect(200);
    assert_eq!((first.header("location"), &first.text), (again.header("location"), &again.text));
}

#[tokio::test]
async fn a_repeated_edit_answers_with_the_first_ones_checkpoint() {
    let stage = Stage::new().await;
    let run = json!({"input": {"messages": "x"}, "mode": "wait", "thread_id": "t"});
    stage.post("/graphs/support/runs", run).await.expect(200);
    let body = json!({"values": {"topic": "x"}});
    let first = send(&stage, ACME, "/threads/t/state", "e1", &body).await.expect(200).json();
    let again = send(&stage, ACME, "/threads/t/state", "e1", &body).await.expect(200).json();
    assert_eq!(first, again);
    let other = send(&stage, ACME, "/threads/t/state", "e2", &body).await.expect(200).json();
    assert_ne!(first, other);
    let unkeyed = stage.post("/threads/t/state", body).await.expect(200).json();
    assert_ne!(first, unkeyed);
    let edits: Vec<_> = stage.records().await.into_iter().skip(1).collect();
    let claimed: Vec<bool> = edits.iter().map(|(_, record)| is_claimed(&record.event)).collect();
    assert_eq!(claimed, [true, true, false], "what is known isn't made again");
    let changed = send(&stage, ACME, "/threads/t/state", "e1", &json!({"values": {"topic": "y"}})).await.expect(422);
    assert!(changed.text.contains("idempotency key was used with another request"), "{}", changed.text);
}

fn is_claimed(event: &Event) -> bool {
    match event {
        Event::StateEdited(edit) => edit.claimed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn another_request_with_the_same_key_is_422() {
    let stage = Stage::new().await;
    let body = json!({"input": {"messages": "hello"}});
    let first = send(&stage, ACME, "/graphs/support/runs", "k", &body).await.expect(202).json();
    let mismatch =
        send(&stage, ACME, "/graphs/support/runs", "k", &json!({"input": {"messages": "bye"}})).await.expect(422);
    assert_eq!(mismatch.code(), "idempotency_mismatch");
    assert_eq!(mismatch.json()["error"]["run_id"], first["run_id"]);
    assert_eq!(send(&stage, ACME, "/support", "k", &body).await.expect(400).code(), "unknown_field");
    assert_eq!(stage.records().await.len(), 1);
}

#[tokio::test]
async fn a_key_is_its_tenants_own() {
    let stage = Stage::new().await;
    let body = json!({"input": {"messages": "hello"}});
    let acme = send(&stage, ACME, "/graphs/support/runs", "k", &body).await.expect(202).json();
    let beta = send(&stage, BETA, "/graphs/support/runs", "k", &body).await.expect(202).json();
    assert_ne!(acme["run_id"], beta["run_id"]);
    let long = "k".repeat(256);
    assert_eq!(send(&stage, ACME, "/graphs/support/runs", &long, &body).await.expect(400).code(), "invalid_value");
}

#[tokio::test]
async fn a_repeated_thread_is_the_one_that_was_made_and_is_edited_once() {
    let stage = Stage::new().await;
    // The test's sink makes answers of runs that there were.
    stage.post("/graphs/support/runs", json!({"input": {"messages": "x"}, "mode": "wait"})).await.expect(200);
    let steps = |text: &str| json!([{"updates": [{"values": {"topic": text}, "as_node": "answer"}]}]);
    let body = json!({"metadata": {"graph_id": "support"}, "supersteps": steps("a")});
    let first = send(&stage, ACME, "/threads", "k", &body).await.expect(200).json();
    let again = send(&stage, ACME, "/threads", "k", &body).await.expect(200).json();
    assert_eq!(first["thread_id"], again["thread_id"]);
    let records = stage.records().await.into_iter().map(|(_, record)| record);
    let edits: Vec<_> = records.filter(|record| matches!(record.event, Event::StateEdited(_))).collect();
    assert_eq!(edits.len(), 1, "what is known isn't made again");
    assert!(is_claimed(&edits[0].event));

    let other = json!({"metadata": {"graph_id": "support"}, "supersteps": steps("b")});
    let mismatch = send(&stage, ACME, "/threads", "k", &other).await.expect(422);
    assert!(mismatch.text.contains("used with another request"), "{}", mismatch.text);
    let mut named = other.clone();
    named["thread_id"] = json!("named");
    send(&stage, ACME, "/threads", "k", &named).await.expect(422);
    stage.get("/threads/named").await.expect(404);
    assert_ne!(send(&stage, BETA, "/threads", "k", &json!({})).await.expect(200).json(), first);
    send(&stage, ACME, "/threads", "k2", &named).await.expect(200);
    send(&stage, ACME, "/threads", "k2", &named).await.expect(200);
    stage.post("/threads", named).await.expect(409);
    let plain = send(&stage, ACME, "/threads", "k3", &json!({})).await.expect(200).json();
    assert_eq!(send(&stage, ACME, "/threads", "k3", &json!({})).await.expect(200).json(), plain);
}
