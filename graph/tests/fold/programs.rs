//! What a graph says itself, in CEL or by asking programs: reducers of its own, decisions that no node makes, and what
//! goes in and out of a graph in a node.

use std::sync::Arc;

use graph::{
    event::Event,
    graph::Graph,
    ids,
    reducers::Reducers,
    spec::GraphSpec,
    task::{Destination, Interrupt, Reduction, TaskError, TaskResult, Work},
    update::RunStatus,
};
use serde_json::{Value, json};

use crate::rig::{Rig, failed, fork_and_join, named, plain, result, spec};

/// START -> a and b -> c; a program joins the writes to the log.
fn reduced() -> GraphSpec {
    let mut spec = fork_and_join();
    let channel = json!({"reducer": {"http": {"url": "http://x/reduce"}}, "default": []});
    spec.channels.insert("log".to_owned(), serde_json::from_value(channel).expect("a channel"));
    spec
}

/// START -> a or b, as a program says.
fn decided() -> GraphSpec {
    let decide = json!({"decide": {"from": "START", "decide": {"url": "http://x/decide"}}});
    spec(json!({"log": {"reducer": "append"}}), &["a", "b"], json!([decide]))
}

fn reduction(rig: &Rig) -> (Reduction, graph::task::Task) {
    let task = rig.task("reduce:log");
    match task.work.as_deref() {
        Some(Work::Reduction(reduction)) => (reduction.clone(), task),
        other => panic!("{other:?}"),
    }
}

fn wrote(task: &graph::task::Task, name: &str, value: Value) -> TaskResult {
    TaskResult { writes: Arc::new(vec![(name.into(), Arc::new(value))]), ..result(task) }
}

fn to(task: &graph::task::Task, node: &str) -> TaskResult {
    TaskResult { branches: vec![Destination::Node(node.to_owned())], ..result(task) }
}

#[test]
fn cel_joins_writes_one_by_one() {
    let channels = json!({"log": {"reducer": {"cel": "left + right + ['|']"}, "default": ["0"]}});
    let mut spec = fork_and_join();
    spec.channels = serde_json::from_value(channels).expect("channels");
    let mut rig = Rig::new(spec);
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "b");
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "c");
    rig.check_end(&run, RunStatus::Success, None, json!(["0", "a", "|", "b", "|", "c", "|"]));
}

/// As the reducers do that are built in.
#[test]
fn an_own_reducer_joins_what_there_is_to_join() {
    let cel = json!({"cel": "left + right"});
    for (default, a, b, log) in [
        (None, json!(["a"]), Value::Null, Ok(json!(["a"]))),
        (None, json!(["a"]), json!(["b"]), Ok(json!(["a", "b"]))),
        (Some(json!(["0"])), json!(["a"]), json!({"__overwrite__": ["b"]}), Ok(json!(["b"]))),
        (
            Some(json!(["0"])),
            json!({"__overwrite__": ["a"]}),
            json!({"__overwrite__": ["b"]}),
            Err("Can receive only one Overwrite value per super-step."),
        ),
    ] {
        let mut spec = fork_and_join();
        spec.edges.retain(|edge| !json!(edge).to_string().contains("\"c\""));
        let mut channel = json!({"reducer": cel});
        default.into_iter().for_each(|default| channel["default"] = default);
        spec.channels.insert("log".to_owned(), serde_json::from_value(channel).expect("a channel"));
        let mut rig = Rig::new(spec);
        let run = rig.invoke(json!({}));
        for (node, value) in [("a", a), ("b", b)] {
            let task = rig.task(node);
            rig.finish(&run, if value.is_null() { result(&task) } else { wrote(&task, "log", value) });
        }
        let ended = rig.ended(&run).expect("an end");
        let got = match &ended.error {
            Some(error) => Err(error.message.as_str()),
            None => Ok(Value::clone(&ended.output.as_ref().expect("an output")["log"])),
        };
        assert_eq!(got, log);
    }
}

#[test]
fn a_reducer_that_fails_ends_the_run() {
    let mut spec = fork_and_join();
    let channel = json!({"reducer": {"cel": "left + right"}, "default": 1});
    spec.channels.insert("log".to_owned(), serde_json::from_value(channel).expect("a channel"));
    let mut rig = Rig::new(spec);
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "b");
    let ended = rig.ended(&run).expect("the run ended");
    let error = ended.error.as_ref().expect("an error");
    assert_eq!((error.code.as_str(), error.kind.as_deref()), ("invalid_update", Some("ReducerError")));
    assert!(error.message.starts_with("At key 'log': "), "{}", error.message);
}

#[test]
fn a_program_joins_the_writes_before_the_step_is_applied() {
    let mut rig = Rig::new(reduced());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "b");
    rig.finish_node(&run, "a");
    let (asked, task) = reduction(&rig);
    let values = vec![Arc::new(json!(["a"])), Arc::new(json!(["b"]))];
    assert_eq!(asked, Reduction { channel: "log".to_owned(), value: Arc::new(json!([])), values }, "in task order");
    assert_eq!(task.place_of_work(), "START");
    rig.finish(&run, wrote(&task, "log", json!(["joined"])));
    rig.finish_node(&run, "c");
    let (asked, task) = reduction(&rig);
    assert_eq!(*asked.value, json!(["joined"]));
    rig.finish(&run, wrote(&task, "log", json!(["done"])));
    rig.check_end(&run, RunStatus::Success, None, json!(["done"]));
    assert!(rig.done(&run).iter().all(|done| !done.node.starts_with("reduce")), "no node's: nobody is shown it");
}

#[test]
fn an_overwrite_needs_no_program() {
    let mut rig = Rig::new(reduced());
    let run = rig.invoke(json!({}));
    let (a, b) = (rig.task("a"), rig.task("b"));
    rig.finish(&run, wrote(&a, "log", json!({"__overwrite__": ["new"]})));
    rig.finish(&run, named(&b));
    let c = rig.task("c");
    rig.finish(&run, result(&c));
    rig.check_end(&run, RunStatus::Success, None, json!(["new"]));
}

#[test]
fn a_program_that_cannot_join_fails_the_run_and_is_asked_again_when_it_goes_on() {
    let mut rig = Rig::new(reduced());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "b");
    let (_, first) = reduction(&rig);
    rig.finish(&run, failed(&first));
    let error = rig.ended(&run).and_then(|ended| ended.error.clone()).expect("an error");
    assert_eq!((error.code.as_str(), error.message.as_str()), ("node_failed", "At key 'log': boom"));
    let again = rig.request(graph::event::Request::default());
    let (_, task) = reduction(&rig);
    assert_ne!((task.id, task.issue), (first.id, first.issue), "a worker would take it for a copy");
    rig.finish(&again, wrote(&task, "log", json!(["both"])));
    let c = rig.task("c");
    rig.finish(&again, result(&c));
    rig.check_end(&again, RunStatus::Success, None, json!(["both"]));
}

#[test]
fn what_finished_beside_a_failure_is_joined_to_be_shown() {
    for joins in [true, false] {
        let mut rig = Rig::new(reduced());
        let run = rig.invoke(json!({}));
        rig.finish_node(&run, "a");
        let b = rig.task("b");
        rig.finish(&run, failed(&b));
        assert!(rig.ended(&run).is_none(), "the program is asked first");
        let (asked, task) = reduction(&rig);
        assert_eq!(asked.values, vec![Arc::new(json!(["a"]))]);
        let (joined, shown) = match joins {
            true => (wrote(&task, "log", json!(["joined a"])), json!(["joined a"])),
            false => (failed(&task), json!([])),
        };
        rig.finish(&run, joined);
        let ended = rig.ended(&run).expect("the run ended");
        assert_eq!(ended.error.as_ref().and_then(|error| error.node.as_deref()), Some("b"));
        assert_eq!(json!(ended.output), json!({"log": shown}));

        // Shown is not applied: the step is joined whole when it is gone on from.
        let again = rig.request(graph::event::Request::default());
        rig.finish_node(&again, "b");
        let (asked, task) = reduction(&rig);
        assert_eq!(*asked.value, json!([]));
        assert_eq!(asked.values, vec![Arc::new(json!(["a"])), Arc::new(json!(["b"]))]);
        rig.finish(&again, wrote(&task, "log", json!(["all"])));
        rig.finish_node(&again, "c");
        let (_, task) = reduction(&rig);
        rig.finish(&again, wrote(&task, "log", json!(["done"])));
        rig.check_end(&again, RunStatus::Success, None, json!(["done"]));
    }
}

/// Nobody is asked for a view: what such a channel would hold isn't known, and all else is.
#[test]
fn what_nobody_was_asked_to_join_is_shown_as_it_was() {
    let mut spec = reduced();
    spec.channels.insert("x".to_owned(), serde_json::from_value(json!({})).expect("a channel"));
    let mut rig = Rig::new(spec);
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let writes = vec![("log".into(), Arc::new(json!(["a"]))), ("x".into(), Arc::new(json!(1)))];
    rig.finish(&run, TaskResult { writes: Arc::new(writes), ..result(&task) });
    rig.fold(&run, Event::Cancelled { reason: String::new(), rollback: false });
    let shown = rig.ended(&run).and_then(|ended| ended.output.clone()).expect("an output");
    assert_eq!(json!(shown), json!({"log": [], "x": 1}));
}

#[test]
fn a_program_that_cannot_join_beside_a_question_hides_it_not() {
    let mut rig = Rig::new(reduced());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    let task = rig.task("b");
    let id = ids::interrupt_id(&task.checkpoint_ns, 0);
    let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
    rig.finish(&run, TaskResult { interrupts: vec![question], ..result(&task) });
    let (_, task) = reduction(&rig);
    rig.finish(&run, failed(&task));
    let ended = rig.ended(&run).expect("an end");
    assert_eq!((ended.status, ended.interrupts.len()), (RunStatus::Interrupted, 1), "{ended:?}");
}

#[test]
fn a_program_says_where_a_run_begins() {
    let mut rig = Rig::new(decided());
    let run = rig.invoke(json!({"log": ["in"]}));
    let task = rig.task("START");
    let writes = Arc::new(vec![("log".into(), Arc::new(json!(["in"])))]);
    assert_eq!((task.work.as_deref(), task.place_of_work()), (Some(&Work::Decision { writes }), "START"));
    rig.finish(&run, to(&task, "b"));
    rig.finish_node(&run, "b");
    rig.check_end(&run, RunStatus::Success, None, json!(["in", "b"]));
    assert_eq!(rig.done(&run).len(), 1, "START is nobody's task");
}

#[test]
fn a_decision_that_fails_fails_the_run() {
    let mut rig = Rig::new(decided());
    let run = rig.invoke(json!({}));
    let task = rig.task("START");
    rig.finish(&run, failed(&task));
    rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!([]));
}

/// START -> inner, which is START -> a; what goes in and out is mapped.
fn nested(more: Value) -> (GraphSpec, GraphSpec) {
    let channels = json!({"log": {"reducer": "append"}, "n": {}});
    let inner = spec(channels, &["a"], json!([plain(&["START"], "a")]));
    let mut outer = spec(json!({"log": {"reducer": "append"}, "x": {}}), &[], json!([plain(&["START"], "inner")]));
    let mut node = json!({"name": "inner", "kind": "subgraph", "hash": inner.hash(), "graph": "g.inner"});
    node.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    outer.nodes.push(serde_json::from_value(node).expect("a node"));
    (outer, inner)
}

fn rig_of((outer, inner): (GraphSpec, GraphSpec)) -> Rig {
    let inner = Arc::new(Graph::new(inner).expect("a graph"));
    let mut rig = Rig::new(outer);
    rig.graphs.0.insert(inner.hash().to_owned(), inner);
    rig
}

#[test]
fn what_a_graph_in_a_node_is_given_and_gives_is_mapped() {
    let maps = json!({"input": {"n": "state.x * 2", "log": "['in']"}, "update": {"log": "out.log + [string(out.n)]"}});
    let mut rig = rig_of(nested(maps));
    let run = rig.invoke(json!({"x": 4, "log": ["outer"]}));
    let task = rig.task("a");
    assert_eq!((&*task.channels["n"], &*task.channels["log"]), (&json!(8), &json!(["in"])));
    rig.finish_node(&run, "a");
    rig.check_end(&run, RunStatus::Success, None, json!(["outer", "in", "a", "8"]));
}

#[test]
fn a_mapping_that_fails_fails_its_node() {
    for maps in [json!({"input": {"n": "state.nothing"}}), json!({"update": {"log": "out.nothing"}})] {
        let mut rig = rig_of(nested(maps.clone()));
        let run = rig.invoke(json!({"x": 4}));
        if maps.get("input").is_none() {
            rig.finish_node(&run, "a");
        }
        let error: TaskError = rig.done(&run).last().and_then(|done| done.error.clone()).expect("an error");
        assert!(error.message.contains("nothing"), "{}", error.message);
        assert_eq!(rig.ended(&run).map(|ended| ended.status), Some(RunStatus::Error));
    }
}

#[test]
fn a_program_says_where_to_go_after_a_graph_in_a_node() {
    let (mut outer, inner) = nested(json!({}));
    let b = json!({"name": "b", "kind": "rust", "type": "test"});
    outer.nodes.push(serde_json::from_value(b).expect("a node"));
    let decide = json!({"decide": {"from": "inner", "decide": {"url": "http://x/decide"}, "to": ["b"]}});
    outer.edges.push(serde_json::from_value(decide).expect("an edge"));
    let mut rig = rig_of((outer, inner));
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    let task = rig.task("inner");
    let writes = Arc::new(vec![("log".into(), Arc::new(json!(["a"])))]);
    assert_eq!(task.work.as_deref(), Some(&Work::Decision { writes }));
    rig.finish(&run, to(&task, "b"));
    rig.finish_node(&run, "b");
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
}

#[test]
fn a_binarys_own_reducer_joins_in_the_fold() {
    let longest = |left: &Value, right: &Value| match (left.as_str(), right.as_str()) {
        (Some(_), Some("panic")) => panic!("as asked"),
        (Some(left), Some(right)) => Ok(json!(if right.len() > left.len() { right } else { left })),
        _ => Err(format!("{right} is no text")),
    };
    let others = Reducers::default().with("longest", longest);
    let reducers = Reducers::default().with("other", |left, _| Ok(left.clone())).and(others);
    let channels =
        json!({"text": {"schema": {"type": "string"}, "reducer": {"rust": "longest"}}, "log": {"reducer": "append"}});
    let edges = json!([plain(&["START"], "a"), plain(&["START"], "b")]);
    let spec = spec(channels, &["a", "b"], edges);
    for (written, reducers_missing, status, code) in [
        (json!("the longest"), false, RunStatus::Success, None),
        (json!(7), false, RunStatus::Error, Some("invalid_update")),
        (json!("panic"), false, RunStatus::Error, Some("invalid_update")),
        (json!("the longest"), true, RunStatus::Error, Some("invalid_update")),
    ] {
        let reducers = if reducers_missing { &Reducers::default() } else { &reducers };
        let mut rig = Rig::of(Graph::with_reducers(spec.clone(), reducers).unwrap());
        let run = rig.invoke(json!({"text": "given"}));
        // Without the reducer the input can't be joined.
        let tasks = if reducers_missing { vec![] } else { vec![("b", written.clone()), ("a", json!("short"))] };
        for (node, value) in tasks {
            let task = rig.task(node);
            rig.finish(&run, wrote(&task, "text", value));
        }
        let ended = rig.ended(&run).expect("an end");
        assert_eq!((ended.status, ended.error.as_ref().map(|error| error.code.as_str())), (status, code), "{ended:?}");
        let says = ended.error.as_ref().map_or("", |error| &error.message);
        assert!(!reducers_missing || says.contains("no reducer longest: register it"), "{says}");
        if status == RunStatus::Success {
            assert_eq!(*ended.output.as_ref().unwrap()["text"], written);
        }
    }
}
