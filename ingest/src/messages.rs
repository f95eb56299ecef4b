//! Messages at the door: LangChain's JSON is kept, OpenAI's `{role, content}` and plain text are turned into it.
//! Ids are given once, derived from the run, so that a repeated request writes the same ones.

use graph::envelope::RunId;
use schemas::error::Code;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::refusal::Refusal;

/// A list of messages, or one, in LangChain's form.
pub(crate) fn normalized(value: Value, path: &str) -> Result<Value, Refusal> {
    match value {
        Value::Array(items) => {
            let items = items.into_iter().enumerate().map(|(n, item)| message(item, &format!("{path}.{n}")));
            items.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        Value::Object(mut wrapper) if wrapper.contains_key(OVERWRITE) => {
            let inner = wrapper.remove(OVERWRITE).expect("just looked");
            Ok(json!({ OVERWRITE: normalized(inner, path)? }))
        }
        one => Ok(Value::Array(vec![message(one, path)?])),
    }
}

/// `{"__overwrite__": v}` bypasses a channel's reducer.
pub(crate) const OVERWRITE: &str = "__overwrite__";

pub(crate) fn human(content: Value) -> Value {
    json!({"type": "human", "content": content})
}

/// Gives an id to each message that has none.
pub(crate) fn give_ids(value: &mut Value, channel: &str, run_id: RunId) {
    let list = match value {
        Value::Object(wrapper) => wrapper.get_mut(OVERWRITE).and_then(Value::as_array_mut),
        other => other.as_array_mut(),
    };
    for (n, message) in list.into_iter().flatten().enumerate() {
        let Some(fields) = message.as_object_mut() else { continue };
        if fields.get("id").is_none_or(Value::is_null) {
            let id = Uuid::new_v5(&run_id, format!("{channel}/{n}").as_bytes());
            fields.insert("id".to_owned(), Value::String(id.to_string()));
        }
    }
}

fn message(value: Value, path: &str) -> Result<Value, Refusal> {
    let bad = |says: &str| Err(Refusal::new(Code::InvalidValue, format!("no message: {says}")).param(path));
    let mut fields = match value {
        Value::String(text) => return Ok(human(Value::String(text))),
        Value::Array(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([Value::String(role), content]) => {
                Map::from_iter([("role".to_owned(), role.into()), ("content".to_owned(), content)])
            }
            Ok(_) | Err(_) => return bad("a pair is a role and a content"),
        },
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) => return bad("give text, or an object with `type` or `role`"),
    };
    if fields.get("type").is_some_and(|kind| !kind.is_string()) {
        return bad("`type` is text");
    }
    if !fields.contains_key("type") {
        let Some(Value::String(role)) = fields.remove("role") else {
            return bad("it has neither `type` (human, ai, tool, system) nor `role` (user, assistant, tool, system)");
        };
        let Some(kind) = kind_of(&role) else { return bad(&format!("there is no role `{role}`")) };
        fields.insert("type".to_owned(), kind.into());
        if let Some(Value::Array(calls)) = fields.remove("tool_calls") {
            let calls = calls.into_iter().map(tool_call).collect();
            fields.insert("tool_calls".to_owned(), Value::Array(calls));
        }
    }
    if !matches!(fields.get("content"), Some(Value::String(_) | Value::Array(_))) {
        match fields.get("content") {
            None | Some(Value::Null) if fields["type"] != "human" => {
                fields.insert("content".to_owned(), "".into());
            }
            Some(_) | None => return bad("its `content` is text or a list of blocks"),
        }
    }
    Ok(Value::Object(fields))
}

fn kind_of(role: &str) -> Option<&'static str> {
    match role {
        "user" | "human" => Some("human"),
        "assistant" | "ai" => Some("ai"),
        "system" | "developer" => Some("system"),
        "tool" | "function" => Some("tool"),
        _ => None,
    }
}

/// OpenAI's `{id, function: {name, arguments}}` as LangChain's `{id, name, args}`.
fn tool_call(mut call: Value) -> Value {
    let Some(mut function) = call.get_mut("function").map(Value::take) else { return call };
    let arguments = function.get_mut("arguments").map(Value::take).unwrap_or_default();
    let args = match &arguments {
        Value::String(text) => serde_json::from_str(text).unwrap_or(arguments),
        _ => arguments,
    };
    json!({"type": "tool_call", "id": call["id"].take(), "name": function["name"].take(), "args": args})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_becomes_langchains() {
        let check = |given: Value, expect: Value| assert_eq!(normalized(given, "input.messages").unwrap(), expect);
        check(json!("hi"), json!([{"type": "human", "content": "hi"}]));
        check(json!([{"role": "user", "content": "hi"}]), json!([{"type": "human", "content": "hi"}]));
        check(json!([["assistant", "yes"]]), json!([{"type": "ai", "content": "yes"}]));
        check(json!({"type": "ai", "content": [], "id": "1"}), json!([{"type": "ai", "content": [], "id": "1"}]));
        check(
            json!([{"role": "assistant", "content": null, "tool_calls":
                [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}]),
            json!([{"type": "ai", "content": "", "tool_calls":
                [{"type": "tool_call", "id": "c", "name": "f", "args": {"a": 1}}]}]),
        );
        check(json!({"__overwrite__": ["a"]}), json!({"__overwrite__": [{"type": "human", "content": "a"}]}));
    }

    #[test]
    fn what_is_no_message_is_named() {
        for bad in [json!([5]), json!([{"content": "x"}]), json!([{"role": "boss", "content": "x"}]), json!([["user"]])]
        {
            assert_eq!(normalized(bad.clone(), "m").unwrap_err().code(), Code::InvalidValue, "{bad}");
        }
        assert!(normalized(json!([{"role": "user"}]), "m").is_err());
    }

    #[test]
    fn ids_are_the_same_on_a_repeat() {
        let run = Uuid::from_u128(7);
        let mut first = json!([{"type": "human"}, {"type": "ai", "id": "kept"}]);
        let mut again = first.clone();
        give_ids(&mut first, "messages", run);
        give_ids(&mut again, "messages", run);
        assert_eq!(first, again);
        assert_eq!(first[1]["id"], "kept");
        give_ids(&mut again, "messages", Uuid::from_u128(8));
        assert_eq!(first, again, "an id is given once");
    }
}
