//! What is asked of servers of this dialect, and the mock server that speaks it. Their answers: `models/recorded.rs`.

use std::{sync::Arc, time::Duration};

use axum::response::IntoResponse;
use futures_util::StreamExt;
use run_store::items::{Embedder, Words};
use serde_json::{Value, json};

use super::*;
use crate::models::{Answer, Cause, StopReason, http::Dialect, mock_server::mock_model_router, scripted::Scripted};

async fn collect(
    mut events: BoxStream<'static, Result<ModelEvent, ModelError>>,
) -> Result<Answer, (ModelError, Answer)> {
    let mut answer = Answer::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => answer.take(event),
            Err(error) => return Err((error, answer)),
        }
    }
    Ok(answer)
}

#[test]
fn messages_as_openai_wants_them() {
    let request = ModelRequest {
        model: "m".to_owned(),
        messages: [
            json!({"type": "system", "content": "be kind"}),
            json!({"type": "human", "content": [{"type": "text", "text": "hi"}], "id": "1"}),
            json!({"type": "ai", "content": "", "tool_calls": [{"id": "a", "name": "find", "args": {"id": 7}}]}),
            json!({"type": "tool", "content": [{"type": "text", "text": "7"}], "tool_call_id": "a"}),
            json!({"role": "user", "content": "as is"}),
            json!({"type": "human", "content": [
                {"type": "image", "base64": "AAAA", "mime_type": "image/jpeg"},
                {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
                {"type": "image_url", "image_url": {"url": "https://a/c.png", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ]}),
        ]
        .map(Arc::new)
        .into(),
        ..ModelRequest::default()
    };
    let body = ask::body(&request, false);
    assert_eq!(
        body["messages"],
        json!([
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": "", "tool_calls":
                [{"id": "a", "type": "function", "function": {"name": "find", "arguments": "{\"id\":7}"}}]},
            {"role": "tool", "content": "7", "tool_call_id": "a"},
            {"role": "user", "content": "as is"},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}},
                {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
                {"type": "image_url", "image_url": {"url": "https://a/c.png", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            ]},
        ])
    );
    assert_eq!(body["stream_options"], json!({"include_usage": true}));
}

#[tokio::test]
async fn embeddings_are_asked_for_and_asked_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refusals = Arc::new(std::sync::Mutex::new(vec![429, 503]));
    let serving = tokio_util::task::TaskTracker::new();
    let refuse = axum::middleware::from_fn(move |request: axum::extract::Request, next: axum::middleware::Next| {
        let refused = refusals.lock().unwrap().pop();
        async move {
            match refused {
                Some(status) => axum::http::StatusCode::from_u16(status).unwrap().into_response(),
                None => next.run(request).await,
            }
        }
    });
    let router = mock_model_router().layer(refuse);
    serving.spawn(async move { axum::serve(listener, router).await });
    let of = |address: String| {
        OpenAiEmbeddings::new(ServerSettings::new("mock", address, Some("key".into())), "words", reqwest::Client::new())
    };
    let texts = ["red apple".to_owned(), "Green".to_owned()];
    let words = Words { dims: 64 };
    let vectors = of(format!("http://{address}/v1/")).embed(&texts).await.unwrap();
    assert_eq!(vectors, texts.map(|text| words.vector(&text)), "after a 503 and a 429");
    let error = of(format!("http://{address}/none")).embed(&["x".to_owned()]).await.unwrap_err();
    assert!(!error.retryable && error.message.starts_with("mock/words: 404"), "{error}");
    let error = of("http://127.0.0.1:1/v1".to_owned()).embed(&["x".to_owned()]).await.unwrap_err();
    assert!(error.retryable && error.message.contains("can't be reached"), "{error}");
}

/// The scripted model over HTTP answers what it answers in process.
#[tokio::test]
async fn the_mock_server_speaks_the_dialect() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio_util::task::TaskTracker::new();
    serving.spawn(async move { axum::serve(listener, mock_model_router()).await });
    let settings = ServerSettings::new("mock", format!("http://{address}/v1/"), Some("key".into()));
    let remote = OpenAi::new(settings, reqwest::Client::new());
    let local = Scripted::default();
    let ask = |model: &str| ModelRequest {
        model: model.to_owned(),
        messages: [Arc::new(json!({"type": "human", "content": "one two three"}))].into(),
        ..ModelRequest::default()
    };
    for model in ["echo", "echo?tokens=40&interval=1", "echo?latency=5"] {
        let expect = collect(local.stream(ask(model))).await.unwrap();
        assert_eq!(collect(remote.stream(ask(model))).await.unwrap(), expect, "{model}");
    }
    let (error, answer) = collect(remote.stream(ask("echo?truncate=2"))).await.unwrap_err();
    assert_eq!((error.cause, answer.text.as_str()), (Cause::Truncated, "You said: "));
    let (error, _) = collect(remote.stream(ask("echo?fail=1&status=429&retry_after=7"))).await.unwrap_err();
    assert_eq!((error.cause, error.retry_after), (Cause::RateLimited, Some(Duration::from_secs(7))));

    let whole: Value = reqwest::Client::new()
        .post(format!("http://{address}/v1/chat/completions"))
        .json(&json!({"model": "echo", "messages": [{"role": "user", "content": "hi"}]}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(whole["choices"][0]["message"]["content"], "You said: hi");
    let events = Chunks::of_whole(&whole);
    assert!(matches!(events.last(), Some(Ok(ModelEvent::Done { stop_reason: StopReason::Stop }))), "{events:?}");
}
