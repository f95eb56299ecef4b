//! `classify` nodes: rules, and a classifier beside them.

use std::sync::Arc;

use graph::task::TaskResult;
use node_workers::{
    ModelRegistry, NodeRegistry,
    classifier::{Line, train},
};
use serde_json::{Value, json};

use crate::bench::Bench;

async fn picked(node: &str, channels: Value) -> TaskResult {
    let file = format!(
        "
version: 1
name: g
state: {{messages: {{type: messages}}, question: string, label: string, by: string, score: number}}
nodes:
  pick: {{kind: classify, {node}, update: {{label: answer.label, by: answer.by, score: answer.score}}}}
edges: [START -> pick, pick -> END]
"
    );
    let mut bench = Bench::new(&file).await;
    let line = |(text, label): (String, &str)| Line { text, label: label.to_owned() };
    let fruits = (0..30).map(|n| (format!("apples and pears, basket {n}"), "fruit"));
    let tools = (0..30).map(|n| (format!("a hammer with nails, box {n}"), "tool"));
    let (classifier, _) = train("kind", &fruits.chain(tools).map(line).collect::<Vec<_>>(), 0.2);
    bench.models = Some(Arc::new(ModelRegistry::new().with_classifier("kind", classifier)));
    let worker = bench.start(NodeRegistry::new());
    let result = bench.result_of(&bench.task("pick", channels)).await;
    worker.stop().await;
    result
}

fn said(text: &str) -> Value {
    json!({"messages": [{"type": "human", "content": "no"}, {"type": "human", "content": text}]})
}

fn written(result: &TaskResult, channel: &str) -> Value {
    assert_eq!(result.error, None);
    let found = result.writes.iter().find(|(name, _)| &**name == channel);
    found.map(|(_, value)| Value::clone(value)).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_rule_that_holds_goes_before_the_classifier() {
    let node = "classifier: kind, rules: [{if: 'text == \"hammers\"', label: one}, {if: tokens(text) > 1, label: two}]";
    for (text, label, by) in
        [("hammers", "one", "rule"), ("pears and pears", "two", "rule"), ("nail", "tool", "classifier")]
    {
        let result = picked(node, said(text)).await;
        assert_eq!((written(&result, "label"), written(&result, "by")), (json!(label), json!(by)), "{text}");
        assert!(result.calls.is_empty(), "no model is asked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_that_is_not_sure_is_not_believed() {
    let node = |min_score: f64| format!("text: state.question, classifier: kind, min_score: {min_score}, else: other");
    let asked = json!({"question": "apples and pears"});
    let sure = picked(&node(0.6), asked.clone()).await;
    let score = written(&sure, "score").as_f64().expect("a score");
    assert_eq!((written(&sure, "label"), written(&sure, "by")), (json!("fruit"), json!("classifier")));
    assert!((0.6..1.0).contains(&score), "{score}");
    let unsure = picked(&node(0.9999), asked).await;
    assert_eq!((written(&unsure, "label"), written(&unsure, "by")), (json!("other"), json!("else")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_classifier_that_is_not_there_says_what_to_do() {
    let result = picked("classifier: size", said("apples")).await;
    let message = result.error.expect("nobody has it").message;
    assert!(message.contains("[classifiers.size]"), "{message}");
}
