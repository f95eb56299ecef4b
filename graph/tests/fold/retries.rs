//! A node that is a graph, run again when it fails.

use std::{collections::BTreeSet, sync::Arc};

use graph::{
    event::{Event, Request, Timer, TimerKind},
    ids,
    spec::GraphSpec,
    task::{Interrupt, TaskResult},
    update::RunStatus,
};
use serde_json::{Value, json};

use crate::rig::{Rig, cancelled, named, plain, result, spec, timeouts};

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
        let nodes: Vec<&str> = rig.issued.iter().map(|(_, task)| &*task.node).collect();
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

fn limited(retry: Value) -> Rig {
    rig(json!({"timeout_ms": 500, "retry": retry}))
}

#[test]
fn a_graph_that_takes_too_long_has_failed() {
    let mut rig = limited(Value::Null);
    let run = rig.invoke(json!({}));
    assert_eq!(timeouts(&rig), [], "it hasn't begun");
    rig.finish_node(&run, "a");
    let due = rig.at + 500;
    rig.finish_node(&run, "x");
    let timers = timeouts(&rig);
    assert_eq!(timers.iter().map(|(_, due)| *due).collect::<Vec<_>>(), [due], "it counts from the beginning, once");
    let late = rig.task("y");
    let commands = rig.fire(&run, &timers[0].0);
    assert_eq!(cancelled(&commands), ["y"]);
    rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!(["a"]));
    let error = rig.ended(&run).unwrap().error.clone().unwrap();
    assert_eq!(error.kind.as_deref(), Some("NodeTimeoutError"));
    assert_eq!(error.message, "node sub exceeded its timeout of 500 ms");
    assert_eq!(error.node.as_deref(), Some("sub"));
    // What had finished stays so: the run that goes on makes only the rest.
    rig.finish(&run, named(&late));
    let run = rig.request(Request::default());
    assert_eq!(timeouts(&rig).len(), 1, "a new run has the time anew");
    rig.finish_node(&run, "y");
    assert_eq!(timeouts(&rig), []);
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "a", "x", "y"]));
}

#[test]
fn a_graph_that_takes_too_long_is_run_again_as_one_that_fails() {
    let mut rig = limited(json!({"max_attempts": 2, "initial_interval_ms": 10, "backoff_factor": 2.0,
        "max_interval_ms": 1_000, "jitter": false, "retry_on": []}));
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "x");
    let late = rig.task("y");
    let until = rig.at + 10_000;
    rig.fold(&run, Event::TaskKept { task_id: late.id, issue: late.issue, until });
    rig.fire(&run, &timeouts(&rig)[0].0);
    let kinds: Vec<&TimerKind> = rig.state().timers().map(|(timer, _)| &timer.kind).collect();
    assert!(
        matches!(kinds[..], [TimerKind::Deadline, TimerKind::Retry(_)]),
        "only the next attempt is waited for: {kinds:?}"
    );
    let retry = rig.state().timers().map(|(timer, _)| timer.clone()).find(|timer| timer.kind != TimerKind::Deadline);
    rig.finish(&run, named(&late));
    rig.fire(&run, &retry.expect("a retry"));
    let again = rig.task("y");
    assert_eq!((again.id, again.issue > late.issue), (late.id, true));
    rig.finish(&run, named(&late));
    assert!(rig.ended(&run).is_none(), "a result of the attempt that was given up doesn't count");
    rig.finish(&run, named(&again));
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "a", "x", "y"]));
    assert_eq!(timeouts(&rig), []);
}

#[test]
fn a_graph_that_waits_for_an_answer_has_time() {
    let mut rig = limited(Value::Null);
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    let timer = timeouts(&rig)[0].0.clone();
    let task = rig.task("x");
    let id = ids::interrupt_id(&task.checkpoint_ns, 0);
    let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
    rig.finish(&run, TaskResult { interrupts: vec![question], ..result(&task) });
    assert_eq!(rig.ended(&run).unwrap().status, RunStatus::Interrupted);
    assert_eq!(timeouts(&rig), []);
    rig.fire(&run, &timer);
    assert_eq!(rig.ended(&run).unwrap().status, RunStatus::Interrupted);
}

/// START -> sub and b, where `sub` is a graph with a timeout.
#[test]
fn a_graph_that_ended_in_time_takes_no_more() {
    let inner = inner();
    let edges = json!([plain(&["START"], "sub"), plain(&["START"], "b")]);
    let mut outer = json!(spec(json!({"log": {"reducer": "append"}}), &["b"], edges));
    let node = json!({"name": "sub", "kind": "subgraph", "graph": "inner", "hash": inner.hash(), "timeout_ms": 500});
    outer["nodes"].as_array_mut().unwrap().push(node);
    let mut rig = Rig::new(serde_json::from_value(outer).expect("a spec"));
    rig.add(inner);
    let run = rig.invoke(json!({}));
    let timer = timeouts(&rig)[0].0.clone();
    rig.finish_node(&run, "x");
    rig.finish_node(&run, "y");
    assert_eq!(timeouts(&rig), [], "its sibling is at work, and has no such limit");
    assert_eq!(rig.fire(&run, &timer), []);
    rig.finish_node(&run, "b");
    rig.check_end(&run, RunStatus::Success, None, json!(["b", "x", "y"]));
}

/// START -> mid, a graph START -> sub, where `sub` is a graph that is tried twice.
#[test]
fn a_graph_inside_of_a_graph_is_run_again_where_it_is() {
    let inner = inner();
    let node = json!({"name": "sub", "kind": "subgraph", "graph": "inner", "hash": inner.hash(), "memory": "call",
        "retry": {"max_attempts": 2, "initial_interval_ms": 10, "backoff_factor": 2.0, "max_interval_ms": 1_000,
        "jitter": false, "retry_on": ["Boom"]}});
    let channels = json!({"log": {"reducer": "append"}});
    let edges = json!([plain(&["START"], "sub")]);
    let mut middle = json!(GraphSpec { name: "middle".to_owned(), ..spec(channels.clone(), &[], edges) });
    middle["nodes"].as_array_mut().unwrap().push(node);
    let middle: GraphSpec = serde_json::from_value(middle).expect("a spec");
    let mut outer = json!(spec(channels, &[], json!([plain(&["START"], "mid")])));
    let node = json!({"name": "mid", "kind": "subgraph", "graph": "middle", "hash": middle.hash()});
    outer["nodes"].as_array_mut().unwrap().push(node);
    let mut rig = Rig::new(serde_json::from_value(outer).expect("a spec"));
    rig.add(inner);
    rig.add(middle);
    let run = rig.invoke(json!({}));
    rig.fail_node(&run, "x");
    let timer = rig.state().timers().map(|(timer, _)| timer.clone()).find(|timer| timer.kind != TimerKind::Deadline);
    rig.fire(&run, &timer.expect("a retry"));
    rig.finish_node(&run, "x");
    rig.finish_node(&run, "y");
    rig.check_end(&run, RunStatus::Success, None, json!(["x", "y"]));
}

#[test]
fn the_graphs_inside_of_a_graph_that_takes_too_long_end_with_it() {
    let inner = inner();
    let node = json!({"name": "sub", "kind": "subgraph", "graph": "inner", "hash": inner.hash()});
    let mut middle = json!(GraphSpec {
        name: "middle".to_owned(),
        ..spec(json!({"log": {"reducer": "append"}}), &["b"], json!([plain(&["START"], "sub"), plain(&["START"], "b")]))
    });
    middle["nodes"].as_array_mut().unwrap().push(node);
    let middle: GraphSpec = serde_json::from_value(middle).expect("a spec");
    let edges = json!([plain(&["START"], "mid")]);
    let mut outer = json!(spec(json!({"log": {"reducer": "append"}}), &[], edges));
    let node = json!({"name": "mid", "kind": "subgraph", "graph": "middle", "hash": middle.hash(), "timeout_ms": 500});
    outer["nodes"].as_array_mut().unwrap().push(node);
    let mut rig = Rig::new(serde_json::from_value(outer).expect("a spec"));
    rig.add(inner);
    rig.add(middle);
    let run = rig.invoke(json!({}));
    let commands = rig.fire(&run, &timeouts(&rig)[0].0);
    assert_eq!(BTreeSet::from_iter(cancelled(&commands)), ["b", "x"].into());
    assert_eq!(rig.ended(&run).unwrap().error.as_ref().unwrap().node.as_deref(), Some("mid"));
}
