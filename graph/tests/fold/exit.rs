//! Runs that keep only their last checkpoint: what is told of them, what is kept, and what stays as it was.

use std::sync::Arc;

use graph::{
    advance::Command,
    envelope::Envelope,
    event::{CommandInput, Event, Multitask, Request},
    ids,
    spec::GraphSpec,
    state::KeyState,
    task::{Interrupt, TaskResult},
    update::{Checkpointed, Happened, Kept, RunStatus},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::{Rig, chain, plain, result, spec};

fn at_exit(rig: &mut Rig, request: Request) -> Arc<Envelope> {
    rig.request(Request { keeps_last: true, ..request })
}

fn input() -> Request {
    Request { input: Some(Arc::new(json!({}))), ..Request::default() }
}

fn command(resume: Option<Value>, update: Option<Value>) -> Request {
    let command =
        CommandInput { resume: resume.map(Arc::new), update: update.map(Arc::new), ..CommandInput::default() };
    Request { command: Some(command), ..Request::default() }
}

fn ask(rig: &mut Rig, run: &Arc<Envelope>, node: &str) -> Vec<Command> {
    let task = rig.task(node);
    let question =
        Interrupt { id: ids::interrupt_id(&task.checkpoint_ns, 0), value: Arc::new(json!("?")), response_schema: None };
    rig.finish(run, TaskResult { interrupts: vec![question], ..result(&task) })
}

fn kept(rig: &Rig, run: &Envelope) -> Vec<Kept> {
    let all = rig.happened(run).into_iter();
    all.filter_map(|happened| if let Happened::Kept(kept) = happened { Some(Kept::clone(kept)) } else { None })
        .collect()
}

#[track_caller]
fn last(rig: &Rig, run: &Envelope) -> Checkpointed {
    match kept(rig, run).as_slice() {
        [Kept::Checkpoint(last)] => last.clone(),
        other => panic!("one checkpoint is kept, and not {other:?}"),
    }
}

fn archived(commands: &[Command]) -> Vec<Uuid> {
    let id = |command: &Command| match command {
        Command::Archive { checkpoint, .. } => Some(checkpoint.checkpoint_id()),
        _ => None,
    };
    commands.iter().filter_map(id).collect()
}

fn values(of: &Value) -> Value {
    of["log"].clone()
}

/// The thread's own checkpoints but those that pass.
fn listed(rig: &Rig) -> Vec<Uuid> {
    let happened = rig.updates.iter().flat_map(|(_, update)| &update.happened);
    let all = happened.filter_map(|happened| match happened {
        Happened::StepDone(done) if !done.passing => Some(done.checkpoint_id),
        Happened::Kept(kept) => match &**kept {
            Kept::Checkpoint(done) => Some(done.checkpoint_id),
            Kept::Command { .. } => None,
        },
        _ => None,
    });
    all.collect()
}

#[test]
fn only_the_last_checkpoint_is_kept_and_the_next_one_follows_it() {
    let mut rig = Rig::new(chain());
    let first = at_exit(&mut rig, input());
    assert!(listed(&rig).is_empty(), "nothing before the end");
    let commands = rig.finish_node(&first, "a");
    assert!(archived(&commands).is_empty());
    rig.finish_node(&first, "b");
    rig.check_end(&first, RunStatus::Success, None, json!(["a", "b"]));
    let end = last(&rig, &first);
    assert_eq!((end.parent_id, end.step, end.source.as_str(), end.passing), (None, 2, "loop", false));
    assert_eq!(values(&json!(end.values)), json!(["a", "b"]));
    assert_eq!(rig.made().last(), Some(&end.checkpoint_id), "it is the one that streams showed");

    let second = at_exit(&mut rig, input());
    rig.finish_node(&second, "a");
    rig.finish_node(&second, "b");
    let next = last(&rig, &second);
    assert_eq!((next.parent_id, next.step), (Some(end.checkpoint_id), 6));
    assert_eq!(listed(&rig), [end.checkpoint_id, next.checkpoint_id]);
    let third = rig.invoke(json!({}));
    let Happened::StepDone(input) = rig.happened(&third)[1] else { panic!("it takes its input") };
    assert_eq!((input.parent_id, input.passing), (Some(next.checkpoint_id), false));
}

#[test]
fn a_run_that_fails_asks_or_is_cut_off_keeps_where_it_stands() {
    let check = |end: &dyn Fn(&mut Rig, &Arc<Envelope>), status: RunStatus| {
        let mut rig = Rig::new(chain());
        let run = at_exit(&mut rig, input());
        rig.finish_node(&run, "a");
        end(&mut rig, &run);
        assert_eq!(rig.ended(&run).map(|ended| ended.status), Some(status));
        let last = last(&rig, &run);
        let next: Vec<&str> = last.next.iter().map(|task| &*task.node).collect();
        assert_eq!((last.step, next), (1, vec!["b"]));
        let on = rig.request(Request::default());
        rig.finish_node(&on, "b");
        rig.check_end(&on, RunStatus::Success, None, json!(["a", "b"]));
    };
    check(&|rig, run| drop(rig.fail_node(run, "b")), RunStatus::Error);
    check(&|rig, run| drop(ask(rig, run, "b")), RunStatus::Interrupted);
    let cancel = Event::Cancelled { reason: "enough".to_owned(), rollback: false };
    check(&|rig, run| drop(rig.fold(run, cancel.clone())), RunStatus::Cancelled);
}

/// A thread that asks at "b", and the checkpoint at which it does.
fn asking() -> (Rig, Uuid) {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    ask(&mut rig, &run, "b");
    let asks = *rig.made().last().expect("a checkpoint");
    (rig, asks)
}

#[test]
fn the_checkpoint_that_it_went_on_from_stays_as_it_was() {
    let (mut rig, asks) = asking();
    let run = at_exit(&mut rig, command(Some(json!("yes")), Some(json!({"log": ["said"]}))));
    let issue = rig.task("b").issue;
    let commands = rig.finish_node(&run, "b");
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "said", "b"]));
    assert_eq!(archived(&commands), [asks]);
    assert_eq!(last(&rig, &run).parent_id, Some(asks));

    // Whoever comes back finds neither the answer nor what the command wrote; and no issue is given again.
    let request = Request { checkpoint_id: Some(asks), ..command(Some(json!("no")), None) };
    let again = rig.request(request);
    let Happened::Continued(continued) = rig.happened(&again)[1] else { panic!("it goes on") };
    assert_eq!(values(&json!(continued.values)), json!(["a"]));
    let task = rig.task("b");
    assert_eq!(task.answers, [Arc::new(json!("no"))]);
    assert!(task.issue > issue, "{} after {issue}", task.issue);
}

#[test]
fn what_a_command_wrote_is_kept_where_the_run_ends() {
    let (mut rig, asks) = asking();
    let run = at_exit(&mut rig, command(None, Some(json!({"log": ["said"]}))));
    let Happened::Continued(continued) = rig.happened(&run)[1] else { panic!("it goes on") };
    assert!(!continued.commanded, "nothing is stored yet");
    ask(&mut rig, &run, "b");
    let told = kept(&rig, &run);
    let [Kept::Command { checkpoint_id, values: stored }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((*checkpoint_id, values(&json!(stored))), (asks, json!(["a", "said"])));
    let on = at_exit(&mut rig, command(Some(json!("yes")), None));
    assert!(kept(&rig, &on).is_empty());
    rig.finish_node(&on, "b");
    rig.check_end(&on, RunStatus::Success, None, json!(["a", "said", "b"]));
}

#[test]
fn a_command_that_cant_be_applied_is_not_stored() {
    let twice = json!([["n", 1], ["n", 2]]);
    for (keeps_last, on) in [(true, RunStatus::Success), (false, RunStatus::Error)] {
        let mut graph = chain();
        graph.channels.insert("n".to_owned(), serde_json::from_value(json!({})).expect("a channel"));
        let mut rig = Rig::new(graph);
        let run = rig.invoke(json!({}));
        ask(&mut rig, &run, "a");
        let run = rig.request(Request { keeps_last, ..command(None, Some(twice.clone())) });
        assert_eq!(rig.ended(&run).map(|ended| ended.status), Some(RunStatus::Error));
        let run = rig.request(command(Some(json!("yes")), None));
        if on == RunStatus::Success {
            rig.finish_node(&run, "a");
            rig.finish_node(&run, "b");
        }
        assert_eq!(rig.ended(&run).map(|ended| ended.status), Some(on), "keeps_last: {keeps_last}");
    }
}

#[test]
fn a_subgraph_that_is_done_is_not_kept() {
    let channels = json!({"log": {"reducer": "append"}});
    let inner = spec(channels.clone(), &["i"], json!([plain(&["START"], "i")]));
    let inner = GraphSpec { name: "inner".to_owned(), ..inner };
    let mut outer = json!(spec(channels, &["b"], json!([plain(&["START"], "sub"), plain(&["START"], "b")])));
    let node = json!({"name": "sub", "kind": "subgraph", "graph": "inner", "hash": inner.hash(), "memory": "call"});
    outer["nodes"].as_array_mut().expect("a list").push(node);
    let mut rig = Rig::new(serde_json::from_value(outer).expect("a spec"));
    rig.add(inner);
    let run = at_exit(&mut rig, input());
    rig.finish_node(&run, "i");
    ask(&mut rig, &run, "b");
    assert_eq!(last(&rig, &run).ns, "", "of the thread itself, and nothing of the subgraph");
}

#[test]
fn a_run_that_is_undone_keeps_nothing() {
    let mut rig = Rig::new(chain());
    let first = at_exit(&mut rig, input());
    rig.finish_node(&first, "a");
    rig.finish_node(&first, "b");
    let before = listed(&rig);
    let live = at_exit(&mut rig, input());
    rig.finish_node(&live, "a");
    let next = rig.request(Request { multitask: Multitask::Rollback, ..input() });
    assert_eq!(rig.ended(&live).map(|ended| ended.rolled_back), Some(true));
    assert!(kept(&rig, &live).is_empty());
    let Happened::StepDone(made) = rig.happened(&next)[1] else { panic!("it takes its input") };
    assert_eq!(made.parent_id, before.last().copied());
}

/// What is stored of a run under way says that it keeps only its last checkpoint; what was stored before that could be said
/// is read as before.
#[test]
fn a_state_under_way_goes_on_after_a_restart() {
    let (mut rig, asks) = asking();
    let run = at_exit(&mut rig, command(Some(json!("yes")), None));
    rig.state = Some(KeyState::decode(&rig.state().encode()).expect("a state"));
    let commands = rig.finish_node(&run, "b");
    assert_eq!((archived(&commands), last(&rig, &run).parent_id), (vec![asks], Some(asks)));
    let told = serde_json::to_string(&Request::default()).expect("JSON");
    assert!(!told.contains("keeps_last"), "{told}");
    let old: Request = serde_json::from_str(&told).expect("a request");
    assert!(!old.keeps_last);
}

/// Nobody comes back to it: all of its checkpoints are streamed as any other's are.
#[test]
fn a_run_without_a_thread_has_no_last_checkpoint() {
    let mut rig = Rig::threadless(chain());
    let run = rig.request(Request { keeps_last: true, ..input() });
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "b");
    assert_eq!(kept(&rig, &run), []);
    let passing = rig.happened(&run).into_iter().filter_map(|happened| match happened {
        Happened::StepDone(done) => Some(done.passing),
        _ => None,
    });
    assert_eq!(passing.collect::<Vec<_>>(), [false; 4]);
}
