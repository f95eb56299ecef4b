//! A thread of whose state a value is gone: its runs end, none begins, and it can be deleted.

use graph::{event::Event, update::RunStatus};
use serde_json::{Value, json};

use crate::rig::{Rig, chain};

fn lose(rig: &mut Rig) {
    rig.state.as_mut().expect("a state").lose("the store has no value".to_owned());
}

#[test]
fn every_run_of_it_ends() {
    let mut rig = Rig::new(chain());
    let (live, waits) = (rig.invoke(json!({})), rig.invoke(json!({})));
    lose(&mut rig);
    let next = rig.invoke(json!({}));
    for run in [&live, &waits, &next] {
        rig.check_end(run, RunStatus::Error, Some("value_missing"), Value::Null);
    }
    assert_eq!(rig.issued.len(), 1, "nothing is asked of anybody");
}

#[test]
fn a_repeat_of_a_request_says_nothing_more() {
    let mut rig = Rig::new(chain());
    let live = rig.invoke(json!({}));
    lose(&mut rig);
    let told = rig.fold(&live, Event::Requested(Box::default())).len();
    assert_eq!(told, 2, "that it ends, and that nobody waits for its task");
    rig.check_end(&live, RunStatus::Error, Some("value_missing"), Value::Null);
}

#[test]
fn it_can_be_deleted_and_begins_anew() {
    let mut rig = Rig::new(chain());
    let live = rig.invoke(json!({}));
    lose(&mut rig);
    let delete = rig.envelope();
    rig.fold(&delete, Event::ThreadDeleted);
    assert_eq!(rig.ended(&live).map(|ended| ended.status), Some(RunStatus::Cancelled));
    assert!(rig.state().is_closed());
    let run = rig.invoke(json!({}));
    ["a", "b"].iter().for_each(|node| drop(rig.finish_node(&run, node)));
    rig.check_end(&run, RunStatus::Success, None, json!(["a", "b"]));
}
