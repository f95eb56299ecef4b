//! Tasks: which result counts, and what is paid for all the same.

use graph::{
    event::{Event, Timer, TimerKind},
    task::{TaskResult, Usage},
    update::{Happened, RunStatus},
};
use serde_json::json;
use uuid::Uuid;

use crate::rig::{Rig, call, chain, fork_and_join, named, result};

/// The only timer of a task's.
fn task_timer(rig: &Rig) -> Timer {
    let timers: Vec<_> = rig.state().timers().filter(|(timer, _)| timer.kind != TimerKind::Deadline).collect();
    assert_eq!(timers.len(), 1, "{timers:?}");
    timers[0].0.clone()
}

#[test]
fn the_first_result_of_the_open_issue_counts() {
    let mut rig = Rig::new(fork_and_join());
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let mut first = named(&task);
    first.calls = vec![call(&first, 0)];
    let mut second = TaskResult { execution: Uuid::from_u128(7), ..named(&task) };
    second.calls = vec![call(&second, 0)];
    rig.finish(&run, first.clone());
    assert_eq!(rig.finish(&run, first), [], "the same result again says nothing");
    rig.finish(&run, second);
    let spent = rig.happened(&run).into_iter().filter(|happened| matches!(happened, Happened::Spent { .. }));
    assert_eq!(spent.count(), 1, "another execution was paid for");
    rig.finish_node(&run, "b");
    rig.finish_node(&run, "c");
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b", "c"]));
    let usage = rig.ended(&run).expect("an end").usage;
    assert_eq!(usage, Usage { input_tokens: 6, output_tokens: 4, ..Usage::default() });
}

#[test]
fn a_result_of_no_run_is_paid_for_and_nothing_else() {
    let mut rig = Rig::threadless(chain());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "b");
    assert!(rig.state().is_closed());
    let task = rig.task("b");
    let mut late = TaskResult { execution: Uuid::from_u128(7), ..named(&task) };
    assert_eq!(rig.finish(&run, late.clone()), [], "without a call there is nothing to say");
    late.calls = vec![call(&late, 0)];
    rig.finish(&run, late);
    let (envelope, update) = rig.updates.last().expect("an update");
    assert_eq!((envelope.run_id, update.number), (run.run_id, None));
    assert!(matches!(update.happened[..], [Happened::Spent { .. }]));
}

#[test]
fn a_kept_task_is_issued_anew_when_it_does_not_report() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let first = rig.task("a");
    let until = rig.at + 1_000;
    rig.fold(&run, Event::TaskKept { task_id: first.id, issue: 1, until });
    rig.fold(&run, Event::TaskKept { task_id: first.id, issue: 1, until: until + 5 });
    let stale = Timer { generation: 2, ..task_timer(&rig) };
    assert_eq!(rig.fire(&run, &stale), [], "a timer that was set anew");
    let timer = task_timer(&rig);
    rig.fire(&run, &timer);
    let second = rig.task("a");
    assert_eq!((second.id, second.issue, second.attempt), (first.id, 2, 0));
    assert_eq!(rig.fire(&run, &timer), [], "a timer fires once");
    assert_eq!(rig.finish(&run, named(&first)), [], "the old issue doesn't count");
    rig.finish(&run, named(&second));
    assert_eq!(&*rig.task("b").node, "b");
}

#[test]
fn a_kept_task_that_reports_needs_no_timer() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let until = rig.at + 1_000;
    rig.fold(&run, Event::TaskKept { task_id: task.id, issue: 1, until });
    let timer = task_timer(&rig);
    rig.finish(&run, named(&task));
    assert_eq!(rig.fire(&run, &timer), []);
    assert!(rig.state().timers().all(|(timer, _)| timer.kind == TimerKind::Deadline));
}

#[test]
fn a_task_given_back_waits_until_its_time() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let not_before = rig.at + 500;
    let calls = vec![call(&result(&task), 0)];
    let back = Event::TaskGivenBack { task_id: task.id, issue: 1, attempt: 2, not_before, calls };
    rig.fold(&run, back.clone());
    assert_eq!(rig.state().open_tasks().count(), 0);
    let timer = task_timer(&rig);
    assert_eq!(rig.state().timers().find(|(armed, _)| **armed == timer).map(|(_, due)| due), Some(not_before));
    rig.fold(&run, back);
    assert_eq!(task_timer(&rig), timer, "a repeat sets no other timer");
    rig.fire(&run, &timer);
    let again = rig.task("a");
    assert_eq!((again.issue, again.attempt), (2, 2));
    rig.finish(&run, named(&again));
    rig.finish_node(&run, "b");
    assert_eq!(rig.ended(&run).expect("an end").usage.input_tokens, 3);
}

#[test]
fn a_task_given_back_late_is_issued_at_once() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let not_before = rig.at;
    rig.fold(&run, Event::TaskGivenBack { task_id: task.id, issue: 1, attempt: 1, not_before, calls: Vec::new() });
    assert_eq!((rig.task("a").issue, rig.task("a").attempt), (2, 1));
    assert_eq!(rig.state().open_tasks().collect::<Vec<_>>(), [(run.run_id, task.id, 2)]);
}

/// What a worker says of an issue that was given up changes nothing.
#[test]
fn only_the_open_issue_is_kept_or_given_back() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let (task_id, not_before) = (task.id, rig.at);
    rig.fold(&run, Event::TaskGivenBack { task_id, issue: 1, attempt: 1, not_before, calls: Vec::new() });
    assert_eq!(rig.task("a").issue, 2);
    let until = rig.at + 1_000;
    assert_eq!(rig.fold(&run, Event::TaskKept { task_id, issue: 1, until }), []);
    assert!(rig.state().timers().all(|(timer, _)| timer.kind == TimerKind::Deadline));
    let back = Event::TaskGivenBack { task_id, issue: 1, attempt: 2, not_before: until, calls: Vec::new() };
    assert_eq!(rig.fold(&run, back), []);
    assert_eq!(rig.state().open_tasks().collect::<Vec<_>>(), [(run.run_id, task_id, 2)]);
}

#[test]
fn a_task_knows_how_old_its_thread_is() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    assert_eq!(rig.task("a").thread_age_ms, 0);
    rig.finish_node(&run, "a");
    assert_eq!(rig.task("b").thread_age_ms, 1, "at the record that it was issued for");
    rig.finish_node(&run, "b");
    rig.at += 60_000;
    rig.invoke(json!({}));
    assert_eq!(rig.task("a").thread_age_ms, 60_003);
    let delete = rig.envelope();
    rig.fold(&delete, Event::ThreadDeleted);
    rig.at += 1_000;
    rig.invoke(json!({}));
    assert_eq!(rig.task("a").thread_age_ms, 0, "it begins anew");
    let mut alone = Rig::threadless(chain());
    let run = alone.invoke(json!({}));
    alone.finish_node(&run, "a");
    assert_eq!(alone.task("b").thread_age_ms, 0);
}
