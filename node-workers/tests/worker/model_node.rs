//! `model` nodes with the scripted model.

use graph::task::{TaskResult, UsageSource};
use node_workers::NodeRegistry;
use serde_json::{Value, json};

use crate::bench::{Bench, PARTITIONS};

async fn bench(model: &str, fallback: &str, node: &str) -> Bench {
    Bench::new(&format!(
        "
version: 1
name: g
state: {{messages: {{type: messages}}, topic: string, text: string}}
models: {{m: {{use: \"scripted/{model}\", fallback: [{fallback}]}}}}
nodes:
  ask: {{kind: model, model: m, {node}}}
edges: [START -> ask, ask -> END]
"
    ))
    .await
}

async fn ask(model: &str, fallback: &str, node: &str, channels: Value) -> (TaskResult, Vec<String>) {
    let bench = bench(model, fallback, node).await;
    let worker = bench.start(NodeRegistry::new());
    let result = bench.result_of(&bench.task("ask", channels)).await;
    let count = result.last_token.map_or(0, |last| last.n as usize + 1);
    let tokens = bench.tokens(count).await;
    worker.stop().await;
    (result, tokens.into_iter().map(|record| record.token.delta).collect())
}

fn conversation() -> Value {
    json!({"messages": [{"type": "human", "content": "hello you", "id": "1"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_a_message_a_token_and_a_call() {
    let (result, tokens) = ask("echo", "", "messages: state.messages", conversation()).await;
    assert_eq!(result.error, None);
    let (channel, messages) = &result.writes[0];
    assert_eq!((&**channel, &messages[0]["content"]), ("messages", &json!("You said: hello you")));
    assert_eq!(messages[0]["usage_metadata"]["output_tokens"], 4);
    assert_eq!(tokens, ["You said: hello you"], "an answer that comes at once is one record");
    let call = &result.calls[0];
    assert_eq!((call.provider.as_str(), call.model.as_str(), call.outcome.as_str()), ("scripted", "echo", "ok"));
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens, call.usage_source), (2, 4, UsageSource::Reported));
    assert_eq!((call.usage.cost_nano_usd, call.usage.calls_unpriced), (0, 0), "the scripted model is known to be free");
    assert_eq!(call.answer.as_deref(), Some(&json!("You said: hello you")));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tokens_are_few_records_with_the_same_text() {
    let (result, tokens) =
        ask("echo?tokens=400&interval=1", "", "prompt: '{{ topic }}'", json!({"topic": "all"})).await;
    let text = result.calls[0].answer.as_ref().unwrap().as_str().unwrap().to_owned();
    assert_eq!(tokens.concat(), text);
    assert!(tokens.len() > 2, "they are shown as they come");
    assert!(tokens.len() < 200, "{} records for 400 tokens", tokens.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_sees_the_state_and_an_update_the_answer() {
    let node = "prompt: 'About {{ topic }}', update: {text: answer.text}";
    let (result, _) = ask("echo", "", node, json!({"topic": "rain"})).await;
    assert_eq!(&*result.writes[0].0, "text");
    assert_eq!(&*result.writes[0].1, &json!("You said: About rain"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_structured_answer_is_an_object() {
    let node =
        "prompt: 'my order {{ topic }}', answer: {topic: {enum: [billing, order]}}, update: {topic: answer.topic}";
    let (result, _) = ask("echo", "", node, json!({"topic": "x"})).await;
    assert_eq!(&*result.writes[0].1, &json!("order"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_target_answers_what_the_first_can_not() {
    let fallback = "\"scripted/second\"";
    let (result, _) = ask("first?fail=9&status=429", fallback, "prompt: '{{ topic }}'", json!({"topic": "hi"})).await;
    assert_eq!(result.error, None);
    let calls: Vec<_> = result.calls.iter().map(|call| (call.model.as_str(), call.outcome.as_str())).collect();
    assert_eq!(calls, [("first", "rate_limited"), ("second", "ok")]);

    let (result, _) = ask("first?fail=9&status=400", fallback, "prompt: '{{ topic }}'", json!({"topic": "hi"})).await;
    assert_eq!(result.calls.len(), 1, "a bad request is bad everywhere");
    assert_eq!(result.error.unwrap().kind.as_deref(), Some("bad_request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_answer_fails_and_its_tokens_are_spent() {
    let (result, tokens) =
        ask("echo?truncate=2", "\"scripted/second\"", "prompt: '{{ topic }}'", json!({"topic": "hi"})).await;
    let error = result.error.unwrap();
    assert_eq!((error.kind.as_deref(), error.retryable), (Some("truncated"), true));
    assert_eq!(result.calls.len(), 1, "what was shown is not followed by another model's answer");
    assert_eq!(tokens.concat(), "You said: ");
    let call = &result.calls[0];
    assert_eq!((call.usage_source, call.usage.output_tokens > 0), (UsageSource::Estimated, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_calls_are_made_again_by_the_nodes_policy() {
    let node = "prompt: '{{ topic }}', retry: {max_attempts: 3, initial_interval: 1ms, jitter: false}";
    let (result, _) = ask("echo?fail=2&status=503", "", node, json!({"topic": "hi"})).await;
    assert_eq!((result.error, result.attempt, result.calls.len()), (None, 3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_fails_too_often_is_asked_by_no_worker() {
    let bench = bench("first?fail=1000&status=503", "\"scripted/second\"", "prompt: '{{ topic }}'").await;
    let (one, other) = (bench.start(NodeRegistry::new()), bench.start(NodeRegistry::new()));
    let asked = async |partition: u32| {
        let task = bench.task("ask", json!({"topic": "hi"}));
        bench.issue_to(partition, &task).await;
        let result = bench.result(&task).await;
        assert_eq!(result.error, None);
        result.calls.iter().any(|call| call.model == "first")
    };
    let mut early = 0;
    while asked(0).await {
        early += 1;
    }
    // More, where the partition has gone over to the second worker meanwhile.
    assert!((5..10).contains(&early), "it is asked until it has failed five times in a row: {early}");
    // Each partition is of one of the two: by itself the other worker would have to see five failures, too.
    let mut late = 0;
    loop {
        let mut any = false;
        for partition in 0..PARTITIONS {
            let asked = asked(partition).await;
            late += u32::from(asked);
            any |= asked;
        }
        if !any {
            break;
        }
    }
    assert!(late < 5, "the other worker found out by itself: {late}");
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_every_model_fails_too_often_none_is_asked_and_the_wait_is_told() {
    let bench =
        bench("first?fail=1000&status=503&retry_after=30", "", "prompt: '{{ topic }}', retry: {max_attempts: 1}").await;
    let worker = bench.start(NodeRegistry::new());
    let mut last = TaskResult::default();
    for _ in 0..6 {
        last = bench.result_of(&bench.task("ask", json!({"topic": "hi"}))).await;
    }
    let error = last.error.expect("nobody answers");
    assert_eq!((error.class.as_str(), error.retryable, last.calls.len()), ("all_providers_open", true, 0));
    assert!(error.retry_after_ms.is_some_and(|wait| (20_000..=30_000).contains(&wait)), "{error:?}");
    worker.stop().await;
}
