//! A thread that is copied: two threads stand at one checkpoint, and each goes on alone.

use std::sync::Arc;

use graph::{
    advance::Command,
    envelope::Envelope,
    event::{CommandInput, Copied, Event, Request},
    ids,
    task::{Interrupt, TaskResult},
    update::{Edited, Happened, RunStatus},
};
use serde_json::json;

use crate::rig::{Rig, chain, named, result};

/// What a copying puts out, and what it tells.
fn copy(rig: &mut Rig) -> (Option<(Arc<Envelope>, Copied)>, Edited) {
    let copying = rig.envelope();
    let commands = rig.fold(&copying, Event::ThreadCopied { to: "copy".to_owned() });
    let Happened::Edited(told) = rig.happened(&copying)[0].clone() else { panic!("it is told") };
    let begins = commands.into_iter().find_map(|command| match command {
        Command::Copy { envelope, copied, namespaces, .. } => {
            assert_eq!(namespaces[0], "");
            Some((envelope, *copied))
        }
        _ => None,
    });
    (begins, *told)
}

fn answer(word: &str) -> Request {
    Request {
        command: Some(CommandInput { resume: Some(Arc::new(json!(word))), ..CommandInput::default() }),
        ..Request::default()
    }
}

#[test]
fn a_copy_is_answered_by_itself() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let task = rig.task("a");
    let question =
        Interrupt { id: ids::interrupt_id(&task.checkpoint_ns, 0), value: Arc::new(json!("?")), response_schema: None };
    rig.finish(&run, TaskResult { interrupts: vec![question], ..result(&task) });
    let before = rig.state().clone();
    let (begins, told) = copy(&mut rig);
    let (envelope, copied) = begins.expect("the copy begins");
    assert_eq!((told.copied_to.as_deref(), copied.from.as_str()), (Some("copy"), "t"));
    assert_eq!(envelope.thread_id.as_deref(), Some("copy"));
    assert_eq!(rig.state().head(), before.head(), "who is copied is as he was");

    let mut other = Rig::new(chain());
    let begins = || Event::CopyBegun(Box::new(copied.clone()));
    other.fold(&envelope, begins());
    let asked = |rig: &mut Rig| {
        let resumed = rig.request(answer("yes"));
        (resumed, rig.task("a"))
    };
    let (on_copy, of_copy) = asked(&mut other);
    let (on_first, of_first) = asked(&mut rig);
    assert_eq!(of_copy.id, of_first.id, "ids follow from the checkpoint");
    assert_ne!(of_copy.issue, of_first.issue, "a call of one is none of the other's");
    let stands = other.state().clone();
    other.fold(&envelope, begins());
    assert_eq!(other.state().head(), stands.head(), "a repeat begins nothing");
    assert_eq!(other.state().live_run(), stands.live_run());
    for (rig, run, task) in [(&mut other, on_copy, of_copy), (&mut rig, on_first, of_first)] {
        rig.finish(&run, TaskResult { answered: 1, ..named(&task) });
        rig.finish_node(&run, "b");
        rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
    }
}

#[test]
fn a_busy_thread_is_not_copied() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let (begins, told) = copy(&mut rig);
    assert!(begins.is_none());
    assert_eq!(told.error.expect("it is refused").code, "thread_busy");
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "b");
    assert!(copy(&mut rig).0.is_some());
}

#[test]
fn a_copy_whose_state_is_gone_says_so() {
    let mut rig = Rig::new(chain());
    let envelope = rig.envelope();
    let missing = Some("the store has no value".to_owned());
    rig.fold(&envelope, Event::CopyBegun(Box::new(Copied { from: "t".to_owned(), missing, ..Copied::default() })));
    let run = rig.invoke(json!({}));
    let ended = rig.ended(&run).expect("it ends");
    assert_eq!(ended.error.as_ref().map(|error| error.code.as_str()), Some("value_missing"));
}

/// A record of a log comes again after a kill, whatever became of the thread since.
#[test]
fn a_copy_takes_its_first_record_once_and_only_where_nothing_is() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    ["a", "b"].iter().for_each(|node| drop(rig.finish_node(&run, node)));
    let (envelope, copied) = copy(&mut rig).0.expect("the copy begins");
    let begins = || Event::CopyBegun(Box::new(copied.clone()));

    let mut deleted = Rig::new(chain());
    deleted.fold(&envelope, begins());
    let delete = deleted.envelope();
    deleted.fold(&delete, Event::ThreadDeleted);
    deleted.fold(&envelope, begins());
    assert!(deleted.state().head().is_none(), "what is deleted stays so");

    let mut used = Rig::new(chain());
    let run = used.invoke(json!({"log": ["mine"]}));
    ["a", "b"].iter().for_each(|node| drop(used.finish_node(&run, node)));
    let stands = used.state().head().cloned();
    used.fold(&envelope, begins());
    assert_eq!(used.state().head(), stands.as_ref());
}
