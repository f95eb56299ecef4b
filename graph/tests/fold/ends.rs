//! Ends: what a run answers, and what its thread keeps for the next.

use std::{collections::BTreeSet, sync::Arc};

use graph::{
    by_name::ChannelValues,
    event::{CommandInput, Edit, Event, Request, StateUpdate, Timer, TimerKind},
    ids,
    spec::GraphSpec,
    task::{Destination, Interrupt, ParentCommand, TaskResult},
    update::{Happened, RunStatus},
};
use serde_json::{Value, json};

use crate::rig::{DEADLINE_MS, Rig, chain, failed, fork_and_join, named, plain, result, spec};

fn deadline(rig: &Rig, run: uuid::Uuid) -> (Timer, i64) {
    let own = |timer: &Timer| timer.run_id == run && timer.kind == TimerKind::Deadline;
    let found = rig.state().timers().find(|(timer, _)| own(timer));
    found.map(|(timer, due)| (timer.clone(), due)).expect("a deadline")
}

#[test]
fn a_failure_waits_for_its_siblings_and_only_it_runs_again() {
    let mut rig = Rig::new(fork_and_join());
    let run = rig.invoke(json!({}));
    rig.fail_node(&run, "a");
    assert!(rig.ended(&run).is_none(), "its sibling is at work");
    rig.finish_node(&run, "b");
    rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!(["b"]));
    let ended = rig.ended(&run).expect("an end");
    assert_eq!(ended.next, ["a"]);
    let error = ended.error.as_ref().expect("an error");
    assert_eq!(
        (error.node.as_deref(), error.kind.as_deref(), error.message.as_str()),
        (Some("a"), Some("Boom"), "boom")
    );
    assert_eq!(ended.values, Some(ChannelValues::from_iter([("log", Arc::new(json!(["b"])))])));

    let again = rig.request(Request::default());
    let restored: Vec<_> = rig.done(&again).iter().map(|done| (done.node.clone(), done.restored)).collect();
    assert_eq!(restored, [("b".into(), true)]);
    let issued: Vec<_> = rig.issued.iter().map(|(_, task)| (&*task.node, task.issue)).collect();
    assert_eq!(issued, [("a", 1), ("b", 1), ("a", 2)]);
    rig.finish_node(&again, "a");
    rig.finish_node(&again, "c");
    rig.check_end(&again, RunStatus::Success, None, json!(["a", "b", "c"]));
}

#[test]
fn new_input_gives_up_what_siblings_had_finished() {
    let mut rig = Rig::new(fork_and_join());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "b");
    rig.fail_node(&run, "a");
    let again = rig.invoke(json!({}));
    assert_eq!(rig.issued.len(), 4, "both run again");
    rig.finish_node(&again, "a");
    rig.finish_node(&again, "b");
    rig.finish_node(&again, "c");
    rig.check_end(&again, RunStatus::Success, None, json!(["a", "b", "c"]));
}

#[test]
fn the_first_failure_ends_the_run() {
    let mut rig = Rig::new(fork_and_join());
    let run = rig.invoke(json!({}));
    rig.fail_node(&run, "b");
    rig.fail_node(&run, "a");
    let error = rig.ended(&run).and_then(|ended| ended.error.clone()).expect("an error");
    assert_eq!(error.node.as_deref(), Some("b"));
}

#[test]
fn a_failed_condition_keeps_the_nodes_writes() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let writes = Arc::new(vec![("log".into(), Arc::new(json!(["a"])))]);
    let branch_error = failed(&task).error;
    rig.finish(&run, TaskResult { writes, branch_error, ..result(&task) });
    rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!(["a"]));
    let again = rig.request(Request::default());
    assert_eq!(&*rig.task("b").node, "b", "a isn't run again");
    rig.finish_node(&again, "b");
    rig.check_end(&again, RunStatus::Success, None, json!(["a", "b"]));
}

#[test]
fn conflicting_writes_end_the_run_and_stay() {
    let edges = json!([plain(&["START"], "a"), plain(&["START"], "b")]);
    let mut rig = Rig::new(spec(json!({"x": {}, "log": {"reducer": "append"}}), &["a", "b"], edges));
    let run = rig.invoke(json!({"log": [1]}));
    for node in ["a", "b"] {
        let task = rig.task(node);
        rig.finish(&run, TaskResult { writes: Arc::new(vec![("x".into(), Arc::new(json!(node)))]), ..result(&task) });
    }
    rig.check_end(&run, RunStatus::Error, Some("invalid_update"), json!([1]));
    let error = rig.ended(&run).and_then(|ended| ended.error.clone()).expect("an error");
    assert_eq!(error.kind.as_deref(), Some("InvalidUpdateError"));
    assert!(error.message.contains("'x'"), "{}", error.message);
    let again = rig.request(Request::default());
    rig.check_end(&again, RunStatus::Error, Some("invalid_update"), json!([1]));
    assert_eq!(rig.issued.len(), 2);
}

/// Of several channels that refuse what is written, that which was written first says why.
#[test]
fn the_first_write_that_is_refused_says_why() {
    for (first, second) in [("x", "y"), ("y", "x")] {
        let edges = json!([plain(&["START"], "a"), plain(&["START"], "b")]);
        let mut rig = Rig::new(spec(json!({"x": {}, "y": {}}), &["a", "b"], edges));
        let run = rig.invoke(json!({}));
        for node in ["b", "a"] {
            let task = rig.task(node);
            let write = |name: &str| (name.into(), Arc::new(json!(node)));
            rig.finish(&run, TaskResult { writes: Arc::new(vec![write(first), write(second)]), ..result(&task) });
        }
        let error = rig.ended(&run).and_then(|ended| ended.error.clone()).expect("an error");
        assert!(error.message.contains(&format!("'{first}'")), "{}", error.message);
    }
}

#[test]
fn a_cancelled_run_tells_its_workers_and_can_be_continued() {
    let mut rig = Rig::new(fork_and_join());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    let open = rig.task("b").id;
    rig.fold(&run, Event::Cancelled { reason: "enough".to_owned(), rollback: false });
    assert_eq!(rig.cancelled, [open]);
    rig.check_end(&run, RunStatus::Cancelled, None, json!(["a"]));
    assert_eq!(rig.fold(&run, Event::Cancelled { reason: "twice".to_owned(), rollback: false }), []);
    let late = result(&rig.task("b"));
    assert_eq!(rig.finish(&run, late), [], "the run is over");
    let again = rig.request(Request::default());
    assert_eq!(rig.task("b").issue, 2);
    rig.finish_node(&again, "b");
    rig.finish_node(&again, "c");
    rig.check_end(&again, RunStatus::Success, None, json!(["a", "b", "c"]));
}

#[test]
fn a_deadline_ends_the_run_whatever_it_does() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let (timer, due) = deadline(&rig, run.run_id);
    assert_eq!(due, rig.at - 1 + DEADLINE_MS);
    assert_eq!(rig.fire(&run, &Timer { generation: timer.generation + 1, ..timer.clone() }), []);
    rig.fire(&run, &timer);
    rig.check_end(&run, RunStatus::Timeout, Some("run_timeout"), json!([]));
    assert_eq!(rig.cancelled.len(), 1);
    assert_eq!(rig.state().timers().count(), 0);
}

#[test]
fn a_run_that_waits_can_end_too() {
    let mut rig = Rig::new(chain());
    let live = rig.invoke(json!({}));
    let (late, dropped, broken) = (rig.invoke(json!({})), rig.invoke(json!({})), rig.invoke(json!({})));
    let (timer, _) = deadline(&rig, late.run_id);
    rig.fire(&late, &timer);
    rig.fold(&dropped, Event::Cancelled { reason: String::new(), rollback: false });
    rig.fold(&broken, Event::RunFailed { message: "no".to_owned() });
    rig.check_end(&late, RunStatus::Timeout, Some("run_timeout"), Value::Null);
    rig.check_end(&dropped, RunStatus::Cancelled, None, Value::Null);
    rig.check_end(&broken, RunStatus::Error, Some("internal"), Value::Null);
    rig.finish_node(&live, "a");
    rig.finish_node(&live, "b");
    assert!(rig.state().is_idle());
}

#[test]
fn a_run_that_could_not_be_folded_ends_as_internal() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    rig.fold(&run, Event::RunFailed { message: "a record made the fold panic".to_owned() });
    rig.check_end(&run, RunStatus::Error, Some("internal"), json!([]));
}

#[test]
fn the_output_is_that_of_the_output_schema() {
    let mut graph = chain();
    graph.channels.insert("secret".to_owned(), graph.channels["log"].clone());
    graph.output = Some(vec!["log".to_owned()]);
    let mut rig = Rig::new(graph);
    let run = rig.invoke(json!({"secret": ["s"]}));
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "b");
    let ended = rig.ended(&run).expect("an end");
    assert_eq!(json!(ended.output), json!({"log": ["a", "b"]}));
    assert_eq!(ended.values, None, "the last checkpoint has them");
    let Some(Happened::StepDone(last)) =
        rig.happened(&run).into_iter().rev().find(|happened| matches!(happened, Happened::StepDone(_)))
    else {
        panic!("a checkpoint")
    };
    assert_eq!(json!(last.values), json!({"log": ["a", "b"], "secret": ["s"]}));
}

#[test]
fn a_failure_counts_before_a_sibling_that_left() {
    let inner = GraphSpec {
        name: "inner".to_owned(),
        ..spec(
            json!({"log": {"reducer": "append"}}),
            &["x", "y"],
            json!([plain(&["START"], "x"), plain(&["START"], "y")]),
        )
    };
    let mut outer = json!(spec(json!({"log": {"reducer": "append"}}), &["a"], json!([plain(&["START"], "sub")])));
    let node = json!({"name": "sub", "kind": "subgraph", "graph": "inner", "hash": inner.hash()});
    outer["nodes"].as_array_mut().unwrap().push(node);
    for failed_first in [true, false] {
        let mut rig = Rig::new(serde_json::from_value(outer.clone()).expect("a spec"));
        rig.add(inner.clone());
        let run = rig.invoke(json!({}));
        let (x, y) = (rig.task("x"), rig.task("y"));
        let goto = vec![Destination::Node("a".to_owned())];
        let left = TaskResult { parent: Some(ParentCommand { goto, ..ParentCommand::default() }), ..result(&y) };
        let mut results = [failed(&x), left];
        if !failed_first {
            results.reverse();
        }
        for result in results {
            rig.finish(&run, result);
        }
        rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!([]));
    }
}

/// As LangGraph has it, where a handler is no node: what it does wrong ends the run, whatever it would have as a node itself.
#[test]
fn what_a_handler_does_wrong_nobody_handles() {
    let edges = json!([plain(&["START"], "a"), plain(&["START"], "h")]);
    let mut spec = json!(spec(json!({"log": {"reducer": "append"}}), &["a", "h", "last"], edges));
    for (place, handler) in [(0, "h"), (1, "last")] {
        spec["nodes"][place]["on_error"] = json!(handler);
    }
    let mut rig = Rig::new(serde_json::from_value(spec).expect("a spec"));
    let run = rig.invoke(json!({}));
    rig.fail_node(&run, "h");
    let handles = rig.task("last");
    assert!(handles.handles.is_some(), "as a node its failure is handled");
    rig.finish(&run, named(&handles));
    rig.fail_node(&run, "a");
    assert!(rig.task("h").handles.is_some());
    let issued = rig.issued.len();
    rig.fail_node(&run, "h");
    assert_eq!(rig.issued.len(), issued, "as a handler's it isn't");
    rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!([]));
}

/// A worker takes a second issue of one number for a copy of the first.
#[test]
fn a_handler_has_issues_of_its_own_when_a_run_comes_back() {
    let mut spec = json!(spec(json!({"log": {"reducer": "append"}}), &["a", "h"], json!([plain(&["START"], "a")])));
    spec["nodes"][0]["on_error"] = json!("h");
    let mut rig = Rig::new(serde_json::from_value(spec).expect("a spec"));
    let edit = rig.envelope();
    let update = StateUpdate { values: Some(Arc::new(json!({}))), as_node: None };
    rig.fold(&edit, Event::StateEdited(Box::new(Edit { supersteps: vec![vec![update]], ..Edit::default() })));
    let checkpoint_id = rig.state().head().map(|head| head.id);
    for _ in 0..3 {
        let run = rig.request(Request { checkpoint_id, ..Request::default() });
        rig.fail_node(&run, "a");
        // It asks, so that it is issued more often than the task that failed.
        let task = rig.task("h");
        let id = ids::interrupt_id(&task.checkpoint_ns, 0);
        let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
        rig.finish(&run, TaskResult { interrupts: vec![question], ..result(&task) });
        let resume = CommandInput { resume: Some(Arc::new(json!("yes"))), ..CommandInput::default() };
        let run = rig.request(Request { command: Some(resume), ..Request::default() });
        assert!(rig.task("h").handles.is_some() && rig.task("h").answers.len() == 1);
        rig.fail_node(&run, "h");
        assert!(rig.ended(&run).is_some());
    }
    let issues: BTreeSet<_> = rig.issued.iter().map(|(_, task)| (task.id, task.issue)).collect();
    assert_eq!((issues.len(), rig.issued.len()), (9, 9));
}
