//! Routes: which alias a call asks, and what is told of it.

use std::sync::Arc;

use graph::task::TaskResult;
use node_workers::{
    ModelRegistry, NodeRegistry,
    classifier::{Line, train},
    models::scripted::Scripted,
};
use serde_json::{Value, json};

use crate::bench::Bench;

fn models() -> ModelRegistry {
    let line = |(text, label): (String, &str)| Line { text, label: label.to_owned() };
    let simple = (0..30).map(|n| (format!("where is parcel {n}"), "simple"));
    let hard = (0..30).map(|n| (format!("why do reports differ, case {n}"), "hard"));
    let (classifier, _) = train("kind", &simple.chain(hard).map(line).collect::<Vec<_>>(), 0.2);
    ModelRegistry::new().provider(Scripted::default()).with_classifier("kind", classifier)
}

async fn asked(route: &str, text: &str, thread_age_ms: u64) -> TaskResult {
    asked_of(route, json!([{"type": "human", "content": text, "id": "1"}]), thread_age_ms).await
}

async fn asked_of(route: &str, messages: Value, thread_age_ms: u64) -> TaskResult {
    let file = format!(
        "
version: 1
name: g
state: {{messages: {{type: messages}}}}
models:
  small: {{use: scripted/small}}
  large: {{use: scripted/large}}
  judge: {{use: scripted/judge}}
  broken: {{use: 'scripted/broken?fail=9&status=400'}}
  answer: {{route: [{route}]}}
nodes:
  ask: {{kind: model, model: answer, system: 'Be short.'}}
edges: [START -> ask, ask -> END]
"
    );
    let mut bench = Bench::new(&file).await;
    bench.models = Some(Arc::new(models()));
    let worker = bench.start(NodeRegistry::new());
    let mut task = bench.task("ask", json!({"messages": messages}));
    task.task.thread_age_ms = thread_age_ms;
    let result = bench.result_of(&task).await;
    worker.stop().await;
    result
}

/// Which models were called, and what the message says of its route.
fn told(result: &TaskResult) -> (Vec<&str>, Value) {
    assert_eq!(result.error, None);
    let message = &result.writes[0].1[0];
    (result.calls.iter().map(|call| call.model.as_str()).collect(), message["response_metadata"]["route"].clone())
}

fn route(tier: &str, by: &str) -> Value {
    json!({"alias": "answer", "tier": tier, "by": by})
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_step_that_says_an_alias_counts() {
    let steps = "{if: tokens(text) > 20 || tools || messages > 1, to: large}, {if: thread_age_seconds >= 60, to: large}, \
                 {classifier: kind, min_score: 0.55, to: {simple: small}}, {else: large}";
    for (text, age, tier, by) in [
        ("where is my parcel", 59_999, "small", "classifier"),
        ("where is my parcel", 60_000, "large", "rule"),
        ("why do these reports differ", 0, "large", "else"),
        (&"where is my parcel ".repeat(9), 0, "large", "rule"),
    ] {
        let result = asked(steps, text, age).await;
        assert_eq!(told(&result), (vec![tier], route(tier, by)), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_a_message_is_may_be_said_in_openais_words() {
    let steps = "{if: text == 'hello' && messages == 1, to: small}, {else: large}";
    let messages = json!([{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hello"}]);
    assert_eq!(told(&asked_of(steps, messages, 0).await), (vec!["small"], route("small", "rule")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_asked_for_a_label_is_a_call_that_nobody_sees() {
    let steps = "{model: judge, to: {hard: large, simple: small}}, {else: large}";
    let result = asked(steps, "is this simple", 0).await;
    assert_eq!(told(&result), (vec!["judge", "small"], route("small", "model")));
    assert_eq!(result.calls[0].answer.as_deref(), Some(&json!(r#"{"label":"simple"}"#)));
    let last = result.last_token.expect("the answer was shown");
    assert_eq!(last.n, 0, "and the label was not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_can_not_say_a_label_leaves_it_to_the_next_step() {
    let steps = "{model: broken, to: {hard: large, simple: small}}, {else: small}";
    let result = asked(steps, "is this hard", 0).await;
    assert_eq!(told(&result), (vec!["broken", "small"], route("small", "else")));
}
