//! Questions and breakpoints: who is asked, which answer goes where, and what a thread keeps while it waits.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    envelope::Envelope,
    event::{CommandInput, Request, TimerKind},
    ids,
    spec::GraphSpec,
    state::KeyState,
    task::{Interrupt, Task, TaskResult},
    update::RunStatus,
};
use serde_json::{Value, json};

use crate::rig::{Rig, chain, fork_and_join, named, plain, result, spec, timeouts};

fn asking(task: &Task, answered: u32) -> TaskResult {
    let id = ids::interrupt_id(&task.checkpoint_ns, answered as usize);
    let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
    TaskResult { interrupts: vec![question], answered, ..result(task) }
}

fn resume_by_id(rig: &mut Rig, id: &str, answer: Value) -> Arc<Envelope> {
    let answers = Some(BTreeMap::from([(id.to_owned(), Arc::new(answer))]));
    let command = CommandInput { answers, ..CommandInput::default() };
    rig.request(Request { command: Some(command), ..Request::default() })
}

fn ask(rig: &mut Rig, run: &Arc<Envelope>, node: &str, answered: u32) {
    let task = rig.task(node);
    rig.finish(run, asking(&task, answered));
}

fn resume(rig: &mut Rig, answer: Value) -> Arc<Envelope> {
    let command = CommandInput { resume: Some(Arc::new(answer)), ..CommandInput::default() };
    rig.request(Request { command: Some(command), ..Request::default() })
}

#[track_caller]
fn check_paused(rig: &Rig, run: &Envelope, questions: usize, next: &[&str]) {
    let ended = rig.ended(run).expect("the run ended");
    assert_eq!((ended.status, ended.interrupts.len()), (RunStatus::Interrupted, questions), "{ended:?}");
    assert_eq!(ended.next, next);
    assert!(rig.state().is_idle() && !rig.state().is_closed());
}

#[test]
fn a_second_question_keeps_the_first_answer() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    ask(&mut rig, &run, "a", 0);
    check_paused(&rig, &run, 1, &["a"]);
    let run = resume(&mut rig, json!("one"));
    assert_eq!(rig.task("a").answers, [Arc::new(json!("one"))]);
    ask(&mut rig, &run, "a", 1);
    check_paused(&rig, &run, 1, &["a"]);
    let run = resume(&mut rig, json!("two"));
    let task = rig.task("a");
    assert_eq!(task.answers, [Arc::new(json!("one")), Arc::new(json!("two"))]);
    rig.finish(&run, TaskResult { answered: 2, ..named(&task) });
    rig.finish_node(&run, "b");
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
}

#[test]
fn answers_by_id_find_their_question_or_none() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    ask(&mut rig, &run, "a", 0);
    let ns = rig.task("a").checkpoint_ns;
    // Nobody asked under this id.
    let run = resume_by_id(&mut rig, &ids::interrupt_id("elsewhere", 0), json!("lost"));
    assert!(rig.task("a").answers.is_empty());
    ask(&mut rig, &run, "a", 0);
    let run = resume_by_id(&mut rig, &ids::interrupt_id(&ns, 0), json!("one"));
    ask(&mut rig, &run, "a", 1);
    // A later question has an id of its own.
    let run = resume_by_id(&mut rig, &ids::interrupt_id(&ns, 1), json!("two"));
    assert_eq!(rig.task("a").answers, [Arc::new(json!("one")), Arc::new(json!("two"))]);
    ask(&mut rig, &run, "a", 2);
    // The first id answers it as well.
    resume_by_id(&mut rig, &ids::interrupt_id(&ns, 0), json!("three"));
    assert_eq!(rig.task("a").answers.last(), Some(&Arc::new(json!("three"))));
}

/// An answer without an id that an earlier run took up is there for a later question; the one by id is not given twice.
#[test]
fn an_answer_by_id_is_given_once_in_a_run() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    ask(&mut rig, &run, "a", 0);
    let run = resume(&mut rig, json!("yes"));
    ask(&mut rig, &run, "a", 1);
    let first = ids::interrupt_id(&rig.task("a").checkpoint_ns, 0);
    let run = resume_by_id(&mut rig, &first, json!("one"));
    ask(&mut rig, &run, "a", 2);
    let given = ["yes", "one", "yes"].map(|answer| Arc::new(json!(answer)));
    assert_eq!(rig.task("a").answers, given);
    assert!(rig.ended(&run).is_none(), "it is issued again");
}

#[test]
fn parallel_questions_are_answered_by_id_each_in_its_time() {
    let mut rig = Rig::new(fork_and_join());
    let run = rig.invoke(json!({}));
    ask(&mut rig, &run, "a", 0);
    ask(&mut rig, &run, "b", 0);
    check_paused(&rig, &run, 2, &["a", "b"]);
    let alone = resume(&mut rig, json!("whom?"));
    rig.check_end(&alone, RunStatus::Error, Some("invalid_value"), json!([]));
    let id = ids::interrupt_id(&rig.task("b").checkpoint_ns, 0);
    let answers = Some(BTreeMap::from([(id, Arc::new(json!("b's")))]));
    let command = CommandInput { answers, ..CommandInput::default() };
    let run = rig.request(Request { command: Some(command), ..Request::default() });
    assert_eq!((rig.task("a").answers.len(), rig.task("b").answers.len()), (0, 1));
    ask(&mut rig, &run, "a", 0);
    let task = rig.task("b");
    rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
    check_paused(&rig, &run, 1, &["a"]);
    let issued = rig.issued.len();
    let run = resume(&mut rig, json!("a's"));
    assert_eq!(rig.issued.len(), issued + 1, "what finished isn't run again");
    let task = rig.task("a");
    rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
    rig.finish_node(&run, "c");
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b", "c"]));
}

#[test]
fn an_answer_goes_to_one_task_and_on_to_the_next_that_asks() {
    let mut rig = Rig::new(fork_and_join());
    let run = rig.invoke(json!({}));
    rig.fail_node(&run, "a");
    rig.fail_node(&run, "b");
    let run = resume(&mut rig, json!("yes"));
    assert_eq!((rig.task("a").answers.len(), rig.task("b").answers.len()), (1, 0));
    ask(&mut rig, &run, "b", 0);
    assert!(rig.done(&run).iter().all(|done| done.interrupts.is_empty()), "nobody is asked while an answer waits");
    rig.finish_node(&run, "a");
    let task = rig.task("b");
    assert_eq!((task.issue, task.answers.len()), (3, 1));
    rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
    rig.finish_node(&run, "c");
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b", "c"]));
}

/// START -> graphs, each with a node beside a graph of a node that asks: `b1` beside `q1`, `b2` beside `q2`.
fn asking_inside(graphs: &[&str]) -> Rig {
    let channels = json!({"log": {"reducer": "append"}});
    let graph = |name: &str, nodes: &[&str], inner: &[(&str, &GraphSpec)]| {
        let names = nodes.iter().copied().chain(inner.iter().map(|(name, _)| *name));
        let edges = names.map(|name| plain(&["START"], name)).collect::<Vec<_>>();
        let mut graph = json!(spec(channels.clone(), nodes, json!(edges)));
        graph["name"] = json!(name);
        for (node, spec) in inner {
            let node = json!({"name": node, "kind": "subgraph", "graph": spec.name, "hash": spec.hash(), "memory": "none",
                "timeout_ms": 500});
            graph["nodes"].as_array_mut().unwrap().push(node);
        }
        serde_json::from_value::<GraphSpec>(graph).expect("a spec")
    };
    let deep: Vec<GraphSpec> = graphs.iter().map(|n| graph(&format!("deep{n}"), &[&format!("q{n}")], &[])).collect();
    let middle: Vec<GraphSpec> = graphs
        .iter()
        .zip(&deep)
        .map(|(n, deep)| graph(&format!("middle{n}"), &[&format!("b{n}")], &[("c", deep)]))
        .collect();
    let inside: Vec<(&str, &GraphSpec)> = graphs.iter().copied().zip(&middle).collect();
    let mut rig = Rig::new(graph("g", &[], &inside));
    for spec in deep.into_iter().chain(middle) {
        rig.add(spec);
    }
    rig
}

/// Every graph begins anew, so that who will ask isn't known: the answer is offered to a node that doesn't.
fn resumed_inside(graphs: &[&str]) -> (Rig, Arc<Envelope>) {
    let mut rig = asking_inside(graphs);
    let run = rig.invoke(json!({}));
    for n in graphs {
        rig.fail_node(&run, &format!("b{n}"));
        rig.fail_node(&run, &format!("q{n}"));
    }
    assert_eq!(rig.ended(&run).map(|ended| ended.status), Some(RunStatus::Error));
    let run = resume(&mut rig, json!("yes"));
    assert_eq!(rig.task("b1").answers, [Arc::new(json!("yes"))]);
    (rig, run)
}

#[test]
fn a_question_inside_of_a_graph_waits_for_an_answer_that_is_offered_elsewhere() {
    let (mut rig, run) = resumed_inside(&["1"]);
    ask(&mut rig, &run, "q1", 0);
    assert!(rig.done(&run).iter().all(|done| done.interrupts.is_empty()), "nobody is asked while an answer waits");
    rig.state = Some(KeyState::decode(&rig.state().encode()).expect("a state"));
    rig.finish_node(&run, "b1");
    let task = rig.task("q1");
    assert_eq!(task.answers, [Arc::new(json!("yes"))]);
    rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
    rig.check_end(&run, RunStatus::Success, None, json!(["b1", "q1"]));
}

#[test]
fn a_question_inside_of_a_graph_is_asked_once_the_answer_is_another_tasks() {
    let (mut rig, run) = resumed_inside(&["1"]);
    ask(&mut rig, &run, "q1", 0);
    let task = rig.task("b1");
    rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
    check_paused(&rig, &run, 1, &["1"]);
    assert_eq!(
        rig.done(&run).iter().map(|done| done.interrupts.len()).sum::<usize>(),
        3,
        "by each graph that it is in"
    );
}

#[test]
fn a_graph_that_took_too_long_gives_the_answer_back() {
    let (mut rig, run) = resumed_inside(&["1", "2"]);
    rig.finish_node(&run, "q1");
    rig.finish_node(&run, "b2");
    ask(&mut rig, &run, "q2", 0);
    let outer = rig.task("b1").checkpoint_ns[2..38].parse().expect("the id of the task that is the graph");
    let (timer, _) = timeouts(&rig).into_iter().find(|(timer, _)| timer.kind == TimerKind::Timeout(outer)).unwrap();
    rig.fire(&run, &timer);
    let task = rig.task("q2");
    assert_eq!(task.answers, [Arc::new(json!("yes"))]);
    rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
    rig.check_end(&run, RunStatus::Error, Some("node_failed"), json!(["b2", "q2"]));
}

#[test]
fn breakpoints_stop_before_and_after() {
    let mut rig = Rig::new(chain());
    let request = Request { interrupt_before: vec!["b".to_owned()], ..Request::default() };
    let run = rig.request(Request { input: Some(Arc::new(json!({}))), ..request });
    rig.finish_node(&run, "a");
    check_paused(&rig, &run, 0, &["b"]);
    let run = rig.request(Request { interrupt_after: vec!["*".to_owned()], ..Request::default() });
    rig.finish_node(&run, "b");
    check_paused(&rig, &run, 0, &[]);
}
