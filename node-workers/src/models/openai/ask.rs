//! The request's body.

use graph::message;
use serde_json::{Map, Value, json};

use crate::models::{
    ModelRequest,
    content::{Called, Image, Part, Role, part, role, tool_calls},
};

/// `max_tokens` is what compatible servers know; OpenAI's own newer models take only its successor.
pub fn body(request: &ModelRequest, is_vendor: bool) -> Value {
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
    set(if is_vendor { "max_completion_tokens" } else { "max_tokens" }, settings.max_tokens.map(Value::from));
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
    let role = match role(stored) {
        Role::Assistant => "assistant",
        Role::System if stored.get("type").is_some_and(|kind| kind == "developer") => "developer",
        Role::System => "system",
        Role::Tool => "tool",
        Role::User => "user",
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
    let calls = tool_calls(stored);
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.iter().map(tool_call).collect());
    }
    message.into()
}

/// Blocks are for what a user shows; other roles send text.
fn content(role: &str, stored: &Value) -> Value {
    match stored.get("content") {
        Some(Value::Array(blocks)) if role == "user" => blocks.iter().map(block).collect(),
        _ => message::text(stored).into(),
    }
}

fn block(stored: &Value) -> Value {
    match part(stored) {
        // It may say how closely to look.
        Part::Image(_) if stored.pointer("/image_url/url").is_some() => stored.clone(),
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image(Image::Url(url)) => json!({"type": "image_url", "image_url": {"url": url}}),
        Part::Image(Image::Base64 { media_type, data }) => {
            json!({"type": "image_url", "image_url": {"url": format!("data:{media_type};base64,{data}")}})
        }
        Part::Other(block) => Value::clone(block),
    }
}

fn tool_call(call: &Called<'_>) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments.to_string()},
    })
}
