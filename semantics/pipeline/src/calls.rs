//! A case's calls as bodies of requests, and snapshots as the recordings have them.

use semantics::case::Call;
use serde_json::{Map, Value, json};

/// What LangGraph's cases were run with where a call says nothing.
const RECURSION_LIMIT: u32 = 12;

/// The body that starts the call's run. `questions` are the ids that an answer by id may name.
pub fn run(graph: &str, call: &Call, checkpoint_id: Option<&str>, questions: &[String]) -> Value {
    let mut body = json!({
        "assistant_id": graph,
        "stream_mode": ["updates", "values"],
        "stream_subgraphs": true,
        "stream_resumable": true,
        "config": {"recursion_limit": call.recursion_limit.unwrap_or(RECURSION_LIMIT)},
    });
    if let Some(id) = checkpoint_id {
        body["checkpoint_id"] = json!(id);
    }
    if let Some(durability) = &call.durability {
        body["durability"] = json!(durability);
    }
    match call.call.as_str() {
        "invoke" => body["input"] = call.input.clone().unwrap_or_default(),
        "continue" => body["input"] = Value::Null,
        "command" | "resume" => body["command"] = command(call, questions),
        other => panic!("the call {other} starts no run"),
    }
    body
}

fn command(call: &Call, questions: &[String]) -> Value {
    let mut command = Map::new();
    if call.call == "resume" {
        let resume = match &call.by_id {
            Some(answers) => {
                questions.iter().cloned().zip(answers.iter().cloned()).collect::<Map<String, Value>>().into()
            }
            None => call.value.clone().unwrap_or_default(),
        };
        command.insert("resume".to_owned(), resume);
    }
    let rest = [("update", &call.update), ("goto", &call.goto)];
    command.extend(rest.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))));
    Value::Object(command)
}

/// The body of an edit.
pub fn edit(call: &Call, checkpoint_id: Option<&str>) -> Value {
    let mut body = json!({"values": call.values, "as_node": call.as_node});
    if let Some(id) = checkpoint_id {
        body["checkpoint_id"] = json!(id);
    }
    body
}

/// A state as a recording shows it.
pub fn snapshot(state: &Value) -> Value {
    let task = |task: &Value| {
        json!({
            "name": task["name"],
            "error": !task["error"].is_null(),
            "interrupts": ordered(&task["interrupts"]),
        })
    };
    json!({
        "values": state["values"],
        "next": state["next"],
        "tasks": state["tasks"].as_array().into_iter().flatten().map(task).collect::<Vec<_>>(),
        "interrupts": ordered(&state["interrupts"]),
        "step": state["metadata"]["step"],
        "source": state["metadata"]["source"],
    })
}

fn ordered(interrupts: &Value) -> Vec<Value> {
    let values = interrupts.as_array().into_iter().flatten().map(|interrupt| interrupt["value"].clone());
    let mut values: Vec<Value> = values.collect();
    values.sort_by_key(Value::to_string);
    values
}
