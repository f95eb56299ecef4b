//! What a client can get wrong, and the sentence that it gets for it.

use axum::body::Body;
use http::Request;
use serde_json::{Value, json};

use crate::stage::{ACME, Reply, Stage};

async fn raw(stage: &Stage, path: &str, media: Option<&str>, body: impl Into<Body>) -> Reply {
    let mut request = Request::post(path).header("x-api-key", ACME);
    if let Some(media) = media {
        request = request.header("content-type", media);
    }
    stage.send(request.body(body.into()).unwrap()).await
}

#[tokio::test]
async fn every_mistake_is_named_and_nothing_is_appended() {
    let stage = Stage::new().await;
    let check = async |body: Value, status: u16, code: &str, param: &str, says: &str| {
        let reply = stage.post("/graphs/support/runs", body.clone()).await.expect(status);
        assert_eq!(reply.code(), code, "{body}");
        let error = reply.json()["error"].clone();
        assert_eq!(error["param"].as_str().unwrap_or("-"), param, "{body}");
        assert!(error["message"].as_str().unwrap().contains(says), "{body}: {error}");
        assert_eq!(error["request_id"], reply.header("x-request-id"));
    };
    check(json!({"inptu": {}}), 400, "unknown_field", "inptu", "did you mean `input`?").await;
    check(json!({"input": 5}), 400, "invalid_value", "input", "expected a map").await;
    check(json!({}), 400, "invalid_value", "input", "give `input`").await;
    check(json!({"input": {"mesages": []}}), 400, "unknown_field", "input.mesages", "did you mean `messages`?").await;
    check(json!({"input": {"topic": 5}}), 422, "schema_violation", "input.topic", "string").await;
    check(
        json!({"input": {"messages": [{"role": "boss", "content": ""}]}}),
        422,
        "schema_violation",
        "input.messages.0",
        "boss",
    )
    .await;
    check(json!({"input": {}, "context": {"local": "x"}}), 400, "unknown_field", "context.local", "`locale`").await;
    check(json!({"input": {}, "context": {"locale": 1}}), 422, "schema_violation", "context.locale", "string").await;
    check(json!({"input": {}, "thread_id": ""}), 400, "invalid_value", "thread_id", "1 to 255").await;
    check(json!({"input": {}, "thread_id": "a".repeat(256)}), 400, "invalid_value", "thread_id", "1 to 255").await;
    check(json!({"input": {}, "user": ""}), 400, "invalid_value", "user", "1 to 255").await;
    check(json!({"input": {}, "config": {"deadline": "soon"}}), 400, "invalid_value", "config.deadline", "10m").await;
    check(json!({"input": {}, "config": {"recursion_limit": 0}}), 400, "invalid_value", "config.recursion_limit", "1")
        .await;
    check(json!({"input": {}, "config": {"tags": vec!["t"; 33]}}), 400, "invalid_value", "config.tags", "32").await;
    check(
        json!({"input": {}, "config": {"metadata": {"m": "x".repeat(17_000)}}}),
        400,
        "invalid_value",
        "config.metadata",
        "16384",
    )
    .await;
    check(
        json!({"input": {}, "config": {"model": {"temp": 1}}}),
        400,
        "unknown_field",
        "config.model.temp",
        "temperature",
    )
    .await;
    assert!(stage.records().await.is_empty());
}

#[tokio::test]
async fn what_is_not_built_is_501_with_its_name() {
    let stage = Stage::new().await;
    for (option, value) in [("webhook", json!("http://x"))] {
        let mut body = json!({"input": {"messages": "x"}});
        body[option] = value;
        let reply = stage.post("/graphs/support/runs", body).await.expect(501);
        assert_eq!((reply.code(), reply.header("x-should-retry")), ("not_implemented".to_owned(), "false"));
        assert_eq!(reply.json()["error"]["param"], option);
        assert!(reply.json()["error"]["message"].as_str().unwrap().contains(option));
    }
    let path = format!("/graphs/support/runs/{}/feedback", uuid::Uuid::nil());
    assert_eq!(stage.post(&path, json!({})).await.expect(501).code(), "not_implemented");
    assert!(stage.records().await.is_empty());
}

#[tokio::test]
async fn bodies_are_json_of_a_bounded_size() {
    let stage = Stage::with(|config| config.body_bytes_max = 1_000).await;
    let path = "/graphs/support/runs";
    let media = Some("application/json");
    let malformed = raw(&stage, path, media, r#"{"input": {"messages": "x"}"#).await.expect(400);
    assert_eq!(malformed.code(), "bad_json");
    assert!(malformed.text.contains("line 1 column 27"), "{}", malformed.text);
    assert_eq!(raw(&stage, path, media, vec![0xff, 0xfe]).await.expect(400).code(), "bad_json");
    assert_eq!(raw(&stage, path, media, "[".repeat(900)).await.expect(400).code(), "bad_json");
    assert_eq!(raw(&stage, path, None, "{}").await.expect(415).code(), "unsupported_media_type");
    assert_eq!(raw(&stage, path, Some("text/plain"), "{}").await.expect(415).code(), "unsupported_media_type");
    assert_eq!(raw(&stage, path, media, " ".repeat(10 << 20)).await.expect(413).code(), "request_too_large");
    let endless = Body::from_stream(futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(" ".repeat(100))));
    assert_eq!(raw(&stage, path, media, endless).await.expect(413).code(), "request_too_large");
    let broken = futures_util::stream::iter([Ok("{"), Err(std::io::Error::other("gone"))]);
    assert_eq!(raw(&stage, path, media, Body::from_stream(broken)).await.expect(400).code(), "bad_json");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408() {
    let stage = Stage::with(|config| config.body_timeout = std::time::Duration::from_millis(20)).await;
    let never = Body::from_stream(futures_util::stream::pending::<Result<String, std::io::Error>>());
    let reply = raw(&stage, "/graphs/support/runs", Some("application/json"), never).await.expect(408);
    assert_eq!(reply.code(), "request_timeout");
}

#[tokio::test]
async fn addresses_that_are_none() {
    let stage = Stage::new().await;
    assert_eq!(stage.post("/graphs/nobody/runs", json!({"input": {}})).await.expect(404).code(), "graph_not_found");
    assert_eq!(stage.get("/graphs/nobody").await.expect(404).code(), "graph_not_found");
    assert_eq!(stage.get("/nothing/here").await.expect(404).code(), "not_found");
    assert_eq!(stage.get("/graphs/%ff").await.expect(404).code(), "not_found");
    assert_eq!(stage.post("/graphs", json!({})).await.expect(405).code(), "method_not_allowed");
    assert_eq!(stage.get("/threads/x/nothing").await.expect(404).json(), json!({"detail": "Not Found"}));
}

#[tokio::test]
async fn too_many_at_once_are_refused() {
    let stage = Stage::with(|config| config.requests_in_flight_max = 0).await;
    let reply = stage.get("/graphs").await.expect(503);
    assert_eq!((reply.code(), reply.header("retry-after")), ("queue_full".to_owned(), "1"));
    stage.get("/health").await.expect(200);
}
