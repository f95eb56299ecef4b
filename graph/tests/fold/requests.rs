//! Requests: which run begins, waits, is refused, or was known all along.

use std::sync::Arc;

use graph::{
    advance::{Command, Need, Step, advance},
    event::{CommandInput, Event, Multitask, Request, RunConfig},
    graph::Graph,
    state::{KeyState, REMEMBERED_MS, REMEMBERED_RUNS_MAX},
    update::{Happened, RunStatus, Update},
};
use serde_json::{Value, json};

use crate::rig::{DEADLINE_MS, Rig, chain, plain, spec};

fn input() -> Option<Arc<Value>> {
    Some(Arc::new(json!({})))
}

#[test]
fn a_second_request_waits_for_its_turn() {
    let mut rig = Rig::new(chain());
    let (first, second) = (rig.invoke(json!({})), rig.invoke(json!({"log": ["again"]})));
    let Happened::Queued(queued) = rig.happened(&second)[0] else { panic!("it waits") };
    assert_eq!((queued.behind, queued.due), (Some(first.run_id), None));
    assert_eq!(rig.state().waiting().count(), 1);
    rig.finish_node(&first, "a");
    let commands = rig.finish_node(&first, "b");
    let told: Vec<_> = commands
        .iter()
        .filter_map(|command| match command {
            Command::Update { envelope, update } => Some((envelope.run_id, update.number, update.status)),
            Command::Issue { .. } | Command::Cancel { .. } | Command::Archive { .. } | Command::Copy { .. } => None,
        })
        .collect();
    let expected = [(first.run_id, Some(3), RunStatus::Success), (second.run_id, Some(2), RunStatus::Running)];
    assert_eq!(told, expected, "one event, one update for each run");
    rig.finish_node(&second, "a");
    rig.finish_node(&second, "b");
    rig.check_end(&second, RunStatus::Success, None, json!(["a", "b", "again", "a", "b"]));
    assert!(rig.state().is_idle() && !rig.state().is_closed());
}

#[test]
fn a_busy_thread_rejects() {
    let mut rig = Rig::new(chain());
    rig.invoke(json!({}));
    let rejected = rig.request(Request { input: input(), multitask: Multitask::Reject, ..Request::default() });
    rig.check_end(&rejected, RunStatus::Error, Some("thread_busy"), Value::Null);
}

#[test]
fn what_a_request_gets_wrong_ends_its_run_plainly() {
    let unknown = uuid::Uuid::from_u128(7);
    for (request, kind) in [
        (Request { command: Some(CommandInput::default()), ..Request::default() }, "EmptyInputError"),
        (Request { input: input(), checkpoint_id: Some(unknown), ..Request::default() }, "UnknownCheckpoint"),
    ] {
        let mut rig = Rig::new(chain());
        let run = rig.request(request);
        let error = rig.ended(&run).and_then(|ended| ended.error.clone()).expect("an error");
        assert_eq!((error.code.as_str(), error.kind.as_deref()), ("invalid_value", Some(kind)));
        assert!(rig.issued.is_empty() && rig.state().is_closed());
    }
}

#[test]
fn a_repeated_request_starts_nothing() {
    let mut rig = Rig::new(chain());
    let request = Request { input: input(), claimed: true, ..Request::default() };
    let (live, waiting) = (rig.request(request.clone()), rig.request(request.clone()));
    for run in [&live, &waiting] {
        assert_eq!(rig.fold(run, Event::Requested(Box::new(request.clone()))), []);
    }
    rig.finish_node(&live, "a");
    rig.finish_node(&live, "b");
    rig.finish_node(&waiting, "a");
    rig.finish_node(&waiting, "b");
    for run in [&live, &waiting] {
        assert_eq!(rig.fold(run, Event::Requested(Box::new(request.clone()))), []);
    }
}

/// So many, and for so long: a key is no archive of ids.
#[test]
fn ended_runs_are_remembered_up_to_a_bound() {
    for (others, later, known) in [
        (REMEMBERED_RUNS_MAX - 1, 0, true),
        (REMEMBERED_RUNS_MAX, 0, false),
        (1, REMEMBERED_MS - DEADLINE_MS, true),
        (1, REMEMBERED_MS, false),
    ] {
        let mut rig = Rig::new(chain());
        let request = || Request { input: input(), claimed: true, ..Request::default() };
        let run = |rig: &mut Rig| {
            let run = rig.request(request());
            ["a", "b"].iter().for_each(|node| drop(rig.finish_node(&run, node)));
            run
        };
        let first = run(&mut rig);
        rig.at += later;
        (0..others).for_each(|_| drop(run(&mut rig)));
        let issued = rig.issued.len();
        rig.fold(&first, Event::Requested(Box::new(request())));
        assert_eq!(rig.issued.len() == issued, known, "{others} others, {later} ms later");
    }
}

#[test]
fn a_claimed_run_without_a_thread_stays_known() {
    for (claimed, closed) in [(true, false), (false, true)] {
        let mut rig = Rig::threadless(chain());
        let run = rig.request(Request { input: input(), claimed, ..Request::default() });
        rig.finish_node(&run, "a");
        rig.finish_node(&run, "b");
        rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
        assert!(rig.state().is_idle());
        assert_eq!(rig.state().is_closed(), closed);
    }
}

#[test]
fn input_is_an_object_of_the_input_schemas_channels() {
    let mut graph = chain();
    graph.channels.insert("secret".to_owned(), graph.channels["log"].clone());
    graph.input = Some(vec!["log".to_owned()]);
    graph.output = Some(vec!["secret".to_owned()]);
    let mut rig = Rig::new(graph);
    let run = rig.invoke(json!({"log": ["in"], "secret": ["no"], "zz": 1}));
    let task = rig.task("a");
    assert_eq!(task.channels.get("log").map(|log| Value::clone(log)), Some(json!(["in"])));
    assert_eq!(task.channels.get("secret").map(|log| Value::clone(log)), Some(json!([])));
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "b");
    assert_eq!(
        rig.ended(&run).and_then(|ended| ended.output.as_ref().map(|output| json!(output))),
        Some(json!({"secret": []}))
    );
    let bad = rig.invoke(json!([1]));
    assert_eq!(rig.ended(&bad).and_then(|ended| ended.error.clone()).expect("an error").code, "invalid_value");
}

#[test]
fn an_empty_thread_has_nothing_to_continue() {
    let mut rig = Rig::new(chain());
    let run = rig.request(Request::default());
    let error = rig.ended(&run).and_then(|ended| ended.error.clone()).expect("an error");
    assert_eq!((error.code.as_str(), error.kind.as_deref()), ("invalid_value", Some("EmptyInputError")));
    assert!(rig.state().is_closed());
}

#[test]
fn a_finished_thread_continues_to_its_values() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "b");
    let again = rig.request(Request::default());
    rig.check_end(&again, RunStatus::Success, None, json!(["a", "b"]));
    assert_eq!(rig.issued.len(), 2);
}

#[test]
fn limits_begin_at_one() {
    let mut rig = Rig::new(chain());
    let config = RunConfig { recursion_limit: Some(0), ..RunConfig::default() };
    let run = rig.request(Request { input: input(), config, ..Request::default() });
    assert_eq!(rig.ended(&run).and_then(|ended| ended.error.clone()).expect("an error").code, "invalid_value");
}

#[test]
fn a_graph_that_is_not_at_hand_is_asked_for() {
    let mut rig = Rig::new(chain());
    let run = rig.envelope();
    let graphs = std::mem::take(&mut rig.graphs);
    let event = Event::Requested(Box::new(Request { input: input(), ..Request::default() }));
    let before = KeyState::new(run.key());
    let Step::Need { state, need } = advance(&rig.graphs, &rig.recalled, before.clone(), &run, rig.at, &event) else {
        panic!("a run began without its graph")
    };
    assert_eq!((state, need), (before.clone(), Need::Spec(rig.graph.hash().to_owned())));
    assert!(matches!(advance(&graphs, &rig.recalled, before, &run, rig.at, &event), Step::Done { .. }));
}

#[test]
fn only_new_input_takes_a_new_version() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    rig.fail_node(&run, "b");
    let old = rig.graph.hash().to_owned();
    let channels = json!({"log": {"reducer": "append"}, "more": {"default": 7}});
    let next = Arc::new(Graph::new(spec(channels, &["a", "b"], json!([plain(&["START"], "b")]))).expect("a graph"));
    rig.graphs.0.insert(next.hash().to_owned(), next.clone());
    rig.graph = next;
    let continued = rig.request(Request::default());
    let (envelope, task) = rig.issued.last().cloned().expect("an issue");
    assert_eq!((envelope.graph.hash.as_str(), &*task.node), (old.as_str(), "b"));
    rig.finish_node(&continued, "b");
    rig.check_end(&continued, RunStatus::Success, None, json!(["a", "b"]));
    let fresh = rig.invoke(json!({}));
    let (envelope, task) = rig.issued.last().cloned().expect("an issue");
    assert_eq!((envelope.graph.hash.as_str(), &*task.node), (rig.graph.hash(), "b"));
    assert_eq!(task.channels.get("more").map(|value| Value::clone(value)), Some(json!(7)));
    rig.finish_node(&fresh, "b");
    rig.check_end(&fresh, RunStatus::Success, None, json!(["a", "b", "b"]));
}

#[test]
fn a_checkpoint_keeps_the_primitive_metadata() {
    let mut rig = Rig::new(chain());
    let configurable = [
        ("user", json!("u")),
        ("list", json!([1])),
        ("thread_id", json!("t")),
        ("__x", json!(1)),
        ("langgraph_y", json!(1)),
    ];
    let configurable = configurable.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let config = RunConfig { configurable, ..RunConfig::default() };
    let run = rig.request(Request { input: input(), config, ..Request::default() });
    let Happened::StepDone(step) = rig.happened(&run)[1] else { panic!("the input is a checkpoint") };
    assert_eq!(json!(step.metadata), json!({"user": "u"}));
    let Update { number, status, .. } = &rig.updates[0].1;
    assert_eq!((*number, *status), (Some(1), RunStatus::Running));
}
