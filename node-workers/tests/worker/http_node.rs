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
use graph::{
    ids,
    task::{Destination, Handled, Reduction, TaskResult, Work},
};
use node_workers::NodeRegistry;
use schemas::{
    node_api::NodeAsk,
    record::{TaskRecord, TokenKind},
};
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
        .route("/echo", post(|Json(ask): Json<Value>| async move { Json(ask["input"]["q"].clone()) }))
        .route("/decide", post(decide))
        .route(
            "/reduce",
            post(|Json(ask): Json<Value>| async move {
                Json(json!({"value": [ask["left"][0], ask["writes"][0], ask["channel"]]}))
            }),
        )
        .route("/drips", post(drips))
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

/// Goes where the state's `out` says, and then to `saw` with what it was asked.
async fn decide(Json(ask): Json<Value>) -> Json<Value> {
    let mut answer = ask["input"]["out"].clone();
    if let Some(goto) = answer.get_mut("goto").and_then(Value::as_array_mut).filter(|goto| goto.len() == 3) {
        let names = ["kind", "path", "extra", "answers", "node"];
        let seen: Value =
            names.iter().map(|name| ((*name).to_owned(), ask[*name].clone())).collect::<serde_json::Map<_, _>>().into();
        goto.push(json!({"node": "saw", "input": seen}));
    }
    Json(answer)
}

/// A token at once, and the rest after 200 ms.
async fn drips() -> Response {
    let pieces = stream::unfold(0, |n| async move {
        let piece = ["{\"token\":\"a\"}\n", "{\"update\":{\"out\":\"done\"}}\n"].get(n)?;
        tokio::time::sleep(Duration::from_millis(n as u64 * 200)).await;
        Some((Ok::<_, std::io::Error>(*piece), n + 1))
    });
    ([("content-type", "application/x-ndjson")], Body::from_stream(pieces)).into_response()
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

/// As [`call`], of a task that is changed before it is issued.
async fn call_with(path: &str, more: &str, change: impl FnOnce(&mut TaskRecord)) -> (TaskResult, TaskRecord) {
    let bench = bench(serve().await, path, more).await;
    let worker = bench.start(NodeRegistry::new());
    let mut task = bench.task("call", json!({"q": "why"}));
    change(&mut task);
    let result = bench.result_of(&task).await;
    worker.stop().await;
    (result, task)
}

async fn call(path: &str, more: &str) -> (TaskResult, TaskRecord) {
    call_with(path, more, |_| {}).await
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
        "idempotency_key": out["key"], "version": 1, "kind": "task", "remaining_steps": 24, "recursion_limit": 25,
        "checkpoint_id": task.task.checkpoint_id, "user": null, "failure": null, "answers": [],
    });
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(&ask[name], value, "{name}");
    }
    assert!((1..=600_000).contains(&ask["timeout_ms"].as_u64().unwrap()), "{ask}");
    serde_json::from_value::<NodeAsk>(ask.clone()).expect("it is as the schema says");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_told_what_failed_and_for_whom() {
    let change = |task: &mut TaskRecord| {
        let error = graph::task::TaskError {
            kind: Some("OrderError".to_owned()),
            ..node_workers::failure::node_failed("no such order")
        };
        let handled = Handled { task_id: task.task.id, node: "look_up".to_owned(), error };
        task.task.handles = Some(Box::new(handled));
        task.task.answers = vec![Arc::new(json!("yes"))];
        Arc::make_mut(&mut task.envelope).principal.user = Some("ada".to_owned());
    };
    let (result, _) = call_with("/update", "", change).await;
    let ask = &result.writes[0].1["ask"];
    assert_eq!(ask["failure"], json!({"node": "look_up", "message": "no such order", "type": "OrderError"}));
    assert_eq!((&ask["user"], &ask["answers"]), (&json!("ada"), &json!(["yes"])));
}

/// What the service answers, and what comes of it.
async fn answered(answer: Value, answers: &[Value]) -> (TaskResult, TaskRecord) {
    let answers = answers.iter().cloned().map(Arc::new).collect();
    let change = move |task: &mut TaskRecord| {
        task.task.channels.insert("q".to_owned(), Arc::new(answer));
        task.task.answers = answers;
    };
    call_with("/echo", "", change).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_a_command() {
    let answer = json!({
        "update": [{"out": 1}, {"out": 2}],
        "goto": ["call", "END", {"node": "call", "input": {"q": "x"}}],
        "calls": [{"provider": "p", "model": "m", "usage": {"input_tokens": 3, "output_tokens": 5}}],
    });
    let (result, _) = answered(answer, &[json!("taken")]).await;
    let writes: Vec<_> = result.writes.iter().map(|(name, value)| (&**name, Value::clone(value))).collect();
    assert_eq!(writes, [("out", json!(1)), ("out", json!(2))], "in order");
    let sent = Destination::Send { node: "call".to_owned(), argument: Arc::new(json!({"q": "x"})) };
    assert_eq!(result.goto, [Destination::Node("call".to_owned()), sent], "END leads nowhere");
    assert_eq!(result.answered, 1, "all answers are taken unless told");
    assert_eq!((result.calls.len(), result.calls[0].usage.output_tokens), (1, 5));
    let (result, _) = answered(json!({"update": {"out": 7}, "goto": ["next"], "graph": "parent"}), &[]).await;
    let parent = result.parent.unwrap();
    assert_eq!((&*parent.writes[0].1, parent.goto), (&json!(7), vec![Destination::Node("next".to_owned())]));
    assert_eq!((result.writes, result.branches), (Arc::default(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_may_ask() {
    let question =
        json!({"interrupts": [{"value": "a?"}, {"value": "b?", "id": "mine", "response_schema": {"type": "boolean"}}]});
    let (result, task) = answered(question.clone(), &[]).await;
    let asked: Vec<_> = result.interrupts.iter().map(|asked| (asked.id.clone(), Value::clone(&asked.value))).collect();
    let id = |answered| ids::interrupt_id(&task.task.checkpoint_ns, answered);
    assert_eq!(asked, [(id(0), json!("a?")), ("mine".to_owned(), json!("b?"))]);
    assert_eq!(result.interrupts[1].response_schema.as_deref(), Some(&json!({"type": "boolean"})));
    let (result, task) = answered(question, &[json!(1), json!(2)]).await;
    assert_eq!((result.interrupts[0].id.clone(), result.answered), (ids::interrupt_id(&task.task.checkpoint_ns, 2), 2));
    let refused = json!({"error": {"message": "not a date"}, "answers_used": 0});
    let (result, _) = answered(refused, &[json!("tomorrow")]).await;
    assert_eq!((result.error.unwrap().message.as_str(), result.answered), ("not a date", 0), "the question stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misspelt_word_fails_the_task() {
    let (result, _) = answered(json!({"updat": {"out": 1}}), &[]).await;
    let error = result.error.unwrap();
    assert_eq!(error.kind.as_deref(), Some("bad_answer"));
    assert!(error.message.contains("unknown field `updat`"), "{}", error.message);
}

/// The graph of one node with two decisions: `first` is asked what the node's own answer says.
async fn decided(answer: Value, more: &str, to: &str) -> (TaskResult, TaskRecord) {
    let address = serve().await;
    let spec = graph::file::read(
        &format!(
            "
version: 1
name: g
state: {{q: {{}}, out: {{}}, other: {{default: 1}}}}
nodes:
  call: {{kind: http, url: \"http://{address}/echo\"{more}}}
edges: [START -> call, call -> END]
"
        ),
        None,
    );
    let mut spec = spec.spec.unwrap();
    let decide = |path: &str, to: Value| -> graph::spec::EdgeSpec {
        let url = format!("http://{address}{path}");
        serde_json::from_value(json!({"decide": {"from": "call", "decide": {"url": url}, "to": to}})).unwrap()
    };
    spec.edges.push(decide("/decide", serde_json::from_str(to).unwrap()));
    spec.edges.push(
        serde_json::from_value(json!({"when": {"from": "call", "cases": [{"to": [{"node": "call"}]}]}})).unwrap(),
    );
    let bench = Bench::of_spec(spec).await;
    let worker = bench.start(NodeRegistry::new());
    let mut task = bench.task("call", json!({"q": answer, "other": 1}));
    task.task.answers = vec![Arc::new(json!("first")), Arc::new(json!("second"))];
    let result = bench.result_of(&task).await;
    worker.stop().await;
    (result, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_decides_where_to_go() {
    let answer = json!({"update": {"out": {"goto": ["x", {"node": "y", "input": 1}, "END"]}}, "extra": {"k": 1}, "answers_used": 1});
    let (result, _) = decided(answer, "", "null").await;
    assert_eq!(result.branch_error, None);
    let seen = json!({"kind": "decision", "path": "pull", "extra": {"k": 1}, "answers": ["second"], "node": "call"});
    let expect = [
        Destination::Node("x".to_owned()),
        Destination::Send { node: "y".to_owned(), argument: Arc::new(json!(1)) },
        Destination::Send { node: "saw".to_owned(), argument: Arc::new(seen) },
        // The edge behind it, by CEL.
        Destination::Node("call".to_owned()),
    ];
    assert_eq!(result.branches, expect);
    assert_eq!(result.answered, 2, "what the node left, the decision took");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_may_ask_or_fail() {
    let asks = json!({"update": {"out": {"interrupts": [{"value": "where?"}]}}, "answers_used": 1});
    let (result, task) = decided(asks, "", "null").await;
    assert_eq!((result.interrupts.len(), result.writes), (1, Arc::default()), "what the node wrote is dropped");
    assert_eq!(result.interrupts[0].id, ids::interrupt_id(&task.task.checkpoint_ns, 2));
    let fails = json!({"update": {"out": {"error": {"message": "lost", "retryable": true}}}});
    let retry = ", retry: {max_attempts: 2, initial_interval: 1ms, jitter: false}";
    let (result, _) = decided(fails, retry, "null").await;
    assert_eq!((result.attempt, result.error), (2, None), "it is the attempt's error: tried again from the node on");
    assert_eq!(
        (result.branch_error.unwrap().message.as_str(), result.writes.len()),
        ("lost", 1),
        "the writes are kept"
    );
    let astray = json!({"update": {"out": {"goto": ["z"]}}});
    let (result, _) = decided(astray, "", "[\"call\"]").await;
    assert!(result.branch_error.unwrap().message.contains("goes to `z`, and `to` names call"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_engines_own_work_runs_no_node() {
    let address = serve().await;
    let mut spec: graph::spec::GraphSpec = serde_json::from_value(json!({
        "name": "g",
        "channels": {"out": {"reducer": {"http": {"url": format!("http://{address}/reduce")}}, "default": []}},
        "nodes": [{"name": "call", "kind": "http", "url": "http://127.0.0.1:1/"}],
        "edges": [],
    }))
    .unwrap();
    spec.edges.push(
        serde_json::from_value(json!({"when": {"from": "START", "cases": [{"to": [{"node": "call"}]}]}})).unwrap(),
    );
    let bench = Bench::of_spec(spec).await;
    let worker = bench.start(NodeRegistry::new());
    let mut decision = bench.task("call", json!({}));
    (decision.task.node, decision.task.work) =
        ("START".into(), Some(Box::new(Work::Decision { writes: Arc::default() })));
    bench.issue_on("call", &decision).await;
    let mut reduction = bench.task("reduce:out", json!({}));
    let asked = Reduction { channel: "out".to_owned(), value: Arc::new(json!([0])), values: vec![Arc::new(json!(1))] };
    reduction.task.work = Some(Box::new(Work::Reduction(asked)));
    bench.issue_on("call", &reduction).await;
    let results = bench.results(2).await;
    let of = |task: &TaskRecord| results.iter().find(|result| result.task_id == task.task.id).unwrap();
    assert_eq!(of(&decision).branches, [Destination::Node("call".to_owned())]);
    assert_eq!(*of(&reduction).writes[0].1, json!([0, 1, "out"]));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_service_is_given_up() {
    let (result, _) = call("/drips", ", stream: true").await;
    assert_eq!(*result.writes[0].1, json!("done"), "no timeout, no hurry");
    let bench = bench(serve().await, "/drips", ", stream: true").await;
    let mut spec = bench.spec.clone();
    spec.nodes[0].idle_timeout_ms = Some(40);
    let bench = Bench::of_spec(spec).await;
    let worker = bench.start(NodeRegistry::new());
    let error = bench.result_of(&bench.task("call", json!({}))).await.error.unwrap();
    assert_eq!((error.kind.as_deref(), error.retryable), (Some("NodeTimeoutError"), true));
    assert!(error.message.contains("idle timeout of 40 ms"), "{}", error.message);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_content_writes_nothing() {
    let (result, _) = call("/nothing", "").await;
    assert_eq!((result.error, result.writes), (None, Arc::default()));
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
