//! Nodes that ask people, go where they say, leave to the outer graph, handle a failure, or remember an input.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use async_trait::async_trait;
use graph::{
    ids,
    spec::GraphSpec,
    task::{Destination, Handled, Interrupt, TaskError, TaskResult},
};
use node_workers::{Node, NodeContext, NodeInput, NodeOutput, NodeRegistry, Stop, failure};
use schemas::record::TaskRecord;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::bench::Bench;

/// Asks twice, and fails in between where it is told to.
struct Asks;

#[async_trait]
impl Node for Asks {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let first = context.interrupt(json!("name?"))?;
        if input.get("fails").is_some() {
            return Err(failure::node_failed("boom").into());
        }
        let second = context.interrupt_for(json!({"age of": *first}), Some(Arc::new(json!({"type": "integer"}))))?;
        Ok(NodeOutput::update(json!({"out": [*first, *second]})))
    }
}

/// Goes as its input says.
struct Goes;

#[async_trait]
impl Node for Goes {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let send = Destination::Send { node: "b".to_owned(), argument: Arc::new(json!({"item": 1})) };
        let goto = vec![Destination::Node("b".to_owned()), send];
        let output = NodeOutput::command(json!({"out": context.remaining_steps()}), goto);
        Ok(if input.get("leaves").is_some() { output.to_parent() } else { output })
    }
}

/// Says what it handles.
struct Handles;

#[async_trait]
impl Node for Handles {
    async fn run(&self, _: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        Ok(NodeOutput::update(json!({"out": context.handles().map(|handled| &handled.error.message)})))
    }
}

struct Counts(AtomicU32);

#[async_trait]
impl Node for Counts {
    async fn run(&self, _: NodeInput<'_>, _: &NodeContext) -> Result<NodeOutput, Stop> {
        Ok(NodeOutput::update(json!({"out": self.0.fetch_add(1, Ordering::Relaxed)})))
    }
}

fn nodes() -> NodeRegistry {
    NodeRegistry::new()
        .with_node("asks", Asks)
        .with_node("goes", Goes)
        .with_node("handles", Handles)
        .with_node("counts", Counts(AtomicU32::new(0)))
}

fn spec() -> GraphSpec {
    let rust = |name: &str| json!({"name": name, "kind": "rust", "type": name});
    let with = |mut node: Value, more: Value| {
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        node
    };
    let cached = |name: &str, cache: Value| with(rust("counts"), json!({"name": name, "cache": cache}));
    serde_json::from_value(json!({
        "name": "g",
        "channels": {"out": {}, "fails": {}, "leaves": {}, "n": {}},
        "nodes": [
            rust("asks"),
            rust("goes"),
            rust("handles"),
            with(rust("asks"), json!({"name": "tries", "retry": {
                "max_attempts": 2, "initial_interval_ms": 1, "backoff_factor": 1.0, "max_interval_ms": 1,
                "jitter": false, "retry_on": ["node_failed"]}})),
            {"name": "human", "kind": "human", "question": "Refund {{ n }}?", "answer": {"type": "boolean"},
             "update": {"out": "answer"}, "goto": "answer ? 'asks' : 'goes'"},
            {"name": "says", "kind": "transform", "update": {"out": "failure.node + ': ' + failure.message"}},
            cached("all", json!({})),
            cached("by_key", json!({"ttl_ms": 60_000, "key": {"cel": "state.n % 10"}})),
        ],
        "edges": [],
    }))
    .unwrap()
}

async fn result(node: &str, channels: Value, change: impl FnOnce(&mut TaskRecord)) -> (TaskResult, TaskRecord) {
    let bench = Bench::of_spec(spec()).await;
    let worker = bench.start(nodes());
    let mut task = bench.task(node, channels);
    change(&mut task);
    let result = bench.result_of(&task).await;
    worker.stop().await;
    (result, task)
}

fn answers(answers: &[Value]) -> impl FnOnce(&mut TaskRecord) {
    let answers = answers.iter().cloned().map(Arc::new).collect();
    |task| task.task.answers = answers
}

fn asked(task: &TaskRecord, answered: usize, value: Value, schema: Option<Value>) -> Vec<Interrupt> {
    let id = ids::interrupt_id(&task.task.checkpoint_ns, answered);
    vec![Interrupt { id, value: Arc::new(value), response_schema: schema.map(Arc::new) }]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_runs_from_its_top_with_the_answers_so_far() {
    let (first, task) = result("asks", json!({}), answers(&[])).await;
    assert_eq!((first.interrupts, first.answered), (asked(&task, 0, json!("name?"), None), 0));
    let (second, task) = result("asks", json!({}), answers(&[json!("Ada")])).await;
    let question = asked(&task, 1, json!({"age of": "Ada"}), Some(json!({"type": "integer"})));
    assert_eq!((second.interrupts, second.answered, second.writes), (question, 1, Arc::default()));
    let (last, _) = result("asks", json!({}), answers(&[json!("Ada"), json!(36)])).await;
    assert_eq!((last.interrupts, last.answered), (Vec::new(), 2));
    assert_eq!(*last.writes[0].1, json!(["Ada", 36]));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_a_failed_attempt_took_are_reported() {
    for node in ["asks", "tries"] {
        let (failed, _) = result(node, json!({"fails": true}), answers(&[json!("Ada"), json!(36)])).await;
        assert_eq!((failed.error.map(|error| error.message), failed.answered), (Some("boom".to_owned()), 1), "{node}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_human_is_asked_and_the_answer_says_where_to_go() {
    let boolean = || Some(json!({"type": "boolean"}));
    let (first, task) = result("human", json!({"n": 20}), answers(&[])).await;
    assert_eq!(first.interrupts, asked(&task, 0, json!("Refund 20?"), boolean()));
    let (yes, _) = result("human", json!({"n": 20}), answers(&[json!(true)])).await;
    assert_eq!((&*yes.writes[0].1, yes.answered), (&json!(true), 1));
    assert_eq!(yes.goto, [Destination::Node("asks".to_owned())]);
    let (odd, _) = result("human", json!({"n": 20}), answers(&[json!("maybe")])).await;
    let error = odd.error.unwrap();
    assert_eq!((error.kind.as_deref(), odd.answered), (Some("AnswerDoesNotFit"), 0), "the question stays open");
    assert!(error.message.contains("answer again"), "{}", error.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_goes_beside_the_edges_or_to_the_outer_graph() {
    let sent = Destination::Send { node: "b".to_owned(), argument: Arc::new(json!({"item": 1})) };
    let goto = vec![Destination::Node("b".to_owned()), sent];
    let (here, _) = result("goes", json!({}), answers(&[])).await;
    assert_eq!((here.goto, &*here.writes[0].1, here.parent), (goto.clone(), &json!(24), None));
    let (left, _) = result("goes", json!({"leaves": true}), answers(&[])).await;
    let parent = left.parent.unwrap();
    assert_eq!((parent.goto, &*parent.writes[0].1), (goto, &json!(24)));
    assert_eq!((left.writes, left.goto), (Arc::default(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_is_given_the_failure() {
    let handles = |task: &mut TaskRecord| {
        let error = TaskError { kind: Some("OrderError".to_owned()), ..failure::node_failed("no such order") };
        let handled = Handled { task_id: Uuid::from_u128(5), node: "look_up".to_owned(), error };
        task.task.handles = Some(Box::new(handled));
    };
    let (rust, _) = result("handles", json!({}), handles).await;
    assert_eq!(*rust.writes[0].1, json!("no such order"));
    let (cel, _) = result("says", json!({}), handles).await;
    assert_eq!(*cel.writes[0].1, json!("look_up: no such order"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_node_runs_once_for_an_input() {
    let bench = Bench::of_spec(spec()).await;
    let worker = bench.start(nodes());
    let out = async |node: &str, n: i64, tenant: &str| {
        let mut task = bench.task(node, json!({"n": n}));
        Arc::make_mut(&mut task.envelope).tenant = tenant.to_owned();
        bench.result_of(&task).await.writes[0].1.clone()
    };
    let first = out("all", 1, "default").await;
    assert_eq!(out("all", 1, "default").await, first);
    let second = out("all", 2, "default").await;
    assert_ne!(second, first);
    assert_ne!(out("all", 1, "acme").await, first, "a tenant sees no other's");
    let by_key = out("by_key", 13, "default").await;
    assert_eq!(out("by_key", 23, "default").await, by_key);
    assert_ne!(out("by_key", 24, "default").await, by_key);
    worker.stop().await;
}
