//! Answers of a model over HTTP that are given again.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    model::CountingModel,
    process::{dev_with, folder, post},
};

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
