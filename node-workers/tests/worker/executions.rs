//! One task: input and update mappings, conditions, retries, time-outs and panics.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use graph::{
    event::Event,
    spec::{EdgeSpec, SendSpec},
    task::{Destination, TaskError, TaskPath, TaskResult},
};
use node_workers::{Node, NodeContext, NodeInput, NodeOutput, NodeRegistry, Stop, failure};
use schemas::{
    record::{RunsRecord, TokenKind},
    topic::RUNS,
};
use serde_json::{Value, json};

use crate::bench::{Bench, WallClock};
use graph::world::Clock;

const FILE: &str = "
version: 1
name: g
state:
  n: {type: integer, default: 0}
  doubled: integer
  messages: {type: messages}
  items: {type: array, reducer: append}
nodes:
  double: {kind: transform, update: {doubled: state.n * 2}}
  mapped: {kind: rust, name: echo, input: {a: 'state.n + 1', b: \"'x'\"}, update: {items: '[out]'}}
  fan: {kind: transform, update: {items: '[1, 2]'}}
  each: {kind: transform, update: {items: '[state.n * 10]'}}
  says: {kind: rust, name: says}
  unset: {kind: transform, update: {doubled: state.doubled + 1}}
  wrong: {kind: transform, update: {n: '1'}}
  flaky: {kind: rust, name: flaky, retry: {max_attempts: 3, initial_interval: 1ms, jitter: false}}
  later: {kind: rust, name: later, retry: {max_attempts: 3}}
  slow: {kind: rust, name: slow, timeout: 50ms}
  panics: {kind: rust, name: panics}
edges:
  - START -> double
  - {from: double, when: [{if: state.doubled > 10, to: mapped}, {else: fan}]}
  - fan -> each
  - {from: wrong, when: [{if: state.doubled > 1, to: END}, {else: END}]}
  - mapped -> says
  - each -> unset
  - says -> wrong
  - unset -> flaky
  - flaky -> later, slow, panics
  - later -> END
  - slow -> END
  - panics -> END
";

/// The file's graph, with a fan-out that files can't name yet.
async fn bench() -> Bench {
    let mut spec = graph::file::read(FILE, None).spec.expect("the file has no errors");
    let fan_out = spec.edges.iter_mut().find(|edge| matches!(edge, EdgeSpec::Plain { from, .. } if from == &["fan"]));
    let send = SendSpec {
        to: "each".to_owned(),
        each: Some("state.items".to_owned()),
        binding: Some("i".to_owned()),
        with: [("n".to_owned(), "i".to_owned())].into(),
    };
    *fan_out.unwrap() = EdgeSpec::Send { from: "fan".to_owned(), send };
    Bench::of_spec(spec).await
}

/// Fails twice, then succeeds.
#[derive(Default)]
struct Flaky(AtomicU32);

#[async_trait]
impl Node for Flaky {
    async fn run(&self, _: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        context.tokens().emit(TokenKind::Text, "m", "trying");
        let call = context.calls().begin("p", "m", || Value::Null);
        match self.0.fetch_add(1, Ordering::Relaxed) {
            n @ 0..2 => {
                call.end("server_error", || Value::Null);
                Err(failure::retryable(format!("try {n}")).into())
            }
            _ => {
                call.end("ok", || Value::Null);
                Ok(NodeOutput::update(json!({"n": context.attempt()})))
            }
        }
    }
}

struct Slow;

#[async_trait]
impl Node for Slow {
    async fn run(&self, _: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let _cut_off = context.calls().begin("p", "slow", || Value::Null);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        Ok(NodeOutput::default())
    }
}

fn nodes() -> NodeRegistry {
    let later = || TaskError { retry_after_ms: Some(120_000), ..failure::retryable("come back later") };
    NodeRegistry::new()
        .with_function("echo", Ok)
        .with_function("says", |_| {
            Ok(json!({"messages": [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "ho"}]}))
        })
        .with_node("flaky", Flaky::default())
        .with_function("later", move |_| Err(later()))
        .with_node("slow", Slow)
        .with_function("panics", |_| panic!("at the disco"))
}

async fn check(node: &str, channels: Value, path: TaskPath, expect: impl FnOnce(&TaskResult)) {
    let bench = bench().await;
    let worker = bench.start(nodes());
    let mut task = bench.task(node, channels);
    task.task.path = path;
    let result = bench.result_of(&task).await;
    assert_eq!((result.issue, &*result.node), (1, node));
    expect(&result);
    worker.stop().await;
}

fn writes(result: &TaskResult) -> Value {
    assert_eq!(result.error, None);
    result.writes.iter().map(|(channel, value)| json!([channel, value])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transform_writes_and_its_condition_sees_that() {
    check("double", json!({"n": 6}), TaskPath::Pull, |result| {
        assert_eq!(writes(result), json!([["doubled", 12]]));
        assert_eq!(result.branches, [Destination::Node("mapped".to_owned())]);
    })
    .await;
    check("double", json!({"n": 5}), TaskPath::Pull, |result| {
        assert_eq!(result.branches, [Destination::Node("fan".to_owned())]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sends_see_the_state_with_the_tasks_own_writes() {
    check("fan", json!({"items": [0]}), TaskPath::Pull, |result| {
        let send = |item: i64| Destination::Send { node: "each".to_owned(), argument: Arc::new(json!({"n": item})) };
        assert_eq!(result.branches, [send(0), send(1), send(2)]);
    })
    .await;
    let path = TaskPath::Push { index: 1, argument: Arc::new(json!({"n": 4})) };
    check("each", json!({"n": 1}), path, |result| assert_eq!(writes(result), json!([["items", [40]]]))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_is_what_the_node_sees() {
    check("mapped", json!({"n": 6}), TaskPath::Pull, |result| {
        assert_eq!(writes(result), json!([["items", [{"a": 7, "b": "x"}]]]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_get_their_stored_form_and_the_same_ids_again() {
    let bench = bench().await;
    let worker = bench.start(nodes());
    let task = bench.task("says", json!({}));
    let mut again = task.clone();
    again.task.issue = 2;
    bench.issue(&task).await;
    bench.issue(&again).await;
    let results = bench.results(2).await;
    assert_eq!(results[0].writes, results[1].writes);
    let messages = &results[0].writes[0].1;
    assert_eq!((&messages[0]["type"], &messages[1]["type"]), (&json!("ai"), &json!("human")));
    assert!(messages[0]["id"].is_string() && messages[0]["id"] != messages[1]["id"]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_says_why() {
    check("unset", json!({}), TaskPath::Pull, |result| {
        let error = result.error.as_ref().unwrap();
        assert!(error.message.contains("state.doubled has no value yet"), "{}", error.message);
        assert_eq!(*result.writes, []);
    })
    .await;
    check("wrong", json!({"n": 6}), TaskPath::Pull, |result| {
        assert_eq!(writes(result), json!([["n", 1]]), "a condition that fails keeps the writes");
        assert!(result.branch_error.as_ref().unwrap().message.contains("doubled"));
        assert_eq!(result.branches, []);
    })
    .await;
    check("panics", json!({}), TaskPath::Pull, |result| {
        let error = result.error.as_ref().unwrap();
        assert_eq!((error.class.as_str(), error.message.as_str()), ("node_failed", "the node panicked: at the disco"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_are_one_execution_and_report_every_call() {
    check("flaky", json!({}), TaskPath::Pull, |result| {
        assert_eq!(writes(result), json!([["n", 3]]));
        assert_eq!(result.attempt, 3);
        let calls: Vec<_> = result.calls.iter().map(|call| (call.id.n, call.outcome.as_str())).collect();
        assert_eq!(calls, [(0, "server_error"), (1, "server_error"), (2, "ok")]);
        assert!(result.calls.iter().all(|call| call.id.execution == result.execution));
        let last = result.last_token.unwrap();
        assert_eq!((last.execution, last.attempt, last.n), (result.execution, 3, 2), "tokens count through");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeout_ends_the_attempt_and_reports_its_call() {
    check("slow", json!({}), TaskPath::Pull, |result| {
        let error = result.error.as_ref().unwrap();
        assert_eq!((error.kind.as_deref(), error.retryable), (Some("NodeTimeoutError"), true));
        assert_eq!(error.message, "node slow exceeded its timeout of 50 ms");
        assert_eq!(result.calls[0].outcome, "cancelled");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_is_not_made_in_the_worker() {
    let bench = bench().await;
    let worker = bench.start(nodes());
    let task = bench.task("later", json!({}));
    bench.issue(&task).await;
    let events = bench.events(1).await;
    let Event::TaskGivenBack { task_id, issue: 1, attempt: 1, not_before, .. } = events[0] else {
        panic!("{events:?}");
    };
    assert_eq!(task_id, task.task.id);
    assert!(not_before > WallClock.now() + 60_000);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_carries_its_runs_envelope_and_place() {
    let bench = bench().await;
    let worker = bench.start(nodes());
    let task = bench.task("double", json!({"n": 1}));
    bench.issue(&task).await;
    let records = bench.read::<RunsRecord>(RUNS, |records| records.len() == 1).await;
    assert_eq!(records[0].envelope, task.envelope);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_of_an_earlier_issue_count() {
    let bench = bench().await;
    let worker = bench.start(nodes());
    let mut task = bench.task("flaky", json!({}));
    task.task.attempt = 2;
    let result = bench.result_of(&task).await;
    assert_eq!((result.attempt, result.calls.len()), (3, 1));
    assert!(result.error.unwrap().message.contains("try 0"));
    worker.stop().await;
}
