//! How a call's outcome is held against what was recorded.

use serde_json::{Value, json};

/// What one call gave.
pub struct Called {
    /// The error's type.
    pub error: Option<String>,
    pub steps: Vec<Value>,
    pub state: Value,
    pub history: Vec<Value>,
}

pub fn call(got: &Called, expected: &Value) -> Result<(), String> {
    let error = expected["error"]["type"].as_str();
    if got.error.as_deref() != error {
        return Err(format!("error: got {:?}, expected {error:?}", got.error));
    }
    let expected_steps = expected["steps"].as_array().expect("steps");
    let failed = error.is_some();
    same("steps", &json!(settled(steps(&got.steps), failed)), &json!(settled(steps(expected_steps), failed)))?;
    if expected.get("state_error").is_some() {
        return Ok(());
    }
    same("state", &got.state, &expected["state"])?;
    same("history", &json!(got.history), &expected["history"])
}

fn same(what: &str, got: &Value, expected: &Value) -> Result<(), String> {
    if normal(got) == normal(expected) { Ok(()) } else { Err(format!("{what}: got {got}\nexpected {expected}")) }
}

/// One `values` event, with the updates since the last one.
struct Step {
    updates: Vec<Value>,
    values: Value,
}

impl Step {
    /// The run's own graph asked.
    fn asks(&self) -> bool {
        let asks = |update: &Value| {
            let questions = update["__interrupt__"].as_array();
            update["in"] == json!([]) && questions.is_some_and(|questions| !questions.is_empty())
        };
        self.updates.iter().any(asks)
    }
}

fn steps(steps: &[Value]) -> Vec<Step> {
    let step = |step: &Value| Step {
        updates: step["updates"].as_array().expect("updates").iter().map(update).collect(),
        values: normal(&step["values"]),
    };
    steps.iter().map(step).collect()
}

/// Questions of parallel tasks of a subgraph come in the order of a race. A handler that is kept shows as taken from before,
/// where LangGraph runs it again.
fn update(shown: &Value) -> Value {
    let mut update = normal(shown);
    let Value::Object(fields) = &mut update else { return update };
    if let Some(Value::Array(questions)) = fields.get_mut("__interrupt__") {
        questions.sort_by_key(text);
    }
    if fields.keys().any(|name| name.starts_with("__error_handler__")) {
        fields.remove("__metadata__");
    }
    update
}

/// What is a race in LangGraph is poured into one: the order of the updates of a step, and from the first question on
/// the order of updates and of further questions. What a failed run showed after a question is left out.
fn settled(mut steps: Vec<Step>, failed: bool) -> Vec<Value> {
    if let Some(place) = steps.iter().position(Step::asks) {
        let mut rest = steps.split_off(place);
        if !failed {
            let mut first = rest.remove(0);
            let mut kept = Vec::new();
            for mut step in rest {
                let asks = step.asks();
                first.updates.append(&mut step.updates);
                if !asks {
                    kept.push(step);
                }
            }
            steps.push(first);
            steps.extend(kept);
            steps.retain(|step| !step.values.is_null());
        }
    }
    let sorted = |step: Step| {
        let mut updates: Vec<String> = step.updates.iter().map(text).collect();
        updates.sort();
        json!({"updates": updates, "values": step.values})
    };
    steps.into_iter().map(sorted).collect()
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
