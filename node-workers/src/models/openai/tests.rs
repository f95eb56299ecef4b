//! Streams of the shapes that real servers send, whole and cut.

use std::{convert::Infallible, sync::Arc};

use axum::response::IntoResponse;
use graph::task::Usage;
use run_store::items::{Embedder, Words};
use serde_json::json;

use super::*;
use crate::models::{Answer, StopReason, mock_server::mock_model_router, scripted::Scripted};

const TEXT: &str = concat!(
    "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}],\"usage\":null}\n\n",
    ": keep-alive\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Gr\u{fc}\u{df}\"},\"finish_reason\":null}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" Gott\"},\"finish_reason\":null}]}\r\n\r\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":3,\"total_tokens\":12,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n",
    "data: [DONE]\n\n",
);

const TOOLS: &str = concat!(
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"type\":\"function\",\"function\":{\"name\":\"find\",\"arguments\":\"\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"pay\",\"arguments\":\"{}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"id\\\":\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"7}\"}}]}}]}\n\n",
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}],\"usage\":{}}\n\n",
    "data: [DONE]\n\n",
);

async fn read(body: &[u8], piece: usize) -> Result<Answer, (ModelError, Answer)> {
    let pieces: Vec<Result<Bytes, Infallible>> =
        body.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    collect(events(stream::iter(pieces), Duration::from_secs(1))).await
}

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

#[tokio::test]
async fn a_text_is_the_same_in_any_pieces() {
    for piece in 1..TEXT.len() {
        let answer = read(TEXT.as_bytes(), piece).await.unwrap();
        assert_eq!(answer.text, "Gr\u{fc}\u{df} Gott");
        assert_eq!(answer.stop_reason, Some(StopReason::Stop));
        let usage = Usage { input_tokens: 9, output_tokens: 3, cached_tokens: 4, ..Usage::default() };
        assert_eq!(answer.usage, Some(usage));
    }
}

#[tokio::test]
async fn tool_calls_are_put_together_by_their_index() {
    let answer = read(TOOLS.as_bytes(), 7).await.unwrap();
    let calls: Vec<_> = answer.tool_calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
    assert_eq!(calls, [("a", "find", "{\"id\":7}"), ("b", "pay", "{}")]);
    assert_eq!((answer.reasoning.as_str(), answer.usage), ("hm", None), "`usage: {{}}` reports nothing");
    let message = answer.message("m").unwrap();
    assert_eq!(message["tool_calls"][0], json!({"id": "a", "name": "find", "args": {"id": 7}, "type": "tool_call"}));
}

/// An answer is a success only where the model had said that it stopped; a text that is cut never is.
#[tokio::test]
async fn cut_anywhere_it_is_no_success_without_the_end() {
    for body in [TEXT, TOOLS] {
        let marker = body.find("\"finish_reason\":\"").unwrap();
        let whole = read(body.as_bytes(), 64).await.unwrap();
        for cut in 0..body.len() {
            match read(&body.as_bytes()[..cut], 5).await {
                Ok(answer) => {
                    assert!(cut > marker, "cut at {cut} it was taken for whole");
                    assert_eq!((answer.text, answer.tool_calls), (whole.text.clone(), whole.tool_calls.clone()));
                }
                Err((error, _)) => assert_eq!(error.cause, Cause::Truncated, "cut at {cut}"),
            }
        }
    }
}

#[tokio::test]
async fn errors_in_the_middle_are_classified() {
    let table = [
        ("{\"error\":{\"message\":\"slow down\",\"code\":\"rate_limit_exceeded\"}}", Cause::RateLimited),
        ("{\"error\":{\"message\":\"no money\",\"type\":\"insufficient_quota\"}}", Cause::QuotaExhausted),
        ("{\"error\":{\"message\":\"?\",\"code\":502}}", Cause::ServerError),
        ("{\"error\":\"boom\"}", Cause::ServerError),
        ("{\"choices\":", Cause::ServerError),
    ];
    for (chunk, cause) in table {
        let body =
            format!("{}data: {chunk}\n\ndata: [DONE]\n\n", &TEXT[..TEXT.find("data: {\"choices\":[],").unwrap()]);
        let (error, answer) = read(body.as_bytes(), 16).await.unwrap_err();
        assert_eq!(error.cause, cause, "{chunk}");
        assert_eq!(answer.text, "Gr\u{fc}\u{df} Gott", "what came before the error was read");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stands_still_times_out() {
    let body = stream::iter([Ok::<_, Infallible>(Bytes::from(&TEXT[..200]))]).chain(stream::pending());
    let (error, _) = collect(events(body, Duration::from_secs(30))).await.unwrap_err();
    assert_eq!(error.cause, Cause::Timeout);
}

#[test]
fn refusals_by_status_and_code() {
    let table = [
        (429, "{\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"m\"}}", Cause::RateLimited),
        (429, "{\"error\":{\"code\":\"insufficient_quota\",\"message\":\"m\"}}", Cause::QuotaExhausted),
        (400, "{\"error\":{\"code\":\"context_length_exceeded\"}}", Cause::ContextLength),
        (400, "nonsense", Cause::BadRequest),
        (401, "", Cause::Denied),
        (402, "", Cause::QuotaExhausted),
        (404, "{\"error\":{\"code\":\"model_not_found\"}}", Cause::NotFound),
        (422, "{\"detail\":\"x\"}", Cause::BadRequest),
        (500, "<html>", Cause::ServerError),
        (503, "{\"error\":{\"code\":\"server_is_overloaded\"}}", Cause::ServerError),
        (504, "", Cause::Timeout),
        (529, "", Cause::ServerError),
    ];
    for (status, body, cause) in table {
        let error = refusal::of_status(status, &Default::default(), body.as_bytes());
        assert_eq!(error.cause, cause, "{status} {body}");
    }
    let mut headers = reqwest::header::HeaderMap::new();
    for (name, value, expect) in
        [("retry-after", "x", None), ("retry-after", "2", Some(2_000)), ("retry-after-ms", "150", Some(150))]
    {
        headers.insert(name, value.parse().unwrap());
        let error = refusal::of_status(429, &headers, b"");
        assert_eq!(error.retry_after, expect.map(Duration::from_millis), "{name}: {value}");
    }
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
        OpenAiEmbeddings::new(OpenAiSettings::new("mock", address, Some("key".into())), "words", reqwest::Client::new())
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
    let settings = OpenAiSettings::new("mock", format!("http://{address}/v1/"), Some("key".into()));
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
    let events = answer::of_whole(&whole);
    assert!(matches!(events.last(), Some(Ok(ModelEvent::Done { stop_reason: StopReason::Stop }))), "{events:?}");
}
