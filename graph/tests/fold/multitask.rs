//! A thread that is busy: who gives way, what is undone, and what a delete leaves.

use std::sync::Arc;

use graph::{
    envelope::Envelope,
    event::{CommandInput, Event, Multitask, Request},
    ids,
    task::{Interrupt, TaskResult},
    update::{Ended, Happened, RunStatus},
};
use serde_json::{Value, json};

use crate::rig::{Rig, chain, named, result};

fn asked(rig: &mut Rig, input: Value, multitask: Multitask) -> Arc<Envelope> {
    rig.request(Request { input: Some(Arc::new(input)), multitask, ..Request::default() })
}

fn finish_all(rig: &mut Rig, run: &Arc<Envelope>) {
    rig.finish_node(run, "a");
    rig.finish_node(run, "b");
}

fn end(rig: &Rig, run: &Envelope) -> Ended {
    rig.ended(run).expect("it ended").clone()
}

fn cancelled(rollback: bool) -> Event {
    Event::Cancelled { reason: "enough".to_owned(), rollback }
}

#[test]
fn an_interrupting_request_goes_on_with_what_there_is() {
    let mut rig = Rig::new(chain());
    let live = rig.invoke(json!({}));
    rig.finish_node(&live, "a");
    let (waiting, open) = (rig.invoke(json!({})), rig.task("b").id);
    let next = asked(&mut rig, json!({"log": ["x"]}), Multitask::Interrupt);
    rig.check_end(&live, RunStatus::Interrupted, None, json!(["a"]));
    rig.check_end(&waiting, RunStatus::Interrupted, None, Value::Null);
    assert_eq!(rig.cancelled, [open]);
    assert_eq!(rig.state().waiting().count(), 0);
    let late = result(&rig.task("b"));
    assert_eq!(rig.finish(&live, late), [], "the run is over");
    finish_all(&mut rig, &next);
    rig.check_end(&next, RunStatus::Success, None, json!(["a", "x", "a", "b"]));
    let numbers: Vec<_> =
        rig.updates.iter().filter(|(run, _)| run.run_id == next.run_id).map(|(_, update)| update.number).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
}

#[test]
fn on_an_idle_thread_every_request_just_begins() {
    for multitask in [Multitask::Interrupt, Multitask::Rollback, Multitask::Reject] {
        let mut rig = Rig::new(chain());
        let run = asked(&mut rig, json!({}), multitask);
        finish_all(&mut rig, &run);
        let run = asked(&mut rig, json!({}), multitask);
        finish_all(&mut rig, &run);
        rig.check_end(&run, RunStatus::Success, None, json!(["a", "b", "a", "b"]));
    }
}

#[test]
fn a_request_that_rolls_back_begins_where_the_undone_run_began() {
    let mut rig = Rig::new(chain());
    let first = rig.invoke(json!({}));
    finish_all(&mut rig, &first);
    let undone = rig.invoke(json!({"log": ["no"]}));
    rig.finish_node(&undone, "a");
    let waiting = rig.invoke(json!({}));
    let next = asked(&mut rig, json!({"log": ["x"]}), Multitask::Rollback);
    let ended = end(&rig, &undone);
    assert_eq!((ended.status, ended.rolled_back), (RunStatus::Cancelled, true));
    assert_eq!(json!(ended.values), json!({"log": ["a", "b"]}));
    let ended = end(&rig, &waiting);
    assert_eq!((ended.status, ended.rolled_back), (RunStatus::Cancelled, true), "it goes as well");
    finish_all(&mut rig, &next);
    rig.check_end(&next, RunStatus::Success, None, json!(["a", "b", "x", "a", "b"]));
}

#[test]
fn a_run_that_waits_is_undone_alone() {
    let mut rig = Rig::new(chain());
    let (live, waiting, kept) = (rig.invoke(json!({})), rig.invoke(json!({})), rig.invoke(json!({})));
    rig.fold(&waiting, cancelled(true));
    rig.fold(&kept, cancelled(false));
    assert_eq!((end(&rig, &waiting).rolled_back, end(&rig, &kept).rolled_back), (true, false));
    finish_all(&mut rig, &live);
    rig.check_end(&live, RunStatus::Success, None, json!(["a", "b"]));
}

#[test]
fn a_run_that_is_undone_leaves_its_thread_as_it_was() {
    let mut rig = Rig::new(chain());
    let first = rig.invoke(json!({}));
    finish_all(&mut rig, &first);
    let before = rig.state().head().cloned();
    let undone = rig.invoke(json!({"log": ["no"]}));
    rig.finish_node(&undone, "a");
    rig.fold(&undone, cancelled(true));
    assert_eq!(rig.state().head().map(|head| head.id), before.map(|head| head.id));
    assert!(rig.state().is_idle());
    let again = rig.request(Request::default());
    rig.check_end(&again, RunStatus::Success, None, json!(["a", "b"]));
}

#[test]
fn the_first_run_of_a_thread_leaves_nothing() {
    let mut rig = Rig::new(chain());
    let undone = rig.invoke(json!({}));
    rig.finish_node(&undone, "a");
    rig.fold(&undone, cancelled(true));
    assert!(end(&rig, &undone).rolled_back && rig.state().is_closed());
    let run = rig.invoke(json!({"log": ["x"]}));
    finish_all(&mut rig, &run);
    rig.check_end(&run, RunStatus::Success, None, json!(["x", "a", "b"]));
}

/// The thread asks again what it asked, and no issue is given twice: a result of the undone run may yet come.
#[test]
fn an_undone_answer_is_asked_for_again() {
    for steps in [0, 1] {
        let mut rig = Rig::new(chain());
        let run = rig.invoke(json!({}));
        let task = rig.task("a");
        let id = ids::interrupt_id(&task.checkpoint_ns, 0);
        let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
        rig.finish(&run, TaskResult { interrupts: vec![question], ..result(&task) });
        let answer = |word: &str| Request {
            command: Some(CommandInput { resume: Some(Arc::new(json!(word))), ..CommandInput::default() }),
            ..Request::default()
        };
        let undone = rig.request(answer("one"));
        let first = rig.task("a");
        if steps > 0 {
            rig.finish(&undone, TaskResult { answered: 1, ..named(&first) });
        }
        rig.fold(&undone, cancelled(true));
        let ended = end(&rig, &undone);
        assert_eq!((ended.interrupts.len(), ended.next), (1, vec!["a".to_owned()]));
        let run = rig.request(answer("two"));
        let second = rig.task("a");
        assert_eq!((second.id, second.issue), (first.id, first.issue + 1));
        assert_eq!(second.answers, [Arc::new(json!("two"))]);
        rig.finish(&run, TaskResult { answered: 1, ..named(&first) });
        assert!(rig.ended(&run).is_none(), "a result of the undone run counts for nothing");
        rig.finish(&run, TaskResult { answered: 1, ..named(&second) });
        rig.finish_node(&run, "b");
        rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
    }
}

#[test]
fn a_deleted_thread_begins_anew() {
    let mut rig = Rig::new(chain());
    let first = rig.invoke(json!({}));
    finish_all(&mut rig, &first);
    let (live, waiting) = (rig.invoke(json!({})), rig.invoke(json!({})));
    let delete = rig.envelope();
    rig.fold(&delete, Event::ThreadDeleted);
    for run in [&live, &waiting] {
        assert_eq!(end(&rig, run).status, RunStatus::Cancelled);
    }
    let Happened::Edited(edited) = rig.happened(&delete)[0] else { panic!("it is told") };
    assert!(edited.deleted && rig.state().is_closed());
    let run = rig.invoke(json!({}));
    finish_all(&mut rig, &run);
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
}
