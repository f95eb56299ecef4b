//! Edits behind which programs decide, or whose writes programs join: the thread is theirs until they are answered.

use std::sync::Arc;

use graph::{
    envelope::Envelope,
    event::{Edit, Event, Multitask, Request, StateUpdate, TimerKind},
    spec::GraphSpec,
    state::KeyState,
    task::{Destination, Task, TaskResult, Work},
    update::{Edited, Happened, RunStatus},
};
use serde_json::{Value, json};

use crate::rig::{DEADLINE_MS, Rig, cancelled, failed, fork_and_join, plain, result, spec};

/// START -> a -> b or c, as a program says.
fn decided() -> GraphSpec {
    let decide = json!({"decide": {"from": "a", "decide": {"url": "http://x/decide"}}});
    spec(json!({"log": {"reducer": "append"}}), &["a", "b", "c"], json!([plain(&["START"], "a"), decide]))
}

/// START -> a and b -> c; a program joins the writes to the log.
fn reduced() -> GraphSpec {
    let mut spec = fork_and_join();
    let channel = json!({"reducer": {"http": {"url": "http://x/reduce"}}, "default": ["0"]});
    spec.channels.insert("log".to_owned(), serde_json::from_value(channel).expect("a channel"));
    spec
}

fn as_node(node: &str) -> StateUpdate {
    StateUpdate { values: Some(Arc::new(json!({"log": [format!("as {node}")]}))), as_node: Some(node.to_owned()) }
}

fn edit(rig: &mut Rig, supersteps: Vec<Vec<StateUpdate>>) -> Arc<Envelope> {
    let envelope = rig.envelope();
    rig.fold(&envelope, Event::StateEdited(Box::new(Edit { supersteps, ..Edit::default() })));
    store(rig);
    envelope
}

/// What is stored must be enough to go on with.
fn store(rig: &mut Rig) {
    rig.state = Some(KeyState::decode(&rig.state().encode()).expect("a state"));
}

/// The tasks that are asked now.
fn asked(rig: &Rig) -> Vec<Task> {
    let open: Vec<_> = rig.state().open_tasks().map(|(_, task, issue)| (task, issue)).collect();
    let is_open = |task: &&Task| open.contains(&(task.id, task.issue));
    rig.issued.iter().map(|(_, task)| task).filter(is_open).cloned().collect()
}

fn answer(rig: &mut Rig, edit: &Arc<Envelope>, task: &Task, node: &str) {
    let branches = vec![Destination::Node(node.to_owned())];
    rig.finish(edit, TaskResult { branches, ..result(task) });
    store(rig);
}

fn edited(rig: &Rig, edit: &Envelope) -> Option<Edited> {
    rig.happened(edit).into_iter().find_map(|happened| match happened {
        Happened::Edited(edited) => Some(Edited::clone(edited)),
        _ => None,
    })
}

/// The log and what is next, of each checkpoint that an edit made.
fn made(rig: &Rig, edit: &Envelope) -> Vec<(Value, Vec<String>)> {
    let made = rig.happened(edit).into_iter().filter_map(|happened| match happened {
        Happened::StepDone(done) => {
            let next = done.next.iter().map(|task| task.node.to_string()).collect();
            Some((Value::clone(&done.values["log"]), next))
        }
        _ => None,
    });
    made.collect()
}

#[track_caller]
fn check_refused(rig: &Rig, edit: &Envelope, code: &str) {
    let error = edited(rig, edit).expect("the edit is over").error.expect("an error");
    assert_eq!(error.code, code, "{error:?}");
    assert!(rig.state().is_idle() && made(rig, edit).is_empty());
}

#[test]
fn a_program_decides_behind_the_node() {
    let mut rig = Rig::new(decided());
    let edit = edit(&mut rig, vec![vec![as_node("a")]]);
    let [task] = asked(&rig).try_into().expect("one task");
    let writes = Arc::new(vec![("log".into(), Arc::new(json!(["as a"])))]);
    assert_eq!((task.work.as_deref(), task.place_of_work()), (Some(&Work::Decision { writes }), "START"));
    assert!(rig.happened(&edit).is_empty(), "nothing is told before it is made");
    answer(&mut rig, &edit, &task, "c");
    assert_eq!(made(&rig, &edit), [(json!(["as a"]), vec!["c".to_owned()])]);
    assert!(edited(&rig, &edit).is_some_and(|edited| edited.error.is_none()) && rig.state().is_idle());
    let run = rig.request(Request::default());
    rig.finish_node(&run, "c");
    rig.check_end(&run, RunStatus::Success, None, json!(["as a", "c"]));
}

#[test]
fn each_superstep_is_decided_behind_the_one_before() {
    let mut rig = Rig::new(decided());
    let edit = edit(&mut rig, vec![vec![as_node("a"), as_node("a")], vec![as_node("b")], vec![as_node("a")]]);
    let first = asked(&rig);
    assert_eq!(first.len(), 2);
    answer(&mut rig, &edit, &first[1], "c");
    assert_eq!(asked(&rig), [first[0].clone()], "what is answered is not asked again");
    answer(&mut rig, &edit, &first[0], "b");
    let [last] = asked(&rig).try_into().expect("one task");
    assert_eq!(
        *last.channels.get("log").expect("what the steps before wrote"),
        Arc::new(json!(["as a", "as a", "as b"]))
    );
    answer(&mut rig, &edit, &last, "b");
    let next = |nodes: &[&str]| nodes.iter().map(|node| (*node).to_owned()).collect::<Vec<_>>();
    let logs = ["as a", "as a", "as b", "as a"].map(Value::from);
    let log = |count: usize| Value::from(logs[..count].to_vec());
    assert_eq!(made(&rig, &edit), [(log(2), next(&["b", "c"])), (log(3), next(&[])), (log(4), next(&["b"]))]);
}

#[test]
fn a_program_joins_what_an_edit_writes() {
    let mut rig = Rig::new(reduced());
    let edit = edit(&mut rig, vec![vec![as_node("a"), as_node("b")]]);
    let [task] = asked(&rig).try_into().expect("one task");
    let Some(Work::Reduction(reduction)) = task.work.as_deref() else { panic!("{:?}", task.work) };
    assert_eq!(reduction.values, [Arc::new(json!(["as a"])), Arc::new(json!(["as b"]))]);
    let writes = Arc::new(vec![("log".into(), Arc::new(json!(["joined"])))]);
    rig.finish(&edit, TaskResult { writes, ..result(&task) });
    assert_eq!(made(&rig, &edit), [(json!(["joined"]), vec!["c".to_owned()])]);
}

#[test]
fn a_program_that_fails_leaves_the_thread_as_it_was() {
    for spec in [decided(), reduced()] {
        let mut rig = Rig::new(spec);
        let edit = edit(&mut rig, vec![vec![as_node("a")]]);
        let [task] = asked(&rig).try_into().expect("one task");
        rig.finish(&edit, failed(&task));
        check_refused(&rig, &edit, "node_failed");
        assert!(rig.state().head().is_none());
    }
}

#[test]
fn the_thread_is_busy_until_it_is_made() {
    let mut rig = Rig::new(decided());
    let first = edit(&mut rig, vec![vec![as_node("a")]]);
    let second = edit(&mut rig, vec![vec![as_node("b")]]);
    assert_eq!(edited(&rig, &second).and_then(|edited| edited.error).expect("busy").code, "thread_busy");
    let refused = rig.request(Request { multitask: Multitask::Reject, ..Request::default() });
    assert_eq!(rig.ended(&refused).map(|ended| ended.status), Some(RunStatus::Error));
    let waits = rig.request(Request::default());
    let makes_way = rig.request(Request { multitask: Multitask::Rollback, ..Request::default() });
    assert_eq!(rig.ended(&waits).map(|ended| ended.status), Some(RunStatus::Cancelled));
    assert!(matches!(rig.happened(&makes_way)[..], [Happened::Queued(_)]), "it is known from then on");
    let [task] = asked(&rig).try_into().expect("one task");
    answer(&mut rig, &first, &task, "b");
    rig.finish_node(&makes_way, "b");
    rig.check_end(&makes_way, RunStatus::Success, None, json!(["as a", "b"]));
}

#[test]
fn a_task_that_no_worker_finishes_is_asked_again() {
    let mut rig = Rig::new(decided());
    let edit = edit(&mut rig, vec![vec![as_node("a")]]);
    let [first] = asked(&rig).try_into().expect("one task");
    let (task_id, until) = (first.id, rig.at + 10);
    rig.fold(&edit, Event::TaskKept { task_id, issue: first.issue, until });
    let kept = |rig: &Rig, kind: fn(&TimerKind) -> bool| {
        rig.state().timers().map(|(timer, _)| timer.clone()).find(|timer| kind(&timer.kind)).expect("a timer")
    };
    let timer = kept(&rig, |kind| matches!(kind, TimerKind::Kept(_)));
    rig.fire(&edit, &timer);
    let [second] = asked(&rig).try_into().expect("one task");
    assert_eq!((second.id, second.issue), (first.id, first.issue + 1));
    answer(&mut rig, &edit, &first, "b");
    assert!(edited(&rig, &edit).is_none(), "an answer of another issue counts for nothing");
    let not_before = rig.at + 10;
    let issue = second.issue;
    rig.fold(&edit, Event::TaskGivenBack { task_id, issue, attempt: 1, not_before, calls: Vec::new() });
    assert!(asked(&rig).is_empty());
    let timer = kept(&rig, |kind| matches!(kind, TimerKind::Retry(_)));
    rig.fire(&edit, &timer);
    let [third] = asked(&rig).try_into().expect("one task");
    assert_eq!((third.issue, third.attempt), (issue + 1, 1));
    answer(&mut rig, &edit, &third, "c");
    assert_eq!(made(&rig, &edit), [(json!(["as a"]), vec!["c".to_owned()])]);
}

#[test]
fn an_edit_ends_with_its_deadline_its_cancel_or_its_thread() {
    let begin = || {
        let mut rig = Rig::new(decided());
        let edit = edit(&mut rig, vec![vec![as_node("a")]]);
        (rig, edit)
    };
    let (mut rig, edit) = begin();
    rig.at += DEADLINE_MS;
    let timer = rig.state().timers().map(|(timer, _)| timer.clone()).next().expect("a deadline");
    let commands = rig.fire(&edit, &timer);
    assert_eq!(cancelled(&commands), ["a"], "nobody waits for the program");
    check_refused(&rig, &edit, "run_timeout");
    let (mut rig, edit) = begin();
    rig.fold(&edit, Event::Cancelled { reason: String::new(), rollback: true });
    check_refused(&rig, &edit, "run_cancelled");
    let (mut rig, edit) = begin();
    let delete = rig.envelope();
    rig.fold(&delete, Event::ThreadDeleted);
    check_refused(&rig, &edit, "run_cancelled");
}

#[test]
fn an_edit_that_asked_is_never_made_twice() {
    let mut rig = Rig::new(decided());
    let edit = edit(&mut rig, vec![vec![as_node("a")]]);
    let again = || Event::StateEdited(Box::new(Edit { supersteps: vec![vec![as_node("a")]], ..Edit::default() }));
    assert_eq!(rig.fold(&edit, again()), []);
    let [task] = asked(&rig).try_into().expect("one task");
    answer(&mut rig, &edit, &task, "b");
    assert_eq!(rig.fold(&edit, again()), []);
    assert_eq!(rig.finish(&edit, result(&task)), []);
}
