//! What is asked of servers of this dialect. Their answers: `models/recorded.rs`.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::models::{Answer, Cause, ModelSettings, StopReason, http::Dialect};

fn asked(messages: &[Value]) -> ModelRequest {
    ModelRequest {
        model: "claude-haiku-4-5".to_owned(),
        messages: messages.iter().cloned().map(Arc::new).collect(),
        ..ModelRequest::default()
    }
}

#[test]
fn messages_as_anthropic_wants_them() {
    let body = ask::body(&asked(&[
        json!({"type": "system", "content": "be kind"}),
        json!({"type": "human", "content": [
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
            {"type": "image", "url": "https://a/b.jpg"},
        ], "id": "1"}),
        json!({"type": "ai", "content": "", "tool_calls": [
            {"id": "a", "name": "find", "args": {"id": 7}}, {"id": "b", "name": "pay", "args": {}}]}),
        json!({"type": "tool", "content": "7", "tool_call_id": "a"}),
        json!({"type": "tool", "content": "no money", "tool_call_id": "b", "status": "error"}),
        json!({"role": "system", "content": "be brief"}),
        json!({"role": "user", "content": "and?"}),
        json!({"role": "assistant", "content": "so", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "find", "arguments": "{\"id\":8}"}}]}),
    ]));
    let expect = json!([
        {"role": "user", "content": [
            {"type": "text", "text": "what is it?"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://a/b.jpg"}},
        ]},
        {"role": "assistant", "content": [
            {"type": "tool_use", "id": "a", "name": "find", "input": {"id": 7}},
            {"type": "tool_use", "id": "b", "name": "pay", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "7"}]},
            {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "no money"}], "is_error": true},
            {"type": "text", "text": "and?"},
        ]},
        {"role": "assistant", "content": [
            {"type": "text", "text": "so"},
            {"type": "tool_use", "id": "c", "name": "find", "input": {"id": 8}},
        ]},
    ]);
    assert_eq!(body["messages"], expect);
    assert_eq!(body["system"], "be kind\n\nbe brief");
    let schema = json!({"type": "object"});
    let tools = json!([{"name": "find", "input_schema": schema}, {"name": "pay", "input_schema": schema}]);
    assert_eq!(
        (&body["tools"], &body["tool_choice"]),
        (&tools, &json!({"type": "none"})),
        "known, and not to be called"
    );
}

#[test]
fn settings_as_anthropic_wants_them() {
    let body = ask::body(&asked(&[json!({"type": "human", "content": "hi"})]));
    let expect = json!({"model": "claude-haiku-4-5", "max_tokens": 4096, "stream": true,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
    assert_eq!(body, expect, "nothing that wasn't asked for");
    let schema = json!({"type": "object"});
    let settings = ModelSettings {
        temperature: Some(0.5),
        top_p: Some(0.9),
        max_tokens: Some(100),
        stop: Some(vec!["END".to_owned()]),
        seed: Some(1),
    };
    let request = ModelRequest {
        answer: Some(Arc::new(schema.clone())),
        settings,
        ..asked(&[json!({"type": "human", "content": "hi"})])
    };
    let body = ask::body(&request);
    assert_eq!((&body["temperature"], &body["top_p"], &body["max_tokens"]), (&json!(0.5), &json!(0.9), &json!(100)));
    assert_eq!(body["stop_sequences"], json!(["END"]));
    assert_eq!(body["output_config"], json!({"format": {"type": "json_schema", "schema": schema}}));
    assert_eq!(body.get("seed"), None);
}

#[test]
fn a_message_in_one_piece() {
    let whole = json!({"type": "message", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "a", "name": "find", "input": {"id": 7}},
    ], "stop_reason": "tool_use", "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 5}});
    let mut answer = Answer::default();
    Blocks::of_whole(&whole).into_iter().for_each(|event| answer.take(event.unwrap()));
    assert_eq!((answer.text.as_str(), answer.reasoning.as_str()), ("so", "hm"));
    assert_eq!(
        (answer.tool_calls[0].arguments.as_str(), answer.stop_reason),
        ("{\"id\":7}", Some(StopReason::ToolCalls))
    );
    assert_eq!(answer.usage.map(|usage| (usage.input_tokens, usage.cached_tokens)), Some((5, 2)));
    let cut = json!({"type": "message", "content": [{"type": "text", "text": "so"}], "stop_reason": null});
    assert_eq!(Blocks::of_whole(&cut).pop().unwrap().unwrap_err().cause, Cause::Truncated);
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    assert_eq!(Blocks::of_whole(&error).pop().unwrap().unwrap_err().cause, Cause::ServerError);
}

type Heard = mpsc::UnboundedSender<(HeaderMap, Value)>;

async fn refused(State(heard): State<Heard>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    let _ = heard.send((headers, body));
    let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    (StatusCode::from_u16(529).unwrap(), [("retry-after", "3")], Json(error)).into_response()
}

/// An answer that goes on for ever; who hears of its end is told.
async fn endless(State(heard): State<Heard>) -> Response {
    let frame = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
    let pieces = futures_util::stream::unfold(Gone(heard), move |gone| async move {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Some((Ok::<_, std::convert::Infallible>(frame), gone))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(pieces)).into_response()
}

struct Gone(Heard);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.send((HeaderMap::new(), json!("gone")));
    }
}

async fn server() -> (String, mpsc::UnboundedReceiver<(HeaderMap, Value)>) {
    let (heard, hears) = mpsc::unbounded_channel();
    let router = Router::new()
        .route("/v1/messages", post(refused))
        .route("/endless/v1/messages", post(endless))
        .with_state(heard);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio_util::task::TaskTracker::new().spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), hears)
}

#[tokio::test]
async fn a_refusal_over_http_and_what_was_sent() {
    let (address, mut hears) = server().await;
    for (base_url, api_version, expect) in
        [(address.clone(), None, API_VERSION), (format!("{address}/v1/"), Some("2026-10-21".to_owned()), "2026-10-21")]
    {
        let settings = ServerSettings { api_version, ..ServerSettings::new("claude", base_url, Some("key".into())) };
        let claude = Anthropic::new(settings, reqwest::Client::new());
        let mut events = claude.stream(asked(&[json!({"type": "human", "content": "hi"})]));
        let error = events.next().await.unwrap().unwrap_err();
        assert_eq!((error.cause, error.retry_after), (Cause::ServerError, Some(Duration::from_secs(3))));
        assert_eq!(error.message, "529: Overloaded");
        let (headers, body) = hears.recv().await.unwrap();
        assert_eq!(
            (&headers["x-api-key"], &headers["anthropic-version"]),
            (&"key".parse().unwrap(), &expect.parse().unwrap())
        );
        assert_eq!(body["model"], "claude-haiku-4-5");
    }
}

#[tokio::test]
async fn an_answer_that_nobody_wants_any_more_is_ended_over_there() {
    let (address, mut hears) = server().await;
    let claude =
        Anthropic::new(ServerSettings::new("claude", format!("{address}/endless"), None), reqwest::Client::new());
    let mut events = claude.stream(asked(&[json!({"type": "human", "content": "hi"})]));
    let waited = tokio::time::timeout(Duration::from_millis(100), events.next()).await;
    assert!(waited.is_err(), "pings are no answer");
    drop(events);
    let (_, told) = tokio::time::timeout(Duration::from_secs(1), hears.recv()).await.unwrap().unwrap();
    assert_eq!(told, "gone");
}
