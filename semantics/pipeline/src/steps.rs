//! A stream of `updates` and `values` as the recordings have it: an entry for each `values` of the run's own graph, with the
//! updates since the last one.

use serde_json::{Map, Value, json};

use crate::client::Event;

#[derive(Debug, Default)]
pub struct Streamed {
    pub steps: Vec<Value>,
    /// The error's type.
    pub error: Option<String>,
    /// What is no event of these modes.
    pub odd: Option<String>,
}

pub fn of(events: Vec<Event>) -> Streamed {
    let mut streamed = Streamed::default();
    let mut updates: Vec<Value> = Vec::new();
    for (name, data) in events {
        let (mode, ns) = name.split_once('|').unwrap_or((&name, ""));
        match mode {
            "metadata" | "end" => {}
            "values" if ns.is_empty() => {
                streamed
                    .steps
                    .push(json!({"updates": std::mem::take(&mut updates), "values": without_questions(data)}));
            }
            "values" => {}
            "updates" => updates.push(update(ns, data)),
            "error" => streamed.error = Some(data["error"].as_str().unwrap_or_default().to_owned()),
            _ => streamed.odd = Some(format!("{name}: {data}")),
        }
    }
    if streamed.error.is_none() && !updates.is_empty() {
        streamed.steps.push(json!({"updates": updates, "values": null}));
    }
    streamed
}

fn without_questions(values: Value) -> Value {
    match values {
        Value::Object(mut values) => {
            values.remove("__interrupt__");
            Value::Object(values)
        }
        other => other,
    }
}

fn update(ns: &str, data: Value) -> Value {
    let path: Vec<&str> = ns.split('|').filter(|part| !part.is_empty()).map(node_of).collect();
    let mut update = Map::from_iter([("in".to_owned(), json!(path))]);
    for (name, value) in data.as_object().into_iter().flatten() {
        let value = match (name.as_str(), value) {
            ("__interrupt__", Value::Array(questions)) => {
                questions.iter().map(|question| json!({"interrupt": question["value"]})).collect()
            }
            ("__metadata__", value) => value.clone(),
            (_, value) => plain_overwrites(value),
        };
        update.insert(name.clone(), value);
    }
    Value::Object(update)
}

/// The name of the node that a part of a namespace stands for.
fn node_of(part: &str) -> &str {
    part.split(':').next().unwrap_or(part)
}

/// The recordings show an Overwrite as {overwrite}.
fn plain_overwrites(update: &Value) -> Value {
    match update {
        Value::Array(updates) => updates.iter().map(plain_overwrites).collect(),
        Value::Object(fields) => {
            let plain = |(name, value): (&String, &Value)| match value.get("__overwrite__") {
                Some(value) => (name.clone(), json!({"overwrite": value})),
                None => (name.clone(), value.clone()),
            };
            Value::Object(fields.iter().map(plain).collect())
        }
        other => other.clone(),
    }
}
