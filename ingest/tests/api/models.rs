//! `/models`: aliases that are changed while everything runs.

use std::time::Duration;

use http::{Method, Request};
use serde_json::{Value, json};

use crate::stage::{ACME, READER, Reply, Stage};

async fn ask(stage: &Stage, method: Method, path: &str, body: &Value) -> Reply {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("x-api-key", ACME).header("content-type", "application/json");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    stage.send(request.body(body.into()).unwrap()).await
}

/// Aliases are known a moment after the start.
async fn stage() -> Stage {
    let stage = Stage::with(|config| config.providers = Some(vec!["scripted".into()])).await;
    for _ in 0..200 {
        if stage.get("/models").await.status.as_u16() == 200 {
            return stage;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the aliases were never read");
}

#[tokio::test]
async fn an_alias_is_tried_promoted_and_rolled_back() {
    let stage = stage().await;
    let put = async |body: Value| ask(&stage, Method::PUT, "/models/answer-model", &body).await;
    let first = put(json!({"use": "scripted/one"})).await.expect(200).json();
    assert_eq!((&first["revision"], &first["current"]["targets"][0]["use"]), (&json!(1), &json!("scripted/one")));
    let tried = put(json!({"targets": [{"use": "scripted/two", "weight": 3}, {"use": "scripted/three"}],
        "fallback": ["scripted/one"], "canary_percent": 5}));
    let tried = tried.await.expect(200).json();
    assert_eq!((&tried["canary"]["percent"], &tried["canary"]["version"]), (&json!(5.0), &json!(2)));
    let promoted = ask(&stage, Method::POST, "/models/answer-model/promote", &Value::Null).await.expect(200).json();
    assert_eq!((&promoted["current"]["version"], promoted.get("canary")), (&json!(2), None));
    let back = ask(&stage, Method::POST, "/models/answer-model/rollback", &json!({"revision": 3})).await;
    let back = back.expect(200).json();
    assert_eq!((&back["current"]["version"], &back["changed"]), (&json!(1), &json!("rolled_back")));
    assert_eq!(stage.get("/models").await.expect(200).json()["data"], json!([back]));
    assert_eq!(
        ask(&stage, Method::POST, "/models/answer-model/rollback", &Value::Null).await.expect(400).code(),
        "invalid_value"
    );
    ask(&stage, Method::DELETE, "/models/answer-model", &Value::Null).await.expect(204);
    assert_eq!(stage.get("/models/answer-model").await.expect(404).code(), "not_found");
}

#[tokio::test]
async fn a_change_that_was_meant_for_another_state_is_refused() {
    let stage = stage().await;
    let put = async |body: Value| ask(&stage, Method::PUT, "/models/m", &body).await;
    put(json!({"use": "scripted/one", "revision": 0})).await.expect(200);
    assert_eq!(put(json!({"use": "scripted/two", "revision": 0})).await.expect(409).code(), "revision_mismatch");
    put(json!({"use": "scripted/two", "revision": 1})).await.expect(200);
}

#[tokio::test]
async fn what_can_be_no_alias_is_explained() {
    let stage = stage().await;
    for (name, body, says) in [
        ("m", json!({}), "at least one target"),
        ("m", json!({"use": "one"}), "no <provider>/<model>"),
        ("m", json!({"use": "other/one"}), "Add [providers.other]"),
        ("m", json!({"use": "scripted/a", "targets": [{"use": "scripted/b"}]}), "not both"),
        ("m", json!({"use": "scripted/a", "canary_percent": 5}), "publish one first"),
        ("m", json!({"use": "scripted/a", "canary": 5}), "canary"),
        ("a%20b", json!({"use": "scripted/a"}), "1 to 128 letters"),
    ] {
        let reply = ask(&stage, Method::PUT, &format!("/models/{name}"), &body).await.expect(400);
        let message = reply.json()["error"]["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(says), "{body}: {message}");
    }
    ask(&stage, Method::POST, "/models/m/promote", &Value::Null).await.expect(404);
    let request = Request::delete("/models/m").header("x-api-key", READER).body(axum::body::Body::empty()).unwrap();
    assert_eq!(stage.send(request).await.expect(403).code(), "permission_denied");
}

#[tokio::test]
async fn another_ingest_says_what_counts_here_too() {
    let stage = stage().await;
    let version = json!({"version": 4, "targets": [{"use": "scripted/x", "weight": 1}], "at": 1});
    let alias = json!({"revision": 7, "current": version, "newest": 4, "changed": "published", "at": 1});
    let news = json!({"at": 1, "fact": {"type": "model_alias", "data": {"name": "m", "alias": alias}}});
    stage.log.append("control", 0, event_log::Record::new("model/m", news.to_string())).await.unwrap();
    for _ in 0..200 {
        if stage.get("/models/m").await.json()["revision"] == 7 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the news never arrived");
}
