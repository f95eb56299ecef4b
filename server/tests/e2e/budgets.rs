//! Budgets of a real process: killed with a call under way, and those of a graph.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::{
    model::CountingModel,
    process::{PATIENCE, dev_with, folder, post},
};

#[tokio::test]
async fn what_a_killed_process_had_set_aside_is_not_spent_again() {
    let folder = folder();
    let model = CountingModel::start().await;
    let mut environment = model.environment("?latency=2000&tokens=4");
    // Room for one call at a time: what a call may answer is most of it.
    environment.push(("MILLSTREAM__BUDGETS__OUTPUT_TOKENS_MAX", "10000".to_owned()));
    environment.push(("MILLSTREAM__BUDGETS__GLOBAL_DAY_TOKENS", "15000".to_owned()));
    let mut server = dev_with(folder.path(), &[], &environment).await;
    let (status, answer) = post(&server, "/chat", &json!({"message": "hello"})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["usage"]["calls_unpriced"], 1, "nobody knows what this model costs: {answer}");

    let body = json!({"input": {"messages": [{"role": "user", "content": "a b"}]}, "mode": "background"});
    let (status, run) = post(&server, "/graphs/chat/runs", &body).await;
    assert_eq!(status, 202, "{run}");
    let journal = folder.path().join("data/budgets/journal");
    let began = Instant::now();
    while std::fs::read_to_string(&journal).unwrap().matches(r#"{"reserved":{"ask""#).count() < 2 {
        assert!(began.elapsed() < PATIENCE, "nothing was set aside for the second call");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.restart();
    server.wait_until_ready().await;

    let sent = reqwest::Client::new().post(server.url("/chat")).timeout(PATIENCE).json(&json!({"message": "hello"}));
    let refused = sent.send().await.unwrap();
    let told = |name: &str| refused.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!((refused.status().as_u16(), told("x-should-retry").as_deref()), (429, Some("false")));
    let body: serde_json::Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "budget_exceeded", "{body}");
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("the budget global_day of 15000 tokens is used up"), "{message}");
    let budget = &body["error"]["budget"];
    assert_eq!(
        (&budget["scope"], &budget["unit"], &budget["limit"]),
        (&json!("global_day"), &json!("tokens"), &json!(15_000))
    );
    assert!(budget["resets_at"].as_str().is_some_and(|at| at.ends_with("T00:00:00.000Z")), "{budget}");
    assert_eq!(body["usage"]["input_tokens"], 0, "no call was sent: {body}");
}

const TWO_CALLS: &str = r#"
version: 1
name: careful
state: {topic: string, messages: {type: messages}}
input: [topic]
models: {m: {use: "openai/echo?tokens=300"}}
nodes:
  first: {kind: model, model: m, max_tokens: 400, prompt: "{{ topic }}"}
  second: {kind: model, model: m, max_tokens: 400, prompt: "{{ topic }}"}
edges: [START -> first, first -> second, second -> END]
"#;

#[tokio::test]
async fn a_run_that_may_not_cost_more_pauses_and_goes_on() {
    let (folder, model) = (folder(), CountingModel::start().await);
    let config = folder.path().join("millstream.toml");
    // A dollar for a million tokens.
    std::fs::write(&config, "[prices.openai.\"*\"]\ninput = 1.0\noutput = 1.0\n").unwrap();
    let server = dev_with(folder.path(), &["--config", config.to_str().unwrap()], &model.environment("")).await;
    let publish = async |limits: &str| {
        let file = format!("{TWO_CALLS}limits: {limits}\n");
        let sent = reqwest::Client::new().put(server.url("/graphs/careful")).body(file);
        let answer = sent.header("content-type", "application/yaml").send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    let body = json!({"input": {"topic": "ships"}, "mode": "wait"});

    // Less than what one call took and what another may take.
    publish("{cost_usd: 0.0006}").await;
    let (status, failed) = post(&server, "/graphs/careful/runs", &body).await;
    assert_eq!((status, &failed["error"]["code"]), (429, &json!("budget_exceeded")), "{failed}");
    let budget = &failed["error"]["budget"];
    assert_eq!(
        (&budget["scope"], &budget["limit"], &budget["resets_at"]),
        (&json!("run"), &json!(600_000), &json!(null))
    );
    assert_eq!(model.calls(), 1, "the second call was not sent");

    publish("{cost_usd: 0.0006, on_budget: pause}").await;
    let (status, paused) = post(&server, "/graphs/careful/runs", &body).await;
    assert_eq!((status, &paused["status"]), (200, &json!("interrupted")), "{paused}");
    assert_eq!(paused["interrupts"][0]["value"]["kind"], "budget_exceeded", "{paused}");
    assert_eq!(model.calls(), 2);
    let resume = format!("/graphs/careful/runs/{}/resume", paused["run_id"].as_str().unwrap());
    let (status, done) = post(&server, &resume, &json!({"answer": "go on", "mode": "wait"})).await;
    assert_eq!((status, &done["status"]), (200, &json!("success")), "{done}");
    assert_eq!(done["output"]["messages"].as_array().map(Vec::len), Some(2), "{done}");
    assert_eq!(model.calls(), 3, "the first node's call was not made again");
}
