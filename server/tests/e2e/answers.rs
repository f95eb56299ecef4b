//! Answers of a model over HTTP that are given again.

use std::path::Path;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    backends::Backend,
    model::CountingModel,
    process::{Process, dev_with, folder, get, post},
};

/// Each process has a log and a store of its own: what they share is Redis alone, as node-workers on one log do.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_was_answered_another_takes() {
    let store = folder();
    let Some(mut redis) = Backend::start("redis", store.path()).await else { return };
    let model = CountingModel::start().await;
    let start = async |folder: &Path| {
        let mut environment = model.environment("");
        environment.push(("MILLSTREAM__CACHE__EXACT", "true".to_owned()));
        environment.push(("MILLSTREAM__QUOTA__REDIS", format!("redis://{}", redis.address)));
        dev_with(folder, &[], &environment).await
    };
    let folders = [folder(), folder()];
    let (one, other) = tokio::join!(start(folders[0].path()), start(folders[1].path()));
    let before = model.calls();
    let ask = async |server: &Process, message: &str| -> bool {
        let (status, answer) = post(server, "/chat", &json!({"message": message})).await;
        assert_eq!(status, 200, "{answer}");
        answer["message"]["response_metadata"]["cache"] == "exact"
    };
    assert!(!ask(&one, "What costs a coffee?").await);
    assert!(ask(&other, "What costs a coffee?").await);
    assert_eq!(model.calls() - before, 1);
    redis.kill();
    let (_, ready) = get(&one, "/ready").await;
    assert_eq!(ready["checks"].get("quotas"), None, "nothing waits for it: {ready}");
    assert!(!ask(&one, "What costs a tea?").await, "without Redis the model is asked");
    assert!(!ask(&other, "What costs a tea?").await);
    assert!(ask(&other, "What costs a tea?").await, "each process still has its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_question_is_asked_once() {
    let (model, folder) = (CountingModel::start().await, folder());
    let mut environment = model.environment("?latency=300");
    environment.push(("MILLSTREAM__CACHE__EXACT", "true".to_owned()));
    let server = dev_with(folder.path(), &[], &environment).await;
    let before = model.calls();
    let ask = async |message: &str| -> Value {
        let (status, answer) = post(&server, "/chat", &json!({"message": message})).await;
        assert_eq!(status, 200, "{answer}");
        answer
    };
    let together = join_all((0..20).map(|_| ask("What costs a coffee?"))).await;
    assert_eq!(model.calls() - before, 1, "nobody asks what somebody is asking");
    let cached = |answer: &Value| answer["message"]["response_metadata"]["cache"] == "exact";
    assert_eq!(together.iter().filter(|answer| cached(answer)).count(), 19);
    let text = &together[0]["message"]["content"];
    assert!(together.iter().all(|answer| answer["message"]["content"] == *text));
    assert!(text.as_str().is_some_and(|text| text.contains("coffee")), "{text}");

    let again = ask("What costs a coffee?").await;
    assert!(cached(&again));
    assert_eq!((&again["usage"]["input_tokens"], &again["message"]["usage_metadata"]), (&json!(0), &Value::Null));
    assert!(!cached(&ask("What costs a tea?").await));
    assert_eq!(model.calls() - before, 2);
}
