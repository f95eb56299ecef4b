//! `/graphs/{name}/runs`.

use std::time::Duration;

use graph::{envelope::Lane, event::Event, ids};
use serde_json::{Value, json};

use crate::stage::{ACME, BETA, READER, Stage};

fn hello(mode: &str) -> Value {
    said("hello", mode)
}

fn said(text: &str, mode: &str) -> Value {
    json!({"input": {"messages": [{"role": "user", "content": text}]}, "mode": mode})
}

#[tokio::test]
async fn a_run_in_the_background_is_one_record_and_an_address() {
    let stage = Stage::new().await;
    let body = json!({
        "input": {"messages": "hi", "topic": "x"}, "thread_id": "t/1", "user": "ann", "context": {"locale": "de"},
        "config": {"metadata": {"a": 1}, "tags": ["b"], "recursion_limit": 9, "deadline": "10m", "lane": "batch",
            "priority": 3, "model": {"temperature": 0.5}, "configurable": {"c": true}},
    });
    let reply = stage.post("/graphs/support/runs", body).await.expect(202);
    let accepted = reply.json();
    assert_eq!(reply.header("location"), format!("/graphs/support/runs/{}", accepted["run_id"].as_str().unwrap()));
    assert_eq!((&accepted["status"], &accepted["thread_id"]), (&json!("pending"), &json!("t/1")));

    let records = stage.records().await;
    let [(partition, record)] = &records[..] else { panic!("one record, not {}", records.len()) };
    let envelope = &record.envelope;
    assert_eq!(envelope.run_id.to_string(), accepted["run_id"]);
    assert_eq!(u32::from(ids::partition_of(envelope.run_id)), *partition);
    assert_eq!(event_log::partition_for(envelope.key().as_str().as_bytes(), 4), *partition, "the thread's partition");
    assert_eq!(envelope.key().as_str(), "acme/t/t/1");
    assert_eq!(
        (envelope.principal.key.as_deref(), envelope.principal.user.as_deref()),
        (Some("acme-app"), Some("ann"))
    );
    assert_eq!(envelope.endpoint, "/graphs/{name}/runs");
    assert_eq!(envelope.graph.hash, accepted["hash"]);
    assert_eq!((envelope.lane, envelope.priority, &*envelope.tags), (Lane::Batch, 3, &["b".to_owned()][..]));
    assert_eq!(envelope.deadline, record.at + 600_000);
    let Event::Requested(request) = &record.event else { panic!("{:?}", record.event) };
    assert_eq!(*request.context, json!({"locale": "de"}));
    assert_eq!(
        request.input.as_deref(),
        Some(&json!({"messages": [{"type": "human", "content": "hi"}], "topic": "x"}))
    );
    assert_eq!((request.config.recursion_limit, &*request.config.model), (Some(9), &json!({"temperature": 0.5})));
    assert!(!request.repeat && !request.claimed && !request.new_thread);
}

#[tokio::test]
async fn waiting_answers_with_the_runs_end_and_costs_one_append_and_one_call() {
    let stage = Stage::new().await;
    let reply = stage.post("/graphs/support/runs", hello("wait")).await.expect(200);
    let view = reply.json();
    assert_eq!((&view["status"], &view["graph"]), (&json!("success"), &json!("support")));
    assert_eq!(view["output"]["messages"][1]["content"], "you said hello");
    assert_eq!(stage.records().await.len(), 1);
    let calls = stage.sinks.calls.lock().unwrap().clone();
    let [(Some(partition), path)] = &calls[..] else { panic!("one call, not {calls:?}") };
    let run = view["run_id"].as_str().unwrap();
    assert_eq!(*path, format!("/internal/runs/{run}/wait?timeout_ms=400&register=true"));
    assert_eq!(u32::from(ids::partition_of(run.parse().unwrap())), *partition);
}

#[tokio::test]
async fn a_context_gets_its_defaults() {
    let stage = Stage::new().await;
    stage.post("/graphs/support/runs", hello("wait")).await.expect(200);
    let Event::Requested(request) = stage.records().await[0].1.event.clone() else { panic!() };
    assert_eq!(*request.context, json!({"locale": "en"}));
}

#[tokio::test]
async fn a_failed_run_is_an_error_with_the_state_so_far() {
    let stage = Stage::new().await;
    let reply = stage.post("/graphs/support/runs", said("fail", "wait")).await.expect(500);
    let body = reply.json();
    assert_eq!(body["error"]["code"], "node_failed");
    assert_eq!(
        (&body["error"]["param"], &body["error"]["message"]),
        (&json!("answer"), &json!("node answer failed: boom"))
    );
    assert_eq!(body["error"]["run_id"], body["run_id"]);
    assert_eq!(body["output"]["messages"][0]["content"], "fail");
    assert_eq!((reply.header("x-should-retry"), &body["status"]), ("false", &json!("error")));
}

#[tokio::test]
async fn a_wait_ends_before_its_run() {
    let stage = Stage::new().await;
    let reply = stage.post("/graphs/support/runs", said("slow", "wait")).await.expect(504);
    assert_eq!((reply.code(), reply.header("x-should-retry")), ("wait_timeout".to_owned(), "false"));
    let run = reply.json()["error"]["run_id"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), format!("/graphs/support/runs/{run}"));
    assert_eq!(stage.get(reply.header("location")).await.expect(200).json()["status"], "running");
}

#[tokio::test]
async fn a_stream_is_the_sinks_with_its_address() {
    let stage = Stage::new().await;
    let reply = stage.post("/graphs/support/runs", hello("stream")).await.expect(200);
    assert_eq!((reply.header("content-type"), reply.header("x-accel-buffering")), ("text/event-stream", "no"));
    assert!(reply.text.ends_with("data: {\"status\":\"success\"}\n\ndata: [DONE]\n\n"), "{}", reply.text);
    let address = reply.header("location").to_owned();
    assert!(stage.get(&address).await.expect(200).text.contains("[DONE]"));
    stage.get(&format!("{address}?after=1.0")).await.expect(204);
    assert_eq!(stage.get(&format!("{address}?afer=1.0")).await.expect(400).code(), "unknown_field");
}

#[tokio::test]
async fn a_stream_whose_partition_moves_goes_on_at_the_new_sink() {
    let stage = Stage::new().await;
    *stage.sinks.moves_stream.lock().unwrap() = true;
    let reply = stage.post("/graphs/support/runs", hello("stream")).await.expect(200);
    assert!(reply.text.starts_with("id: 1.0\n") && reply.text.ends_with("data: [DONE]\n\n"), "{}", reply.text);
    let calls = stage.sinks.calls.lock().unwrap().clone();
    assert!(calls[1].1.ends_with("/stream?dialect=events&after=0.9&register=true"), "{calls:?}");
}

#[tokio::test]
async fn a_run_that_was_accepted_this_moment_is_found() {
    let stage = Stage::new().await;
    for _ in 0..20 {
        let reply = stage.post("/graphs/support/runs", hello("background")).await.expect(202);
        stage.get(reply.header("location")).await.expect(200);
    }
}

#[tokio::test]
async fn a_run_belongs_to_its_graph() {
    let stage = Stage::new().await;
    let reply = stage.post("/graphs/support/runs", hello("wait")).await;
    let run = reply.json()["run_id"].as_str().unwrap().to_owned();
    stage.get(&format!("/graphs/support/runs/{run}")).await.expect(200);
    for path in [format!("/graphs/sum/runs/{run}"), "/graphs/support/runs/no-uuid".to_owned()] {
        assert_eq!(stage.get(&path).await.expect(404).code(), "run_not_found");
    }
}

#[tokio::test]
async fn a_busy_thread_can_refuse() {
    let stage = Stage::new().await;
    let mut body = said("busy", "background");
    body["multitask"] = json!("reject");
    let reply = stage.post("/graphs/support/runs", body).await.expect(409);
    assert_eq!((reply.code(), reply.header("x-should-retry")), ("thread_busy".to_owned(), "false"));
}

#[tokio::test]
async fn runs_are_listed_by_what_is_asked() {
    let stage = Stage::new().await;
    for (user, text) in [("ann", "hello"), ("bob", "fail"), ("ann", "fail")] {
        let mut body = said(text, "wait");
        body["user"] = json!(user);
        stage.post("/graphs/support/runs", body).await;
    }
    let count = async |query: &str| {
        stage.get(&format!("/graphs/support/runs{query}")).await.expect(200).json()["data"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 3);
    assert_eq!(count("?user=ann").await, 2);
    assert_eq!(count("?user=ann&status=error").await, 1);
    let last = |stage: &Stage| stage.sinks.calls.lock().unwrap().last().unwrap().1.clone();
    count("?since=2025-11-21T10:40:00Z&until=1763721600001&cursor=a%2Fb&limit=7").await;
    assert_eq!(
        last(&stage),
        "/internal/runs?graph=support&limit=7&since=1763721600000&until=1763721600001&cursor=a%2Fb"
    );
    assert_eq!(stage.get("/graphs/support/runs?usr=ann").await.expect(400).code(), "unknown_field");
    assert_eq!(stage.get("/graphs/support/runs?limit=0").await.expect(400).code(), "invalid_value");
    assert_eq!(stage.get("/graphs/support/runs?since=yesterday").await.expect(400).code(), "invalid_value");
}

#[tokio::test]
async fn a_cancel_is_a_record_of_the_runs_key() {
    let stage = Stage::new().await;
    let mut body = said("slow", "background");
    body["thread_id"] = json!("t");
    let reply = stage.post("/graphs/support/runs", body).await.expect(202);
    let cancel = format!("{}/cancel", reply.header("location"));
    assert_eq!(stage.ask(READER, "POST", &cancel, None).await.expect(403).code(), "permission_denied");
    assert_eq!(stage.ask(BETA, "POST", &cancel, None).await.expect(404).code(), "run_not_found");
    stage.post(&cancel, json!({"reason": "enough"})).await.expect(202);
    let records = stage.records().await;
    assert_eq!(records.len(), 2);
    assert_eq!(records[0].1.envelope.key(), records[1].1.envelope.key());
    assert_eq!(records[1].1.event, Event::Cancelled { reason: "enough".into(), rollback: false });
    while stage.get(reply.header("location")).await.json()["status"] != "cancelled" {
        tokio::task::yield_now().await;
    }
    stage.ask(ACME, "POST", &cancel, None).await.expect(200);
    assert_eq!(stage.records().await.len(), 2, "a run that has ended is not cancelled again");
}

#[tokio::test]
async fn a_moving_sink_is_looked_for_again() {
    let stage = Stage::new().await;
    *stage.sinks.down_for.lock().unwrap() = 2;
    stage.post("/graphs/support/runs", hello("wait")).await.expect(200);
    *stage.sinks.moved_for.lock().unwrap() = 2;
    stage.post("/graphs/support/runs", hello("wait")).await.expect(200);
    let stage = Stage::with(|config| config.sink_timeout = Duration::from_millis(60)).await;
    *stage.sinks.down_for.lock().unwrap() = 1_000;
    let reply = stage.post("/graphs/support/runs", hello("wait")).await.expect(503);
    assert_eq!((reply.code(), reply.header("retry-after")), ("store_unavailable".to_owned(), "1"));
    assert!(stage.records().await.is_empty(), "nothing is accepted that could not be answered");
}

#[tokio::test]
async fn a_slow_sink_is_waited_for_longer_than_one_that_moves() {
    let short = Duration::from_millis(60);
    let stage = Stage::with(|config| config.sink_timeout = short).await;
    *stage.sinks.slow.lock().unwrap() = short * 3;
    stage.get("/graphs/support/runs").await.expect(200);
    let stage = Stage::with(|config| config.answer_timeout = short).await;
    *stage.sinks.slow.lock().unwrap() = short * 3;
    let reply = stage.get("/graphs/support/runs").await.expect(503);
    assert_eq!((reply.code(), reply.header("retry-after")), ("store_unavailable".to_owned(), "1"));
}

#[tokio::test]
async fn a_closed_log_is_503() {
    let stage = Stage::new().await;
    stage.log.close().await;
    let reply = stage.post("/graphs/support/runs", hello("background")).await.expect(503);
    assert_eq!((reply.code(), reply.header("retry-after")), ("log_unavailable".to_owned(), "1"));
}

#[tokio::test]
async fn a_trace_goes_on_in_the_record() {
    let stage = Stage::new().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for sent in [trace, "00-nonsense"] {
        let request = http::Request::post("/graphs/support/runs")
            .header("x-api-key", ACME)
            .header("content-type", "application/json")
            .header("traceparent", sent)
            .body(hello("background").to_string().into());
        stage.send(request.unwrap()).await.expect(202);
    }
    let headers: Vec<_> = stage.fetched().await.into_iter().map(|fetched| fetched.record.headers).collect();
    let traced = headers.iter().filter(|headers| headers.get_str("traceparent") == Some(trace)).count();
    assert_eq!((traced, headers.len()), (1, 2));
    assert!(headers.iter().all(|headers| headers.get_str("ce_type") == Some("millstream.runs.v1")));
}
