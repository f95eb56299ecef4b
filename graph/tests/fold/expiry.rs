//! Threads that live for a time: they end as if they were deleted, once nothing was done on them for so long.

use std::sync::Arc;

use graph::{
    advance::{Command, Step, advance},
    envelope::{Envelope, Millis},
    event::{CommandInput, Edit, Event, Multitask, Request, StateUpdate, TimeToLive, Timer, TimerKind, TtlStrategy},
    graph_loop::Recalled,
    ids,
    state::KeyState,
    task::{Interrupt, TaskResult},
    update::{Edited, Happened, RunStatus},
};
use serde_json::{Value, json};

use crate::rig::{DEADLINE_MS, Rig, chain, named, result};

const TTL_MS: Millis = 10_000;
const TTL: TimeToLive = TimeToLive { ms: TTL_MS, strategy: TtlStrategy::Delete };

fn timed(rig: &mut Rig) -> Arc<Envelope> {
    let envelope = rig.envelope();
    assert_eq!(rig.fold(&envelope, Event::ThreadTimed(TTL)), [], "nothing is told of it");
    envelope
}

fn armed(rig: &Rig) -> Option<(Timer, Millis)> {
    let timers = rig.state().timers().map(|(timer, due)| (timer.clone(), due));
    timers.into_iter().find(|(timer, _)| timer.kind == TimerKind::Expire)
}

/// Fires what is armed, when it is due.
fn fall_due(rig: &mut Rig) -> Vec<Command> {
    let (timer, due) = armed(rig).expect("a timer");
    rig.at = rig.at.max(due - 1);
    fire(rig, &timer)
}

fn fire(rig: &mut Rig, timer: &Timer) -> Vec<Command> {
    let envelope = rig.state().expires_for().cloned().expect("it is timed");
    rig.fire(&envelope, timer)
}

/// What tells that the thread is gone: under which id.
fn deleted(commands: &[Command]) -> Option<Arc<Envelope>> {
    match commands {
        [] => None,
        [Command::Update { envelope, update }] => {
            let edited = Edited { deleted: true, ..Edited::default() };
            assert_eq!(update.happened, [Happened::Edited(Box::new(edited))]);
            assert_eq!(update.number, Some(1));
            Some(envelope.clone())
        }
        others => panic!("{others:?}"),
    }
}

fn finish_all(rig: &mut Rig, run: &Arc<Envelope>) {
    rig.finish_node(run, "a");
    rig.finish_node(run, "b");
}

fn ask(rig: &mut Rig, run: &Arc<Envelope>) {
    let task = rig.task("a");
    let id = ids::interrupt_id(&task.checkpoint_ns, 0);
    let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
    rig.finish(run, TaskResult { interrupts: vec![question], ..result(&task) });
}

fn with_input(request: Request) -> Request {
    Request { input: Some(Arc::new(json!({}))), ..request }
}

#[test]
fn a_thread_without_a_run_ends_when_its_time_is_over() {
    let mut rig = Rig::new(chain());
    let timing = timed(&mut rig);
    let (timer, due) = armed(&rig).expect("a timer");
    assert_eq!((timer.run_id, due), (timing.run_id, rig.at + TTL_MS));
    assert!(rig.state().is_idle() && !rig.state().is_closed(), "it may leave memory, but not the store");
    assert!(rig.state().encode().len() < 1_000, "its row is small");
    let told = deleted(&fall_due(&mut rig)).expect("it is gone");
    assert_ne!(told.run_id, timing.run_id);
    assert_eq!(ids::partition_of(told.run_id), ids::partition_of(timing.run_id));
    assert_eq!(told.thread_id, timing.thread_id);
    assert!(rig.state().is_closed());
    assert_eq!(rig.fold(&timing, Event::TimerDue { timer }), [], "a repeat of the timer deletes nothing");
}

/// What each use does: its time counts from its end.
#[test]
fn every_use_begins_its_time_anew() {
    type Use = fn(&mut Rig);
    let run: Use = |rig| {
        let run = rig.invoke(json!({}));
        finish_all(rig, &run);
    };
    let failed: Use = |rig| {
        let run = rig.invoke(json!({}));
        rig.fail_node(&run, "a");
    };
    let asked: Use = |rig| {
        let run = rig.invoke(json!({}));
        ask(rig, &run);
    };
    let refused: Use = |rig| {
        rig.request(Request::default());
    };
    let edited: Use = |rig| {
        let edit = rig.envelope();
        let values = Some(Arc::new(json!({"log": ["by hand"]})));
        let update = StateUpdate { values, as_node: Some("a".to_owned()) };
        rig.fold(&edit, Event::StateEdited(Box::new(Edit { supersteps: vec![vec![update]], ..Edit::default() })));
    };
    let cancelled: Use = |rig| {
        let run = rig.invoke(json!({}));
        rig.fold(&run, Event::Cancelled { reason: String::new(), rollback: false });
    };
    let timed_again: Use = |rig| drop(timed(rig));
    for (name, uses) in [
        ("run", run),
        ("failed", failed),
        ("asked", asked),
        ("refused", refused),
        ("edited", edited),
        ("cancelled", cancelled),
        ("timed again", timed_again),
    ] {
        let mut rig = Rig::new(chain());
        timed(&mut rig);
        let (first, due) = armed(&rig).expect("a timer");
        rig.at = due - 1_000;
        uses(&mut rig);
        let used_at = rig.at;
        rig.at = rig.at.max(due);
        assert_eq!(fire(&mut rig, &first), [], "{name}: it was used since");
        assert_eq!(armed(&rig).map(|(_, due)| due), Some(used_at + TTL_MS), "{name}");
        assert!(deleted(&fall_due(&mut rig)).is_some(), "{name}: nothing was done since");
        assert!(rig.state().head().is_none() && armed(&rig).is_none(), "{name}");
    }
}

/// Nothing that is under way is cut off, however long it takes.
#[test]
fn a_thread_at_work_does_not_end() {
    type Begins = fn(&mut Rig) -> Arc<Envelope>;
    let live: Begins = |rig| rig.invoke(json!({}));
    let waiting: Begins = |rig| {
        let live = rig.invoke(json!({}));
        let waits = rig.invoke(json!({}));
        finish_all(rig, &live);
        waits
    };
    let delayed: Begins = |rig| {
        let run = rig.request(with_input(Request { after_ms: Some(DEADLINE_MS), ..Request::default() }));
        assert_eq!(fall_due(rig), [], "it waits for its time");
        let timer = rig.state().timers().find(|(timer, _)| timer.kind == TimerKind::Begin);
        let (timer, due) = timer.map(|(timer, due)| (timer.clone(), due)).expect("its begin");
        rig.at = due;
        rig.fire(&run, &timer);
        run
    };
    for begins in [live, waiting, delayed] {
        let mut rig = Rig::new(chain());
        timed(&mut rig);
        let (first, due) = armed(&rig).expect("a timer");
        let run = begins(&mut rig);
        rig.at = rig.at.max(due);
        assert_eq!(fire(&mut rig, &first), [], "a run is live");
        assert_eq!(armed(&rig), None, "it is armed when the thread rests");
        finish_all(&mut rig, &run);
        assert_eq!(rig.ended(&run).map(|ended| ended.status), Some(RunStatus::Success));
        assert_eq!(armed(&rig).map(|(_, due)| due), Some(rig.at + TTL_MS), "its time counts from the end of the run");
        assert!(deleted(&fall_due(&mut rig)).is_some());
    }
}

#[test]
fn a_thread_that_asks_ends_with_its_question() {
    let mut rig = Rig::new(chain());
    timed(&mut rig);
    let run = rig.invoke(json!({}));
    ask(&mut rig, &run);
    assert_eq!(fall_due(&mut rig), [], "it asked after it was timed");
    assert!(deleted(&fall_due(&mut rig)).is_some());
    let command = CommandInput { resume: Some(Arc::new(json!("late"))), ..CommandInput::default() };
    let late = rig.request(Request { command: Some(command), ..Request::default() });
    rig.finish_node(&late, "a");
    rig.finish_node(&late, "b");
    rig.check_end(&late, RunStatus::Success, None, json!(["a", "b"]));
}

#[test]
fn a_run_on_a_thread_that_is_over_begins_it_anew() {
    let mut rig = Rig::new(chain());
    timed(&mut rig);
    let first = rig.invoke(json!({"log": ["in"]}));
    finish_all(&mut rig, &first);
    fall_due(&mut rig);
    assert!(deleted(&fall_due(&mut rig)).is_some());
    let run = rig.invoke(json!({}));
    finish_all(&mut rig, &run);
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
    assert_eq!(armed(&rig), None, "it is another thread, which nobody timed");
}

#[test]
fn a_delete_disarms_it() {
    let mut rig = Rig::new(chain());
    timed(&mut rig);
    let (timer, due) = armed(&rig).expect("a timer");
    let delete = rig.envelope();
    rig.fold(&delete, Event::ThreadDeleted);
    assert!(rig.state().is_closed());
    let again = timed(&mut rig);
    rig.at = due;
    assert_eq!(rig.fold(&delete, Event::TimerDue { timer }), [], "the timer of before is nobody's");
    assert_eq!(rig.state().expires_for().map(|envelope| envelope.run_id), Some(again.run_id));
}

/// Of a repeat too, which comes under the same id.
#[test]
fn another_time_replaces_the_one_before() {
    for repeats in [false, true] {
        let mut rig = Rig::new(chain());
        let before = timed(&mut rig);
        let (first, _) = armed(&rig).expect("a timer");
        let longer = if repeats { before } else { rig.envelope() };
        rig.fold(&longer, Event::ThreadTimed(TimeToLive { ms: 5 * TTL_MS, ..TTL }));
        let (timer, due) = armed(&rig).expect("a timer");
        assert_eq!((timer.run_id, due), (longer.run_id, rig.at + 5 * TTL_MS));
        rig.at += TTL_MS;
        assert_eq!(rig.fold(&longer, Event::TimerDue { timer: first }), []);
        assert_eq!(armed(&rig), Some((timer, due)));
    }
}

#[test]
fn what_ends_a_thread_says_nothing_of_the_run_that_timed_it() {
    let mut rig = Rig::new(chain());
    let envelope = Envelope {
        metadata: [("of".to_owned(), json!("the run"))].into(),
        tags: vec!["run".to_owned()],
        ..Envelope::clone(&rig.envelope())
    };
    rig.fold(&Arc::new(envelope), Event::ThreadTimed(TTL));
    let told = deleted(&fall_due(&mut rig)).expect("it is gone");
    assert_eq!((told.metadata.len(), told.tags.len()), (0, 0));
}

#[test]
fn a_request_times_a_thread_that_nobody_has_timed() {
    let request = || with_input(Request { ttl: Some(TTL), ..Request::default() });
    let started = |rig: &Rig, run: &Envelope| match rig.happened(run)[..] {
        [Happened::Started(started), ..] => started.ttl,
        _ => None,
    };
    let mut rig = Rig::new(chain());
    let run = rig.request(request());
    assert_eq!(started(&rig, &run), Some(TTL));
    finish_all(&mut rig, &run);
    assert_eq!(armed(&rig).map(|(_, due)| due), Some(rig.at + TTL_MS), "from the end of the run on");
    assert!(deleted(&fall_due(&mut rig)).is_some_and(|told| told.run_id != run.run_id));

    let mut rig = Rig::new(chain());
    let own = rig.envelope();
    let hour = TimeToLive { ms: 3_600_000, ..TTL };
    rig.fold(&own, Event::ThreadTimed(hour));
    let run = rig.request(request());
    assert_eq!(started(&rig, &run), Some(hour), "its own time counts before what a request says");

    let mut rig = Rig::threadless(chain());
    let run = rig.request(request());
    finish_all(&mut rig, &run);
    assert!(rig.state().is_closed(), "a run without a thread leaves nothing that could end");
}

#[test]
fn an_undone_run_takes_along_what_it_said() {
    let mut rig = Rig::new(chain());
    let undone = rig.request(with_input(Request { ttl: Some(TTL), ..Request::default() }));
    rig.fold(&undone, Event::Cancelled { reason: String::new(), rollback: true });
    assert!(rig.state().is_closed());

    let mut rig = Rig::new(chain());
    timed(&mut rig);
    let undone = rig.invoke(json!({}));
    rig.fold(&undone, Event::Cancelled { reason: String::new(), rollback: true });
    assert!(armed(&rig).is_some(), "who made the thread said how long it lives");
    rig.request(with_input(Request { ttl: Some(TTL), multitask: Multitask::Rollback, ..Request::default() }));
    assert!(rig.state().expires_for().is_some());
}

#[test]
fn a_copy_lives_until_somebody_says_otherwise() {
    let mut rig = Rig::new(chain());
    timed(&mut rig);
    let run = rig.invoke(json!({}));
    finish_all(&mut rig, &run);
    let used_at = rig.at;
    let copying = rig.envelope();
    let commands = rig.fold(&copying, Event::ThreadCopied { to: "copy".to_owned() });
    let begins = commands.into_iter().find_map(|command| match command {
        Command::Copy { envelope, copied, .. } => Some((envelope, copied)),
        _ => None,
    });
    let (envelope, copied) = begins.expect("the copy begins");
    let mut copy = Rig::new(chain());
    copy.fold(&envelope, Event::CopyBegun(copied));
    assert!(copy.state().head().is_some() && copy.state().expires_for().is_none());
    fall_due(&mut rig);
    assert_eq!(armed(&rig).map(|(_, due)| due), Some(used_at + TTL_MS), "who is copied was not used");
}

#[test]
fn a_thread_whose_state_is_lost_ends_too() {
    let mut rig = Rig::new(chain());
    timed(&mut rig);
    let run = rig.invoke(json!({}));
    let (timer, due) = armed(&rig).expect("a timer");
    rig.at = due;
    rig.state.as_mut().expect("a state").lose("gone".to_owned());
    fire(&mut rig, &timer);
    rig.check_end(&run, RunStatus::Error, Some("value_missing"), Value::Null);
    assert!(deleted(&fall_due(&mut rig)).is_some());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    let task = rig.task("b");
    rig.finish(&run, named(&task));
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
}

#[test]
fn a_thread_that_keeps_its_latest_is_pruned_once_after_each_use() {
    let keeps = TimeToLive { strategy: TtlStrategy::KeepLatest, ..TTL };
    let pruned = |commands: &[Command]| match commands {
        [Command::Update { envelope, update }] => match &update.happened[..] {
            [Happened::Edited(edited)] => (envelope.run_id, edited.pruned.clone().map(|kept| kept.len())),
            others => panic!("{others:?}"),
        },
        others => panic!("{others:?}"),
    };
    let mut rig = Rig::new(chain());
    let envelope = rig.envelope();
    rig.fold(&envelope, Event::ThreadTimed(keeps));
    assert_eq!(fall_due(&mut rig), [], "there is nothing to forget, and nothing to tell");
    assert_eq!(armed(&rig), None);
    let mut told = Vec::new();
    for _ in 0..2 {
        let run = rig.invoke(json!({}));
        finish_all(&mut rig, &run);
        let head = rig.state().head().cloned();
        assert_eq!(armed(&rig).map(|(_, due)| due), Some(rig.at + TTL_MS));
        told.push(pruned(&fall_due(&mut rig)));
        assert_eq!(rig.state().head().cloned(), head, "it stands where it stood");
        assert!(armed(&rig).is_none() && !rig.state().is_closed(), "until it is used there is nothing to do");
        let copying = rig.envelope();
        rig.fold(&copying, Event::ThreadCopied { to: "copy".to_owned() });
        assert_eq!(armed(&rig), None, "who is copied was not used");
    }
    assert_ne!(told[0].0, told[1].0);
    assert_eq!(told.iter().map(|(_, kept)| *kept).collect::<Vec<_>>(), [Some(1), Some(1)]);
    rig.fold(&envelope, Event::ThreadTimed(TTL));
    assert!(deleted(&fall_due(&mut rig)).is_some(), "another strategy holds from when it is said");
}

/// From the log, and from any state that was stored on the way.
#[test]
fn a_replay_deletes_it_under_the_same_id() {
    let mut rig = Rig::new(chain());
    timed(&mut rig);
    let run = rig.invoke(json!({}));
    finish_all(&mut rig, &run);
    fall_due(&mut rig);
    let told = deleted(&fall_due(&mut rig)).expect("it is gone");
    for stored_at in 0..rig.log.len() {
        let mut state = KeyState::new(rig.state().key().clone());
        let mut last = Vec::new();
        for (place, (envelope, at, event)) in rig.log.iter().enumerate() {
            if place == stored_at {
                state = KeyState::decode(&state.encode()).expect("a state that was encoded");
            }
            match advance(&rig.graphs, &Recalled::new(), state, envelope, *at, event) {
                Step::Done { state: next, commands } => (state, last) = (next, commands),
                Step::Need { need, .. } => panic!("{need:?}"),
            }
        }
        assert_eq!(deleted(&last), Some(told.clone()));
        assert!(state.is_closed());
    }
}
