//! The request's body.

use std::collections::BTreeSet;

use graph::message;
use serde_json::{Map, Value, json};

use crate::models::{
    ModelRequest,
    content::{Called, Image, Part, Role, parts, role, system_text, tool_calls},
};

/// The dialect wants a limit with every request: one that each of its models allows.
const MAX_TOKENS: u32 = 4_096;

/// There is no seed in this dialect.
pub fn body(request: &ModelRequest) -> Value {
    let settings = &request.settings;
    let mut body = Map::new();
    body.insert("model".to_owned(), request.model.as_str().into());
    body.insert("max_tokens".to_owned(), settings.max_tokens.unwrap_or(MAX_TOKENS).into());
    body.insert("messages".to_owned(), messages(request));
    body.insert("stream".to_owned(), true.into());
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    set("system", system_text(request.messages.iter().map(|stored| &**stored)).map(Value::from));
    set("temperature", settings.temperature.map(Value::from));
    set("top_p", settings.top_p.map(Value::from));
    set("stop_sequences", settings.stop.clone().map(Value::from));
    let past = tools_of_the_past(request);
    set("tool_choice", past.is_some().then(|| json!({"type": "none"})));
    set("tools", past);
    let format = |schema: &Value| json!({"format": {"type": "json_schema", "schema": schema}});
    set("output_config", request.answer.as_deref().map(format));
    body.into()
}

/// Calls in the conversation are refused where no tool is declared: those that were called are, and may not be called.
fn tools_of_the_past(request: &ModelRequest) -> Option<Value> {
    let calls = request.messages.iter().flat_map(|stored| tool_calls(stored));
    let names: BTreeSet<&str> = calls.filter_map(|call| call.name).collect();
    let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
    (!names.is_empty()).then(|| names.into_iter().map(tool).collect())
}

/// Turns alternate: what one side says in several messages, results of tools above all, is one turn.
fn messages(request: &ModelRequest) -> Value {
    let mut turns: Vec<(&str, Vec<Value>)> = Vec::new();
    for stored in request.messages.iter() {
        let (side, blocks) = match role(stored) {
            Role::System => continue,
            Role::User => ("user", parts(stored).iter().filter_map(block).collect()),
            Role::Assistant => ("assistant", said(stored)),
            Role::Tool => ("user", vec![tool_result(stored)]),
        };
        match turns.last_mut() {
            Some((last, known)) if *last == side => known.extend(blocks),
            _ if blocks.is_empty() => {}
            _ => turns.push((side, blocks)),
        }
    }
    turns.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

fn said(stored: &Value) -> Vec<Value> {
    let text = message::text(stored);
    let calls = tool_calls(stored);
    block(&Part::Text(&text)).into_iter().chain(calls.iter().map(tool_use)).collect()
}

fn tool_use(call: &Called<'_>) -> Value {
    json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments})
}

fn tool_result(stored: &Value) -> Value {
    let content: Vec<Value> = parts(stored).iter().filter_map(block).collect();
    let mut result = json!({"type": "tool_result", "tool_use_id": stored.get("tool_call_id"), "content": content});
    if stored.get("status").is_some_and(|status| status == "error") {
        result["is_error"] = true.into();
    }
    result
}

/// None for an empty text, which is refused.
fn block(part: &Part<'_>) -> Option<Value> {
    let image = |source: Value| json!({"type": "image", "source": source});
    Some(match part {
        Part::Text("") => return None,
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image(Image::Url(url)) => image(json!({"type": "url", "url": url})),
        Part::Image(Image::Base64 { media_type, data }) => {
            image(json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        Part::Other(block) => Value::clone(block),
    })
}
