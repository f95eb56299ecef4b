//! A node that is a graph, run again when it fails.

use graph::{
    event::{Timer, TimerKind},
    spec::GraphSpec,
    update::RunStatus,
};
use serde_json::{Value, json};

use crate::rig::{Rig, named, plain, spec};

fn inner() -> GraphSpec {
    let edges = json!([plain(&["START"], "x"), plain(&["x"], "y")]);
    let channels = json!({"log": {"reducer": "append"}});
    GraphSpec { name: "inner".to_owned(), ..spec(channels, &["x", "y"], edges) }
}

/// START -> a -> sub, where `sub` is a graph with these fields beside.
fn outer(fields: Value) -> (GraphSpec, GraphSpec) {
    let inner = inner();
    let edges = json!([plain(&["START"], "a"), plain(&["a"], "sub")]);
    let outer = spec(json!({"log": {"reducer": "append"}}), &["a"], edges);
    let mut node = json!({"name": "sub", "kind": "subgraph", "graph": "inner", "hash": inner.hash()});
    node.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let mut outer = json!(outer);
    outer["nodes"].as_array_mut().unwrap().push(node);
    (serde_json::from_value(outer).expect("a spec"), inner)
}

fn rig(fields: Value) -> Rig {
    let (outer, inner) = outer(fields);
    let mut rig = Rig::new(outer);
    rig.add(inner);
    rig
}

fn retried(memory: &str) -> Rig {
    rig(json!({"memory": memory, "retry": {"max_attempts": 2, "initial_interval_ms": 10, "backoff_factor": 2.0,
        "max_interval_ms": 1_000, "jitter": false, "retry_on": ["Boom"]}}))
}

#[test]
fn a_graph_that_fails_is_run_again_from_what_it_remembers() {
    for (memory, issued) in [("call", vec!["a", "x", "y", "y"]), ("none", vec!["a", "x", "y", "x", "y"])] {
        let mut rig = retried(memory);
        let run = rig.invoke(json!({}));
        rig.finish_node(&run, "a");
        rig.finish_node(&run, "x");
        rig.fail_node(&run, "y");
        assert!(rig.ended(&run).is_none(), "it is run again");
        let retry: Vec<(Timer, i64)> = rig
            .state()
            .timers()
            .filter(|(timer, _)| matches!(timer.kind, TimerKind::Retry(_)))
            .map(|(timer, due)| (timer.clone(), due))
            .collect();
        assert_eq!(retry[0].1, rig.at + 10);
        rig.fire(&run, &retry[0].0);
        if memory == "none" {
            rig.finish_node(&run, "x");
        }
        let task = rig.task("y");
        rig.finish(&run, named(&task));
        rig.check_end(&run, RunStatus::Success, None, json!(["a", "a", "x", "y"]));
        let nodes: Vec<&str> = rig.issued.iter().map(|(_, task)| task.node.as_str()).collect();
        assert_eq!(nodes, issued, "{memory}");
    }
}

#[test]
fn a_graph_that_fails_too_often_or_otherwise_has_failed() {
    let mut rig = retried("call");
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    rig.fail_node(&run, "x");
    let timer = rig.state().timers().map(|(timer, _)| timer.clone()).find(|timer| timer.kind != TimerKind::Deadline);
    rig.fire(&run, &timer.expect("a retry"));
    rig.fail_node(&run, "x");
    rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!(["a"]));

    let mut rig = retried("call");
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    let mut other = crate::rig::failed(&rig.task("x"));
    other.error.iter_mut().for_each(|error| error.kind = Some("Other".to_owned()));
    rig.finish(&run, other);
    rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!(["a"]));
}
