//! Runs that are asked for with a delay: pending until a timer of the log lets them begin.

use std::sync::Arc;

use graph::{
    envelope::Envelope,
    event::{Event, Multitask, Request, Timer, TimerKind},
    state::WAITING_RUNS_MAX,
    update::{Happened, RunStatus},
};
use serde_json::{Value, json};

use crate::rig::{DEADLINE_MS, Rig, chain};

const DELAY_MS: i64 = 5_000;

fn delayed(rig: &mut Rig, word: &str, after_ms: i64) -> Arc<Envelope> {
    asked(rig, word, after_ms, Multitask::Enqueue)
}

fn asked(rig: &mut Rig, word: &str, after_ms: i64, multitask: Multitask) -> Arc<Envelope> {
    let input = Some(Arc::new(json!({"log": [word]})));
    rig.request(Request { input, multitask, after_ms: Some(after_ms), ..Request::default() })
}

fn begin_timer(rig: &Rig, run: &Envelope) -> Option<(Timer, i64)> {
    let timers = rig.state().timers().map(|(timer, due)| (timer.clone(), due));
    timers.into_iter().find(|(timer, _)| timer.run_id == run.run_id && timer.kind == TimerKind::Begin)
}

fn fall_due(rig: &mut Rig, run: &Arc<Envelope>) {
    let (timer, due) = begin_timer(rig, run).expect("it waits for its time");
    rig.at = rig.at.max(due);
    rig.fire(run, &timer);
}

fn finish_all(rig: &mut Rig, run: &Arc<Envelope>) {
    rig.finish_node(run, "a");
    rig.finish_node(run, "b");
}

#[test]
fn a_delayed_run_is_pending_until_its_timer_fires() {
    for mut rig in [Rig::new(chain()), Rig::threadless(chain())] {
        let run = delayed(&mut rig, "in", DELAY_MS);
        let asked_at = rig.at;
        let Happened::Queued(queued) = rig.happened(&run)[0] else { panic!("it waits") };
        assert_eq!((queued.behind, queued.due), (None, Some(asked_at + DELAY_MS)));
        assert!(rig.issued.is_empty() && !rig.state().is_idle());
        let (timer, due) = begin_timer(&rig, &run).expect("a timer");
        assert_eq!(due, asked_at + DELAY_MS);
        fall_due(&mut rig, &run);
        assert_eq!(begin_timer(&rig, &run), None);
        assert_eq!(rig.fire(&run, &timer), [], "a repeat of the timer begins nothing");
        finish_all(&mut rig, &run);
        rig.check_end(&run, RunStatus::Success, None, json!(["in", "a", "b"]));
        assert_eq!(rig.state().timers().count(), 0);
    }
}

#[test]
fn it_holds_up_nobody_and_comes_when_it_is_due() {
    let mut rig = Rig::new(chain());
    let late = delayed(&mut rig, "late", 2 * DELAY_MS);
    let soon = delayed(&mut rig, "soon", DELAY_MS);
    let now = rig.invoke(json!({"log": ["now"]}));
    assert_eq!(rig.task("a").id, rig.issued[0].1.id, "it begins at once");
    // Both fall due while it runs, the later one's timer first.
    rig.at += 3 * DELAY_MS;
    fall_due(&mut rig, &late);
    fall_due(&mut rig, &soon);
    let after = rig.invoke(json!({"log": ["after"]}));
    for run in [&now, &soon, &late, &after] {
        finish_all(&mut rig, run);
    }
    let expected = json!(["now", "a", "b", "soon", "a", "b", "late", "a", "b", "after", "a", "b"]);
    rig.check_end(&after, RunStatus::Success, None, expected);
}

#[test]
fn who_waits_for_its_turn_is_behind_who_comes_before() {
    let mut rig = Rig::new(chain());
    let now = rig.invoke(json!({}));
    delayed(&mut rig, "late", DELAY_MS);
    let behind = |rig: &Rig, run: &Envelope| match rig.happened(run)[..] {
        [Happened::Queued(queued)] => queued.behind,
        ref others => panic!("{others:?}"),
    };
    let next = rig.invoke(json!({}));
    assert_eq!(behind(&rig, &next), Some(now.run_id), "whose time hasn't come holds up nobody");
    let last = rig.invoke(json!({}));
    assert_eq!(behind(&rig, &last), Some(next.run_id));
}

#[test]
fn a_delayed_run_keeps_its_thread_busy() {
    let mut rig = Rig::new(chain());
    let waits = delayed(&mut rig, "waits", DELAY_MS);
    let input = Some(Arc::new(json!({})));
    let rejected = rig.request(Request { input, multitask: Multitask::Reject, ..Request::default() });
    rig.check_end(&rejected, RunStatus::Error, Some("thread_busy"), Value::Null);
    let input = Some(Arc::new(json!({"log": ["over"]})));
    let instead = rig.request(Request { input, multitask: Multitask::Interrupt, ..Request::default() });
    rig.check_end(&waits, RunStatus::Interrupted, None, Value::Null);
    finish_all(&mut rig, &instead);
    rig.check_end(&instead, RunStatus::Success, None, json!(["over", "a", "b"]));
}

#[test]
fn however_many_wait_for_their_time_an_idle_thread_is_free() {
    let mut rig = Rig::new(chain());
    (0..WAITING_RUNS_MAX).for_each(|_| drop(delayed(&mut rig, "waits", DELAY_MS)));
    let one_more = delayed(&mut rig, "one more", DELAY_MS);
    rig.check_end(&one_more, RunStatus::Error, Some("thread_busy"), Value::Null);
    let now = rig.invoke(json!({}));
    finish_all(&mut rig, &now);
    rig.check_end(&now, RunStatus::Success, None, json!(["a", "b"]));
}

/// As LangGraph's server has it: what a request does to the thread's runs it does when it is made.
#[test]
fn what_gives_way_to_a_delayed_run_does_so_at_once() {
    let mut rig = Rig::new(chain());
    let live = rig.invoke(json!({}));
    let next = asked(&mut rig, "x", DELAY_MS, Multitask::Interrupt);
    rig.check_end(&live, RunStatus::Interrupted, None, json!([]));
    assert!(rig.ended(&next).is_none() && begin_timer(&rig, &next).is_some());
    fall_due(&mut rig, &next);
    finish_all(&mut rig, &next);
    rig.check_end(&next, RunStatus::Success, None, json!(["x", "a", "b"]));
}

#[test]
fn it_is_cancelled_before_it_begins() {
    let mut rig = Rig::new(chain());
    let run = delayed(&mut rig, "in", DELAY_MS);
    let (timer, _) = begin_timer(&rig, &run).expect("a timer");
    rig.fold(&run, Event::Cancelled { reason: String::new(), rollback: false });
    rig.check_end(&run, RunStatus::Cancelled, None, Value::Null);
    assert_eq!(rig.fire(&run, &timer), []);
    assert!(rig.state().is_closed());
}

#[test]
fn its_deadline_may_come_first() {
    let mut rig = Rig::new(chain());
    let run = delayed(&mut rig, "in", 2 * DEADLINE_MS);
    let deadline = rig.state().timers().find(|(timer, _)| timer.kind == TimerKind::Deadline);
    let deadline = deadline.map(|(timer, _)| timer.clone()).expect("a deadline");
    rig.fire(&run, &deadline);
    rig.check_end(&run, RunStatus::Timeout, Some("run_timeout"), Value::Null);
}

#[test]
fn a_delayed_run_from_the_past_asks_for_it_when_it_begins() {
    let mut rig = Rig::new(chain());
    let first = rig.invoke(json!({"log": ["in"]}));
    finish_all(&mut rig, &first);
    let then = rig.made()[1];
    let request = Request { checkpoint_id: Some(then), after_ms: Some(DELAY_MS), ..Request::default() };
    let back = rig.request(request);
    assert!(rig.ended(&back).is_none());
    fall_due(&mut rig, &back);
    finish_all(&mut rig, &back);
    rig.check_end(&back, RunStatus::Success, None, json!(["in", "a", "b"]));
}
