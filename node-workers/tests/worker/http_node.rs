//! `http` nodes against a real server.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::stream;
use graph::task::TaskResult;
use node_workers::NodeRegistry;
use schemas::record::{TaskRecord, TokenKind};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::bench::Bench;

/// A service with one path for each way to answer.
async fn serve() -> SocketAddr {
    let tries = Arc::new(AtomicU32::new(0));
    let router = Router::new()
        .route(
            "/update",
            post(|headers: HeaderMap, Json(ask): Json<Value>| async move {
                let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
                Json(json!({"update": {"out": {
                "ask": ask, "key": header("idempotency-key"), "token": header("authorization")}}}))
            }),
        )
        .route("/nothing", post(|| async { StatusCode::NO_CONTENT }))
        .route(
            "/error",
            post(|| async {
                Json(json!({"error": {"message": "no such order", "type": "OrderError", "retryable": false}}))
            }),
        )
        .route("/busy", post(busy).with_state(tries))
        .route("/refused", post(|| async { (StatusCode::UNPROCESSABLE_ENTITY, "no") }))
        .route(
            "/broken",
            post(|| async {
                (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": {"message": "boom", "type": "Boom"}})))
            }),
        )
        .route("/silent", post(std::future::pending::<()>))
        .route(
            "/ndjson",
            post(|| async {
                streamed(
                    "application/x-ndjson",
                    &[
                        "{\"token\":\"Hel",
                        "lo \"}\n{\"custom\":{\"p\":1}}\n",
                        "{\"token\":\"you\"}\n{\"update\":{\"out\":\"done\"}}\n",
                    ],
                )
            }),
        )
        .route(
            "/sse",
            post(|| async {
                streamed(
                    "text/event-stream",
                    &[
                        "data: {\"token\":\"Hello \"}\n",
                        "\n: ping\n\ndata: {\"token\":{\"text\":\"you\",",
                        "\"message_id\":\"m1\"}}\n\ndata: {\"update\":{\"out\":\"done\"}}\n\n",
                    ],
                )
            }),
        )
        .route("/cut", post(|| async { streamed("application/x-ndjson", &["{\"token\":\"Hel\"}\n"]) }))
        .route(
            "/endless",
            post(|| async {
                let body = Body::from_stream(stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024])));
                ([("content-type", "application/json")], body)
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
    address
}

async fn busy(State(tries): State<Arc<AtomicU32>>) -> Response {
    match tries.fetch_add(1, Ordering::Relaxed) {
        0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after-ms", "5")], "slow down").into_response(),
        _ => Json(json!({"update": {"out": "second"}})).into_response(),
    }
}

fn streamed(media: &'static str, pieces: &[&'static str]) -> Response {
    let pieces: Vec<Result<&'static str, std::io::Error>> = pieces.iter().map(|piece| Ok(*piece)).collect();
    ([("content-type", media)], Body::from_stream(stream::iter(pieces))).into_response()
}

async fn bench(address: SocketAddr, path: &str, more: &str) -> Bench {
    Bench::new(&format!(
        "
version: 1
name: g
state: {{q: string, out: {{}}}}
nodes:
  call: {{kind: http, url: \"http://{address}{path}\", headers: {{authorization: \"Bearer ${{env.TEST_TOKEN}}\"}}{more}}}
edges: [START -> call, call -> END]
"
    ))
    .await
}

async fn call(path: &str, more: &str) -> (TaskResult, TaskRecord) {
    let bench = bench(serve().await, path, more).await;
    let worker = bench.start(NodeRegistry::new());
    let task = bench.task("call", json!({"q": "why"}));
    let result = bench.result_of(&task).await;
    worker.stop().await;
    (result, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_told_all_and_its_update_is_written() {
    let (result, task) = call("/update", "").await;
    assert_eq!(result.error, None);
    let out = &result.writes[0].1;
    assert_eq!(out["key"], format!("{}.1", task.task.id));
    assert_eq!(out["token"], "Bearer s3cret");
    let ask = &out["ask"];
    let expect = json!({
        "task_id": task.task.id, "issue": 1, "attempt": 1, "node": "call", "run_id": task.envelope.run_id,
        "input": {"q": "why"}, "metadata": {"from": "test"}, "thread_id": null, "tenant": "default",
        "idempotency_key": out["key"],
    });
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(&ask[name], value, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_content_writes_nothing() {
    let (result, _) = call("/nothing", "").await;
    assert_eq!((result.error, result.writes), (None, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_keep_their_kind_and_say_whether_a_retry_helps() {
    let table = [
        ("/error", "", "OrderError", false, "no such order"),
        ("/refused", "", "http_422", false, "422: no"),
        ("/broken", "", "Boom", true, "boom"),
        ("/silent", ", timeout: 100ms", "NodeTimeoutError", true, "100 ms"),
        ("/cut", ", stream: true", "truncated", true, "cut off"),
        ("/endless", "", "", false, "over 8388608 bytes"),
    ];
    for (path, more, kind, retryable, message) in table {
        let (result, _) = call(path, more).await;
        let error = result.error.unwrap();
        assert_eq!((error.kind.as_deref().unwrap_or(""), error.retryable), (kind, retryable), "{path}");
        assert!(error.message.contains(message), "{path}: {}", error.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_service_is_asked_again() {
    let (result, _) = call("/busy", ", retry: {max_attempts: 2, initial_interval: 1ms, jitter: false}").await;
    assert_eq!((result.attempt, &*result.writes[0].1), (2, &json!("second")));
    let (result, _) = call("/busy", "").await;
    let error = result.error.unwrap();
    assert_eq!((error.retryable, error.retry_after_ms), (true, Some(5)), "without a policy there is no retry");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_there_may_come_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let bench = bench(address, "/", "").await;
    let worker = bench.start(NodeRegistry::new());
    let error = bench.result_of(&bench.task("call", json!({}))).await.error.unwrap();
    assert_eq!((error.kind.as_deref(), error.retryable), (Some("unreachable"), true));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_answers_show_their_tokens() {
    for path in ["/ndjson", "/sse"] {
        let bench = bench(serve().await, path, ", stream: true").await;
        let worker = bench.start(NodeRegistry::new());
        let task = bench.task("call", json!({"q": "why"}));
        let result = bench.result_of(&task).await;
        assert_eq!(&*result.writes[0].1, &json!("done"), "{path}");
        let last = result.last_token.unwrap().n as usize;
        let tokens = bench.tokens(last + 1).await;
        let text: String = tokens
            .iter()
            .filter(|record| record.token.kind == TokenKind::Text)
            .map(|record| record.token.delta.as_str())
            .collect();
        assert_eq!(text, "Hello you", "{path}");
        let numbers: Vec<u64> = tokens.iter().map(|record| record.token.n).collect();
        assert_eq!(numbers, (0..=last as u64).collect::<Vec<_>>());
        worker.stop().await;
        tokio::time::sleep(Duration::ZERO).await;
    }
}
