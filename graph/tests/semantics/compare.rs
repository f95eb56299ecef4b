//! How a call's outcome is held against what was recorded.

use serde_json::{Value, json};

use crate::view::Called;

pub fn call(got: &Called, expected: &Value) -> Result<(), String> {
    let error = expected["error"]["type"].as_str();
    if got.error.as_deref() != error {
        return Err(format!("error: got {:?}, expected {error:?}", got.error));
    }
    let expected_steps = expected["steps"].as_array().expect("steps");
    same("steps", &json!(steps(&got.steps)), &json!(steps(expected_steps)))?;
    if expected.get("state_error").is_some() {
        return Ok(());
    }
    same("state", &got.state, &expected["state"])?;
    same("history", &json!(got.history), &expected["history"])
}

fn same(what: &str, got: &Value, expected: &Value) -> Result<(), String> {
    if normal(got) == normal(expected) { Ok(()) } else { Err(format!("{what}: got {got}\nexpected {expected}")) }
}

/// The updates of a step arrive in a racy order: both sides are sorted.
fn steps(steps: &[Value]) -> Vec<Value> {
    let step = |step: &Value| {
        let mut updates: Vec<String> =
            step["updates"].as_array().expect("updates").iter().map(|update| text(&normal(update))).collect();
        updates.sort();
        json!({"updates": updates, "values": normal(&step["values"])})
    };
    steps.iter().map(step).collect()
}

/// Messages in one form.
fn normal(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(normal).collect(),
        Value::Object(fields) => {
            let mut fields: serde_json::Map<String, Value> =
                fields.iter().map(|(name, value)| (name.clone(), normal(value))).collect();
            if fields.contains_key("content")
                && let Some(role) = fields.remove("role")
            {
                let name = match role.as_str() {
                    Some("user") => "human",
                    Some("assistant") => "ai",
                    other => panic!("the role {other:?} doesn't occur"),
                };
                fields.insert("type".to_owned(), json!(name));
            }
            if fields.get("type").is_some_and(|name| name == "remove") {
                fields.entry("content").or_insert(json!(""));
            }
            Value::Object(fields)
        }
        other => other.clone(),
    }
}

/// JSON with sorted keys.
fn text(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}:{}", json!(name), text(value))).collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}
