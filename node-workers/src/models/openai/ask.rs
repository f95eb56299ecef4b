//! The request's body.

use serde_json::{Map, Value, json};

use crate::models::{ModelRequest, text_of};

/// `max_tokens` is what compatible servers know; OpenAI's own newer models take only its successor.
pub fn body(request: &ModelRequest, is_openai: bool) -> Value {
    let mut body = Map::new();
    body.insert("model".to_owned(), request.model.as_str().into());
    body.insert("messages".to_owned(), request.messages.iter().map(|stored| message(stored)).collect());
    body.insert("stream".to_owned(), true.into());
    body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    let settings = &request.settings;
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    set("temperature", settings.temperature.map(Value::from));
    set("top_p", settings.top_p.map(Value::from));
    set(if is_openai { "max_completion_tokens" } else { "max_tokens" }, settings.max_tokens.map(Value::from));
    set("stop", settings.stop.clone().map(Value::from));
    set("seed", settings.seed.map(Value::from));
    set("response_format", request.answer.as_deref().map(response_format));
    body.into()
}

fn response_format(schema: &Value) -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}})
}

/// A stored message (LangChain's JSON) in OpenAI's shape; one that has a `role` already goes as it is.
fn message(stored: &Value) -> Value {
    if stored.get("role").is_some() {
        return stored.clone();
    }
    let kind = stored.get("type").and_then(Value::as_str).unwrap_or("human");
    let role = match kind {
        "ai" | "AIMessageChunk" => "assistant",
        "system" | "developer" => kind,
        "tool" | "function" => "tool",
        _ => "user",
    };
    let mut message = Map::new();
    message.insert("role".to_owned(), role.into());
    message.insert("content".to_owned(), content(role, stored));
    if let Some(name) = stored.get("name").filter(|name| name.is_string()) {
        message.insert("name".to_owned(), name.clone());
    }
    if let Some(id) = stored.get("tool_call_id") {
        message.insert("tool_call_id".to_owned(), id.clone());
    }
    if let Some(calls) = stored.get("tool_calls").and_then(Value::as_array).filter(|calls| !calls.is_empty()) {
        message.insert("tool_calls".to_owned(), calls.iter().map(tool_call).collect());
    }
    message.into()
}

/// Blocks are for what a user shows; other roles send text.
fn content(role: &str, stored: &Value) -> Value {
    match stored.get("content") {
        Some(content @ Value::Array(_)) if role == "user" => content.clone(),
        _ => text_of(stored).into(),
    }
}

fn tool_call(call: &Value) -> Value {
    let args = call.get("args").cloned().unwrap_or_else(|| json!({}));
    json!({
        "id": call.get("id"),
        "type": "function",
        "function": {"name": call.get("name"), "arguments": args.to_string()},
    })
}
