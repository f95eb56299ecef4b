//! Each rule of LangGraph's channels as data: the writes of some steps, and what the channel holds after each.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    apply::{Applied, Purpose, Writer, apply},
    channel::UpdateError,
    checkpoint::Checkpoint,
    envelope::GraphRef,
    graph::Graph,
    spec::GraphSpec,
    step_task::{Finished, Stand, StepTask},
    task::TaskPath,
};

/// The writes of one step by task, in the order of their paths.
type Writes = Vec<Vec<Value>>;

fn graph(channel: &Value) -> Graph {
    let nodes: Vec<Value> = ["a", "b", "c"].iter().map(|name| json!({"name": name, "kind": "transform"})).collect();
    let spec = json!({"name": "g", "channels": {"x": channel}, "nodes": nodes, "edges": [], "limits": {}});
    let spec: GraphSpec = serde_json::from_value(spec).expect("a spec");
    Graph::new(spec).expect("a graph")
}

fn task(graph: &Graph, place: usize, writes: &[Value]) -> StepTask {
    let name = ["a", "b", "c"][place];
    let node = &graph.nodes[name];
    let writes = writes.iter().map(|value| (Arc::from("x"), Arc::new(value.clone()))).collect();
    let writes = Arc::new(writes);
    let task = StepTask::new(Uuid::from_u128(place as u128), node.name.clone(), TaskPath::Pull, node.triggers.clone());
    StepTask { stand: Stand::Finished(Arc::new(Finished { writes, ..Finished::default() })), ..task }
}

fn step(graph: &Graph, checkpoint: &mut Checkpoint, writes: &Writes) -> Result<Applied, UpdateError> {
    let tasks: Vec<StepTask> = writes.iter().enumerate().map(|(place, writes)| task(graph, place, writes)).collect();
    // Finished in any order, applied in that of their paths.
    apply(graph, checkpoint, &Writer::of_tasks(graph, tasks.iter().rev()), Purpose::Step)
}

/// Runs steps given as `[[writes of a], [writes of b], …]`; null in `expected` is an absent channel.
fn check(channel: Value, steps: Value, expected: Value) {
    let graph = graph(&channel);
    let mut checkpoint =
        Checkpoint::empty(Arc::new(GraphRef { name: "g".to_owned(), hash: graph.hash().to_owned() }), 1);
    checkpoint.bind(&graph);
    let steps: Vec<Writes> = serde_json::from_value(steps).expect("steps");
    let expected = expected.as_array().expect("a value for each step");
    assert_eq!(steps.len(), expected.len());
    for (place, (writes, expected)) in steps.iter().zip(expected).enumerate() {
        let before = checkpoint.clone();
        match step(&graph, &mut checkpoint, writes) {
            Ok(_) => {
                let got = checkpoint.values(&graph).get("x").map_or(Value::Null, |value| Value::clone(value));
                assert_eq!(got, *expected, "{channel} after step {place}");
            }
            Err(error) => {
                assert_eq!(json!({"error": error.kind}), *expected, "{channel} in step {place}: {error}");
                assert_eq!(checkpoint, before, "a refused step changes nothing");
            }
        }
    }
}

fn invalid() -> Value {
    json!({"error": "InvalidUpdateError"})
}

#[test]
fn last_takes_one_write() {
    check(json!({}), json!([[["u"]], [[]], [["v"], []]]), json!(["u", "u", "v"]));
    check(json!({}), json!([[["u"]], [["v"], ["v"]]]), json!(["u", invalid()]));
    check(json!({}), json!([[["u", "v"]]]), json!([invalid()]));
    check(json!({"default": 3}), json!([[[]], [[4]]]), json!([3, 4]));
}

#[test]
fn an_overwrite_of_last_is_stored_as_it_is() {
    check(json!({}), json!([[[{"__overwrite__": 1}]]]), json!([{"__overwrite__": 1}]));
}

#[test]
fn any_takes_the_last_and_lives_one_step() {
    check(json!({"reducer": "any"}), json!([[["u"], ["v"]], [[]]]), json!(["v", null]));
}

#[test]
fn ephemeral_takes_one_and_lives_one_step() {
    check(json!({"reducer": "ephemeral"}), json!([[["u"]], [[]]]), json!(["u", null]));
    check(json!({"reducer": "ephemeral"}), json!([[["u"], ["v"]]]), json!([invalid()]));
}

#[test]
fn untracked_takes_one_and_stays() {
    check(json!({"reducer": "untracked"}), json!([[["u"]], [[]], [["v"], ["w"]]]), json!(["u", "u", invalid()]));
}

#[test]
fn topic_flattens_and_is_replaced() {
    let steps = json!([[["1"], [["2", ["3"]]]], [["4"]], [[]]]);
    check(json!({"reducer": "topic"}), steps, json!([["1", "2", ["3"]], ["4"], null]));
}

#[test]
fn append_adds_in_the_order_of_paths() {
    check(
        json!({"reducer": "append"}),
        json!([[[["a"]], [["b"]], [["c"]]], [[]]]),
        json!([["a", "b", "c"], ["a", "b", "c"]]),
    );
    check(json!({"reducer": "append"}), json!([[[["a"]]], [["b"]]]), json!([["a"], {"error": "TypeError"}]));
}

#[test]
fn sum_adds_what_plus_adds() {
    check(json!({"reducer": "sum"}), json!([[[1], [2.5]], [[-4]]]), json!([3.5, -0.5]));
    check(json!({"reducer": "sum"}), json!([[[i64::MAX], [1]]]), json!([9_223_372_036_854_775_808u64]));
    check(json!({"reducer": "sum"}), json!([[[u64::MAX], [1]]]), json!([invalid()]));
    check(json!({"reducer": "sum", "schema": {"type": "string"}}), json!([[["a"], ["b"]]]), json!(["ab"]));
    check(json!({"reducer": "sum"}), json!([[["a"]]]), json!([{"error": "TypeError"}]));
}

#[test]
fn max_and_min_compare() {
    check(json!({"reducer": "max"}), json!([[[-1]], [[3], [2.5]]]), json!([0, 3]));
    check(json!({"reducer": "min"}), json!([[[1]], [[-3], [2]]]), json!([0, -3]));
    check(json!({"reducer": "max", "schema": {"type": "string"}}), json!([[["b"], ["a"]]]), json!(["b"]));
}

#[test]
fn merge_lets_the_right_win() {
    check(
        json!({"reducer": "merge"}),
        json!([[[{"a": 1, "b": 1}], [{"b": 2}]], [[{"c": 3}]]]),
        json!([{"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}]),
    );
    check(json!({"reducer": "merge"}), json!([[[[]]]]), json!([{"error": "TypeError"}]));
}

#[test]
fn a_reducer_starts_at_its_types_empty_value() {
    let nothing = json!([[[]]]);
    for (declared, start) in [
        (json!("integer"), json!(0)),
        (json!("number"), json!(0.0)),
        (json!("string"), json!("")),
        (json!("array"), json!([])),
        (json!("object"), json!({})),
        (json!("boolean"), json!(false)),
        (json!(["integer", "null"]), Value::Null),
    ] {
        check(json!({"reducer": "sum", "schema": {"type": declared}}), nothing.clone(), json!([start]));
    }
    check(json!({"reducer": "messages"}), nothing.clone(), json!([[]]));
    check(json!({"reducer": "topic"}), nothing, json!([null]));
}

#[test]
fn a_reducer_without_a_value_takes_its_first_write_raw() {
    let unset = json!({"reducer": "sum", "schema": {"type": ["integer", "null"]}});
    check(unset.clone(), json!([[["raw"]]]), json!(["raw"]));
    check(unset, json!([[[1], [2]], [[3]]]), json!([3, 6]));
}

#[test]
fn an_overwrite_hides_the_steps_plain_writes() {
    for overwrite in [json!({"__overwrite__": ["o"]}), json!({"type": "__overwrite__", "value": ["o"]})] {
        check(json!({"reducer": "append"}), json!([[[["a"]]], [[["b"]], [overwrite], [["c"]]]]), json!([["a"], ["o"]]));
    }
    let twice = json!([[[{"__overwrite__": []}], [{"__overwrite__": []}]]]);
    check(json!({"reducer": "append"}), twice, json!([invalid()]));
    // One key more, and it is a value like any other.
    check(
        json!({"reducer": "merge"}),
        json!([[[{"__overwrite__": 1, "b": 2}]]]),
        json!([{"__overwrite__": 1, "b": 2}]),
    );
}

#[test]
fn a_list_that_nobody_else_holds_grows_in_place() {
    let graph = graph(&json!({"reducer": "append"}));
    let mut checkpoint =
        Checkpoint::empty(Arc::new(GraphRef { name: "g".to_owned(), hash: graph.hash().to_owned() }), 1);
    checkpoint.bind(&graph);
    let long: Vec<Value> = (0..1_000).map(|n| json!(n)).collect();
    step(&graph, &mut checkpoint, &vec![vec![json!(long)]]).expect("an append");
    step(&graph, &mut checkpoint, &vec![vec![json!([1_000])]]).expect("an append");
    let place = checkpoint.channels["x"].value().map(|value| value.as_array().expect("a list").as_ptr());
    step(&graph, &mut checkpoint, &vec![vec![json!([1_001])]]).expect("an append");
    let value = checkpoint.channels["x"].value().expect("a value").as_array().expect("a list");
    assert_eq!(value.len(), 1_002);
    assert_eq!(place, Some(value.as_ptr()), "the list was copied");
}
