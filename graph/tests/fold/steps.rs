//! Supersteps: what runs together, what waits, and when it ends.

use std::sync::Arc;

use graph::{
    branch::decide,
    event::{Request, RunConfig},
    task::{Destination, Task, TaskPath, TaskResult},
    update::{Happened, RunStatus},
};
use serde_json::{Value, json};

use crate::rig::{Rig, chain, failed, fork_and_join, named, plain, result, spec};

fn log() -> Value {
    json!({"log": {"reducer": "append"}})
}

/// Nodes of the steps that a run issued, each step sorted.
fn steps(rig: &Rig) -> Vec<Vec<String>> {
    let mut steps: Vec<(i64, Vec<String>)> = Vec::new();
    for (_, task) in &rig.issued {
        match steps.last_mut() {
            Some((step, nodes)) if *step == task.step => nodes.push(task.node.to_string()),
            _ => steps.push((task.step, vec![task.node.to_string()])),
        }
    }
    steps.into_iter().map(|(_, nodes)| nodes).collect()
}

/// Runs a graph whose nodes write their names, and gives the nodes of each step.
fn run(rig: &mut Rig) -> Vec<Vec<String>> {
    let run = rig.invoke(json!({}));
    let mut done = 0;
    while done < rig.issued.len() {
        let task = rig.issued[done].1.clone();
        rig.finish(&run, named(&task));
        done += 1;
        assert!(done < 100, "the graph doesn't end");
    }
    steps(rig)
}

#[test]
fn writes_count_in_the_order_of_names_not_of_ends() {
    let names = ["é", "_", "b", "B", "a0", "a b", "a", "z", "A"];
    let edges: Vec<Value> = names.iter().map(|name| plain(&["START"], name)).collect();
    let mut rig = Rig::new(spec(log(), &names, json!(edges)));
    let run = rig.invoke(json!({}));
    for name in names {
        rig.finish_node(&run, name);
    }
    rig.check_end(&run, RunStatus::Success, None, json!(["A", "B", "_", "a", "a b", "a0", "b", "z", "é"]));
}

#[test]
fn snapshots_list_nodes_as_registered() {
    let mut rig = Rig::new(spec(log(), &["z", "a"], json!([plain(&["START"], "a"), plain(&["START"], "z")])));
    let run = rig.invoke(json!({}));
    let Some(Happened::StepDone(step)) =
        rig.happened(&run).into_iter().rev().find(|h| matches!(h, Happened::StepDone(_)))
    else {
        panic!("a checkpoint")
    };
    let next: Vec<&str> = step.next.iter().map(|task| &*task.node).collect();
    assert_eq!(next, ["z", "a"]);
    let issued: Vec<&str> = rig.issued.iter().map(|(_, task)| &*task.node).collect();
    assert_eq!(issued, ["a", "z"]);
}

#[test]
fn a_join_waits_and_plain_edges_do_not() {
    assert_eq!(run(&mut Rig::new(fork_and_join())), [vec!["a", "b"], vec!["c"]]);
    let uneven = |last: Value| {
        let edges =
            json!([plain(&["START"], "a"), plain(&["START"], "b"), plain(&["b"], "b2"), last, plain(&["b2"], "c")]);
        spec(log(), &["a", "b", "b2", "c"], edges)
    };
    assert_eq!(run(&mut Rig::new(uneven(plain(&["a"], "c")))), [vec!["a", "b"], vec!["b2", "c"], vec!["c"]]);
    let mut joined = uneven(json!({"plain": {"from": ["a", "b2"], "to": "c"}}));
    joined.edges.pop();
    assert_eq!(run(&mut Rig::new(joined)), [vec!["a", "b"], vec!["b2"], vec!["c"]]);
}

#[test]
fn a_deferred_node_runs_when_nothing_else_can() {
    let edges = json!([
        plain(&["START"], "a"),
        plain(&["START"], "d"),
        plain(&["a"], "b"),
        plain(&["b"], "c"),
        plain(&["a"], "d")
    ]);
    let mut spec = spec(log(), &["a", "b", "c", "d"], edges);
    spec.nodes[3].defer = true;
    assert_eq!(run(&mut Rig::new(spec)), [vec!["a"], vec!["b"], vec!["c"], vec!["d"]]);
}

#[test]
fn a_half_filled_join_survives_the_run() {
    let when = |name: &str| json!({"if": format!("state.go == '{name}'"), "to": [{"node": name}]});
    let start = json!({"every": {"from": "START", "cases": [when("a"), when("b")]}});
    let channels = json!({"log": {"reducer": "append"}, "go": {}});
    let mut rig = Rig::new(spec(channels, &["a", "b", "c"], json!([start, plain(&["a", "b"], "c")])));
    for go in ["a", "b"] {
        let run = rig.invoke(json!({"go": go}));
        rig.finish_node(&run, go);
    }
    assert_eq!(steps(&rig), [["a"], ["b"], ["c"]]);
}

#[test]
fn a_join_begins_anew_each_round() {
    let again = json!({"when": {"from": "c", "cases": [
        {"if": "size(state.log) < 9", "to": [{"node": "a"}, {"node": "b"}]}, {"to": [{"node": "END"}]}
    ]}});
    let mut spec = fork_and_join();
    spec.edges.push(serde_json::from_value(again).expect("an edge"));
    let round = [vec!["a", "b"], vec!["c"]];
    // The nodes' programs stand in here, and so does what c decides.
    let mut rig = Rig::new(spec);
    let run = rig.invoke(json!({}));
    let mut done = 0;
    while done < rig.issued.len() {
        let task = rig.issued[done].1.clone();
        let mut result = named(&task);
        result.branches =
            decide(&rig.graph, &task.node, &task.channels, &result.writes, &task.context).expect("a decision");
        rig.finish(&run, result);
        done += 1;
    }
    assert_eq!(steps(&rig), [round.clone(), round.clone(), round].concat());
}

#[test]
fn sends_keep_their_order_and_their_arguments() {
    let mut rig = Rig::new(spec(log(), &["a", "w"], json!([plain(&["START"], "a")])));
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let sends = (0..12).map(|n| Destination::Send { node: "w".to_owned(), argument: Arc::new(json!(n)) });
    let dropped = Destination::Send { node: "nobody".to_owned(), argument: Arc::new(json!(99)) };
    rig.finish(&run, TaskResult { branches: sends.chain([dropped]).collect(), ..result(&task) });
    let pushed: Vec<_> = rig.issued[1..].iter().map(|(_, task)| task.clone()).collect();
    assert_eq!(pushed.len(), 12);
    for task in pushed.iter().rev() {
        let TaskPath::Push { argument, .. } = &task.path else { panic!("{task:?} was sent") };
        let writes = Arc::new(vec![("log".into(), Arc::new(json!([&**argument])))]);
        rig.finish(&run, TaskResult { writes, ..result(task) });
    }
    rig.check_end(&run, RunStatus::Success, None, json!([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
}

#[test]
fn only_the_send_that_failed_runs_again() {
    let mut rig = Rig::new(spec(log(), &["a", "w"], json!([plain(&["START"], "a")])));
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let sends = (0..3).map(|n| Destination::Send { node: "w".to_owned(), argument: Arc::new(json!(n)) });
    rig.finish(&run, TaskResult { branches: sends.collect(), ..result(&task) });
    let wrote = |task: &Task| {
        let TaskPath::Push { argument, .. } = &task.path else { panic!("{task:?} was sent") };
        TaskResult { writes: Arc::new(vec![("log".into(), Arc::new(json!([&**argument])))]), ..result(task) }
    };
    let pushed: Vec<Task> = rig.issued[1..].iter().map(|(_, task)| task.clone()).collect();
    rig.finish(&run, wrote(&pushed[0]));
    rig.finish(&run, wrote(&pushed[2]));
    rig.finish(&run, failed(&pushed[1]));
    let run = rig.request(Request::default());
    let again: Vec<Task> = rig.issued[4..].iter().map(|(_, task)| task.clone()).collect();
    assert_eq!(again.iter().map(|task| task.id).collect::<Vec<_>>(), [pushed[1].id]);
    rig.finish(&run, wrote(&again[0]));
    rig.check_end(&run, RunStatus::Success, None, json!([0, 1, 2]));
}

#[test]
fn a_goto_does_not_stop_plain_edges() {
    let edges = json!([plain(&["START"], "a"), plain(&["a"], "b")]);
    let mut rig = Rig::new(spec(log(), &["a", "b", "c"], edges));
    let run = rig.invoke(json!({}));
    let goto = ["c", "nobody", "END"].map(|name| Destination::Node(name.to_owned())).to_vec();
    let task = rig.task("a");
    rig.finish(&run, TaskResult { goto, ..result(&task) });
    assert_eq!(steps(&rig)[1], ["b", "c"]);
}

#[test]
fn start_decides_on_the_input() {
    let start = json!({"when": {"from": "START", "cases": [
        {"if": "size(state.log) > 1", "to": [{"node": "b"}]}, {"to": [{"node": "a"}, {"node": "END"}]}
    ]}});
    for (input, node) in [(json!([]), "a"), (json!([1, 2]), "b")] {
        let mut rig = Rig::new(spec(log(), &["a", "b"], json!([start])));
        rig.invoke(json!({"log": input}));
        assert_eq!(steps(&rig), [[node]]);
    }
}

#[test]
fn a_failed_condition_of_start_ends_the_run() {
    let start = json!({"when": {"from": "START", "cases": [{"if": "state.nothing > 1", "to": [{"node": "a"}]}]}});
    let mut rig = Rig::new(spec(log(), &["a"], json!([start])));
    let run = rig.invoke(json!({"log": [1]}));
    rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!([1]));
}

#[test]
fn the_recursion_limit_is_counted_as_langgraph_counts() {
    // A chain of two steps needs a limit of three, and both have run before the error.
    for (limit, code) in [(1, Some("recursion_limit")), (2, Some("recursion_limit")), (3, None)] {
        let mut rig = Rig::new(chain());
        let config = RunConfig { recursion_limit: Some(limit), ..RunConfig::default() };
        let input = Some(Arc::new(json!({})));
        let run = rig.request(Request { input, config: config.clone(), ..Request::default() });
        assert_eq!(rig.task("a").stop - rig.task("a").step, i64::from(limit) - 1, "remaining steps");
        rig.finish_node(&run, "a");
        if limit > 1 {
            rig.finish_node(&run, "b");
        }
        let status = if code.is_some() { RunStatus::Error } else { RunStatus::Success };
        let log = if limit == 1 { json!(["a"]) } else { json!(["a", "b"]) };
        rig.check_end(&run, status, code, log);
    }
}

#[test]
fn without_a_limit_there_are_10007_steps() {
    let mut rig = Rig::new(chain());
    rig.invoke(json!({}));
    assert_eq!(rig.task("a").stop - rig.task("a").step, 10_006, "remaining steps of the first node");
}

#[test]
fn a_limit_that_was_reached_can_be_continued() {
    let mut rig = Rig::new(spec(log(), &["a"], json!([plain(&["START"], "a"), plain(&["a"], "a")])));
    let config = RunConfig { recursion_limit: Some(3), ..RunConfig::default() };
    let input = Some(Arc::new(json!({})));
    let run = rig.request(Request { input, config: config.clone(), ..Request::default() });
    for _ in 0..3 {
        rig.finish_node(&run, "a");
    }
    rig.check_end(&run, RunStatus::Error, Some("recursion_limit"), json!(["a", "a", "a"]));
    assert_eq!(rig.ended(&run).map(|ended| ended.next.clone()), Some(vec!["a".to_owned()]));
    // A continued run may take two supersteps more.
    let again = rig.request(Request { config, ..Request::default() });
    for _ in 0..5 {
        rig.finish_node(&again, "a");
    }
    assert_eq!(rig.ended(&again).and_then(|ended| ended.error.clone()).expect("an error").code, "recursion_limit");
}

#[test]
fn a_step_that_writes_no_state_says_so() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    rig.finish(&run, result(&task));
    rig.finish_node(&run, "b");
    let wrote: Vec<bool> = rig
        .happened(&run)
        .into_iter()
        .filter_map(|happened| match happened {
            Happened::StepDone(step) => Some(step.wrote),
            _ => None,
        })
        .collect();
    assert_eq!(wrote, [false, false, false, true]);
    assert_eq!(rig.done(&run)[0].update, None);
}

#[test]
fn a_task_carries_what_its_node_and_its_conditions_read() {
    let when = json!({"when": {"from": "n", "cases": [{"if": "size(state.log) > 1", "to": [{"node": "END"}]}, {"to": [{"node": "n"}]}]}});
    let channels = json!({"log": {"reducer": "append"}, "a": {}, "b": {}});
    let mut spec = spec(channels, &[], json!([plain(&["START"], "n"), when]));
    let node = json!({"name": "n", "kind": "transform", "update": {"log": "[1]", "b": "state.a"}});
    spec.nodes = vec![serde_json::from_value(node).expect("a node")];
    let mut rig = Rig::new(spec);
    let run = rig.invoke(json!({"a": 1, "b": 2}));
    let task = rig.task("n");
    assert_eq!(task.channels.keys().map(|name| &**name).collect::<Vec<_>>(), ["a", "log"]);
    // Its conditions see its writes through the reducers; what none of them reads isn't missed.
    let mut rounds = 0;
    while rig.ended(&run).is_none() {
        let task = rig.task("n");
        let write = |name: &str, value| (Arc::from(name), Arc::new(value));
        let writes = vec![write("log", json!([1])), write("b", json!(1)), write("b", json!(2))];
        let branches = decide(&rig.graph, "n", &task.channels, &writes, &task.context).expect("a decision");
        rig.finish(&run, TaskResult { writes: Arc::new(writes[..2].to_vec()), branches, ..result(&task) });
        rounds += 1;
    }
    assert_eq!(rounds, 2);
}
