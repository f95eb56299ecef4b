//! Budgets of a real process, killed with a call under way.

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
    assert_eq!(body["usage"]["input_tokens"], 0, "no call was sent: {body}");
}
