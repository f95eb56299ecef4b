//! The scripted model behind OpenAI's wire format: what `millstream mock-model` serves.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{StreamExt, stream};
use graph::task::Usage;
use run_store::items::Words;
use serde_json::{Value, json};

use super::{Answer, Cause, ModelError, ModelEvent, ModelProvider, ModelRequest, ModelSettings, scripted::Scripted};

/// `POST /v1/chat/completions` (streamed or not), `POST /v1/embeddings` and `GET /v1/models`.
pub fn mock_model_router() -> Router {
    Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/v1/embeddings", post(embed))
        .route("/v1/models", get(models))
        .with_state(Arc::new(Scripted::default()))
}

async fn models() -> Json<Value> {
    Json(json!({"object": "list", "data": [{"id": "echo", "object": "model", "created": 0, "owned_by": "millstream"}]}))
}

/// Texts are near that share words. `dimensions` numbers, 64 unless told; as base64 where that is asked for.
async fn embed(Json(body): Json<Value>) -> Response {
    let texts: Vec<&str> = match body.get("input") {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(texts)) if texts.iter().all(Value::is_string) => {
            texts.iter().filter_map(Value::as_str).collect()
        }
        Some(_) | None => {
            return refuse(&ModelError::new(Cause::BadRequest, "input: give a text or a list of texts"));
        }
    };
    let dims = body.get("dimensions").and_then(Value::as_u64).filter(|dims| (1..=4_096).contains(dims));
    let words = Words { dims: dims.unwrap_or(64) as usize };
    let in_base64 = body.get("encoding_format").is_some_and(|format| format == "base64");
    let embedding = |text: &str| match in_base64 {
        true => STANDARD.encode(words.vector(text).iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>()).into(),
        false => json!(words.vector(text)),
    };
    let one =
        |(index, text): (usize, &&str)| json!({"object": "embedding", "index": index, "embedding": embedding(text)});
    let data: Vec<Value> = texts.iter().enumerate().map(one).collect();
    let tokens: u64 = texts.iter().map(|text| graph::expression::estimated_tokens(text)).sum();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Json(json!({"object": "list", "data": data, "model": body.get("model"), "usage": usage})).into_response()
}

async fn complete(State(scripted): State<Arc<Scripted>>, Json(body): Json<Value>) -> Response {
    let request = request_of(&body);
    let model = request.model.clone();
    let mut events = scripted.stream(request);
    let first = match events.next().await {
        Some(Err(error)) => return refuse(&error),
        Some(Ok(first)) => Some(Ok(first)),
        None => None,
    };
    let events = stream::iter(first).chain(events);
    if body.get("stream").and_then(Value::as_bool) != Some(true) {
        return whole(&model, events.collect().await);
    }
    let usage_wanted = body.pointer("/stream_options/include_usage").and_then(Value::as_bool) == Some(true);
    let opening = chunk(&model, json!({"role": "assistant", "content": ""}), Value::Null);
    let mut usage = None;
    let chunks = events.flat_map(move |event| stream::iter(chunks_of(&model, event, &mut usage, usage_wanted)));
    let sse =
        stream::iter([opening.to_string()]).chain(chunks).map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    Sse::new(sse).into_response()
}

fn request_of(body: &Value) -> ModelRequest {
    let number = |name: &str| body.get(name).and_then(Value::as_f64);
    let limit = ["max_completion_tokens", "max_tokens"].iter().find_map(|name| body.get(name)?.as_u64());
    ModelRequest {
        model: body.get("model").and_then(Value::as_str).unwrap_or("echo").to_owned(),
        messages: body.get("messages").and_then(Value::as_array).into_iter().flatten().cloned().map(Arc::new).collect(),
        answer: body.pointer("/response_format/json_schema/schema").cloned().map(Arc::new),
        settings: ModelSettings {
            temperature: number("temperature"),
            top_p: number("top_p"),
            max_tokens: limit.and_then(|limit| limit.try_into().ok()),
            ..ModelSettings::default()
        },
        call_id: String::new(),
        trace: None,
    }
}

/// Usage is held back until the answer's end: its chunk is the last one.
fn chunks_of(
    model: &str,
    event: Result<ModelEvent, ModelError>,
    held: &mut Option<Usage>,
    usage_wanted: bool,
) -> Vec<String> {
    match event {
        Ok(ModelEvent::Text(text)) => vec![chunk(model, json!({"content": text}), Value::Null).to_string()],
        Ok(ModelEvent::Reasoning(text)) => {
            vec![chunk(model, json!({"reasoning_content": text}), Value::Null).to_string()]
        }
        Ok(ModelEvent::ToolCall { index, id, name, arguments }) => {
            let call = json!({"index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": arguments}});
            vec![chunk(model, json!({"tool_calls": [call]}), Value::Null).to_string()]
        }
        Ok(ModelEvent::Usage(usage)) => {
            *held = usage_wanted.then_some(usage);
            Vec::new()
        }
        Ok(ModelEvent::Done { stop_reason }) => {
            let finish = chunk(model, json!({}), stop_reason.as_str().into());
            let usage = held.take().map(|usage| {
                let mut chunk = chunk(model, json!({}), Value::Null);
                chunk["choices"] = json!([]);
                chunk["usage"] = usage_json(usage);
                chunk
            });
            let mut last: Vec<String> =
                [Some(finish), usage].into_iter().flatten().map(|chunk| chunk.to_string()).collect();
            last.push("[DONE]".to_owned());
            last
        }
        Err(error) => vec![error_body(&error).to_string()],
    }
}

fn chunk(model: &str, delta: Value, finish_reason: Value) -> Value {
    json!({
        "id": "chatcmpl-mock", "object": "chat.completion.chunk", "created": 0, "model": model,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
        "usage": null,
    })
}

fn whole(model: &str, events: Vec<Result<ModelEvent, ModelError>>) -> Response {
    let mut answer = Answer::default();
    for event in events {
        match event {
            Ok(event) => answer.take(event),
            Err(error) => return refuse(&error),
        }
    }
    let Some(stop_reason) = answer.stop_reason else {
        return refuse(&ModelError::new(Cause::ServerError, "scripted to break off"));
    };
    Json(json!({
        "id": "chatcmpl-mock", "object": "chat.completion", "created": 0, "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer.text},
            "finish_reason": stop_reason.as_str()}],
        "usage": usage_json(answer.usage.unwrap_or_default()),
    }))
    .into_response()
}

fn usage_json(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    })
}

fn refuse(error: &ModelError) -> Response {
    let status = match error.cause {
        Cause::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        Cause::Denied => StatusCode::UNAUTHORIZED,
        Cause::NotFound => StatusCode::NOT_FOUND,
        Cause::BadRequest | Cause::ContextLength | Cause::ContentFilter => StatusCode::BAD_REQUEST,
        Cause::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Cause::QuotaExhausted => StatusCode::PAYMENT_REQUIRED,
        Cause::ServerError | Cause::Truncated | Cause::Unreachable | Cause::Cancelled => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let mut response = (status, Json(error_body(error))).into_response();
    if let Some(wait) = error.retry_after
        && let Ok(value) = wait.as_secs().to_string().parse()
    {
        response.headers_mut().insert("retry-after", value);
    }
    response
}

fn error_body(error: &ModelError) -> Value {
    json!({"error": {"message": error.message, "type": error.cause.as_str(), "param": null, "code": null}})
}
