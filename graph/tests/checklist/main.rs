//! LangGraph's behaviour point by point, as data: `cases/*.json`. Each case is a small graph, the calls that are made and what
//! is seen of each. `docs/langgraph-checklist.md` says where the points are shown that no case is about.
//!
//! - A node is `{channel: value}`, what it writes, or as in `semantics/cases`: `{"do": …}`, `{"graph": …}`.
//! - An edge is `a -> b`, or `a & b -> c`, which waits for both.
//! - `branches`: `[from, [targets]]`, or `[from, on, [[targets], …]]`.
//! - Of a call only what `expect` names is compared, and always the error.

use std::path::Path;

use semantics::{case::Case, compare::Called, fold::World};
use serde_json::{Map, Value, json};

#[test]
fn channels_and_edges() {
    hold("channels-and-edges.json");
}

#[test]
fn sends_commands_and_limits() {
    hold("sends-commands-and-limits.json");
}

#[test]
fn failures_and_checkpoints() {
    hold("failures-and-checkpoints.json");
}

#[test]
fn interrupts_and_subgraphs() {
    hold("interrupts-and-subgraphs.json");
}

/// Every case of a file; all that fail are named.
fn hold(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checklist/cases").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case).err()).collect();
    assert!(failures.is_empty(), "{} of {} fail:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check(given: &Value) -> Result<(), String> {
    let name = given["name"].as_str().expect("a name");
    let calls = given["calls"].as_array().expect("calls");
    let case: Case = serde_json::from_value(json!({
        "id": "checklist", "flags": [], "graph": graph(given), "calls": calls, "expect": vec![Value::Null; calls.len()],
    }))
    .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut world = World::new(&case);
    for (place, (call, given)) in case.calls.iter().zip(calls).enumerate() {
        seen(&world.call(call), &given["expect"]).map_err(|why| format!("{name}\n    call {place}: {why}"))?;
    }
    Ok(())
}

fn seen(called: &Called, expected: &Value) -> Result<(), String> {
    let none = Map::new();
    let expected = expected.as_object().unwrap_or(&none);
    let error = expected.get("error").and_then(Value::as_str);
    if called.error.as_deref() != error {
        return Err(format!("error: got {:?}, expected {error:?}", called.error));
    }
    for (what, expected) in expected {
        let made = |snapshot: &Value| json!([snapshot["source"], snapshot["step"]]);
        let got = match what.as_str() {
            "error" => continue,
            "history" => called.history.iter().map(made).collect(),
            "first" => called.history[0].clone(),
            "last values" => called.steps.last().map(|step| step["values"].clone()).unwrap_or_default(),
            "value events" => json!(called.steps.iter().filter(|step| !step["values"].is_null()).count()),
            "updates" => {
                called.steps.iter().flat_map(|step| step["updates"].as_array().cloned().unwrap_or_default()).collect()
            }
            part => called.state[part].clone(),
        };
        // Of an object only the fields that are named.
        let same = match (&got, expected) {
            (Value::Object(got), Value::Object(expected)) => expected.iter().all(|(name, value)| match value {
                Value::String(word) if word == "ABSENT" => !got.contains_key(name),
                value => got.get(name) == Some(value),
            }),
            (got, expected) => got == expected,
        };
        if !same {
            return Err(format!("{what}: got {got}, expected {expected}"));
        }
    }
    Ok(())
}

/// A graph in the short form as one of `semantics/cases`.
fn graph(given: &Value) -> Value {
    let mut graph = given.as_object().expect("a graph").clone();
    graph.retain(|name, _| !["name", "calls", "edges", "branches", "nodes"].contains(&name.as_str()));
    let nodes = given["nodes"].as_object().expect("nodes").iter().map(|(name, given)| (name.clone(), node(given)));
    graph.insert("nodes".to_owned(), Value::Object(nodes.collect()));
    let listed = |part: &str| given.get(part).and_then(Value::as_array).cloned().unwrap_or_default();
    graph.insert("edges".to_owned(), listed("edges").iter().map(edge).collect());
    graph.insert("branches".to_owned(), listed("branches").iter().map(branch).collect());
    Value::Object(graph)
}

fn node(given: &Value) -> Value {
    let fields = given.as_object().expect("a node");
    if let Some(inner) = fields.get("graph") {
        let mut whole = fields.clone();
        whole.insert("graph".to_owned(), graph(inner));
        return Value::Object(whole);
    }
    if fields.contains_key("do") {
        return given.clone();
    }
    let settings = ["defer", "on_error", "retries"];
    let (settings, writes): (Map<_, _>, Map<_, _>) =
        fields.clone().into_iter().partition(|(name, _)| settings.contains(&name.as_str()));
    let write = |(to, value): (String, Value)| json!({"do": "write", "to": to, "value": ["lit", value]});
    let mut whole = settings;
    whole.insert("do".to_owned(), writes.into_iter().map(write).collect());
    Value::Object(whole)
}

fn edge(given: &Value) -> Value {
    let (from, to) = given.as_str().and_then(|text| text.split_once(" -> ")).expect("an edge is `a -> b`");
    let names: Vec<&str> = from.split(" & ").collect();
    if let [one] = names.as_slice() { json!([one, to]) } else { json!([names, to]) }
}

fn branch(given: &Value) -> Value {
    match given.as_array().map(Vec::as_slice) {
        Some([from, to]) => json!({"from": from, "on": ["lit", 0], "cases": [to]}),
        Some([from, on, cases]) => json!({"from": from, "on": on, "cases": cases}),
        _ => panic!("{given} is no branch"),
    }
}
