//! Edits of several nodes and of several supersteps at once, and what is before them.

use std::sync::Arc;

use graph::{
    event::{Edit, Event, Request, StateUpdate},
    update::{Happened, RunStatus},
};
use serde_json::{Value, json};

use crate::rig::{Rig, chain, fork_and_join};

fn update(node: &str) -> StateUpdate {
    StateUpdate { values: Some(Arc::new(json!({"log": [format!("as {node}")]}))), as_node: Some(node.to_owned()) }
}

/// Edits the thread; gives for each checkpoint that was made its log and what is next.
fn edit(rig: &mut Rig, supersteps: Vec<Vec<StateUpdate>>) -> Vec<(Value, Vec<String>)> {
    let envelope = rig.envelope();
    rig.fold(&envelope, Event::StateEdited(Box::new(Edit { supersteps, ..Edit::default() })));
    let made = rig.happened(&envelope).into_iter().filter_map(|happened| match happened {
        Happened::StepDone(done) => {
            let next = done.next.iter().map(|task| task.node.to_string()).collect();
            Some((Value::clone(&done.values["log"]), next))
        }
        _ => None,
    });
    made.collect()
}

#[test]
fn several_nodes_of_a_superstep_make_one_checkpoint() {
    let mut rig = Rig::new(fork_and_join());
    let made = edit(&mut rig, vec![vec![update("b"), update("a")]]);
    assert_eq!(made, [(json!(["as b", "as a"]), vec!["c".to_owned()])], "both arms of the join have written");
}

#[test]
fn a_repeated_edit_edits_nothing() {
    let claimed = |node: &str, claimed| {
        Event::StateEdited(Box::new(Edit { supersteps: vec![vec![update(node)]], claimed, ..Edit::default() }))
    };
    let mut rig = Rig::new(fork_and_join());
    let (first, refused) = (rig.envelope(), rig.envelope());
    assert_ne!(rig.fold(&first, claimed("a", true)), []);
    assert_ne!(rig.fold(&refused, claimed("nobody", true)), [], "it is told that there is no such node");
    let run = rig.request(Request { input: Some(Arc::new(json!({"log": []}))), ..Request::default() });
    for known in [&first, &refused] {
        assert_eq!(rig.fold(known, claimed("a", true)), [], "a busy thread is no other answer");
    }
    rig.fold(&run, Event::Cancelled { reason: String::new(), rollback: false });
    for known in [&first, &refused] {
        assert_eq!(rig.fold(known, claimed("a", true)), []);
    }
    let plain = rig.envelope();
    assert_ne!(rig.fold(&plain, claimed("b", false)), []);
    assert_ne!(rig.fold(&plain, claimed("b", false)), [], "nobody claimed its id");
}

#[test]
fn each_superstep_makes_a_checkpoint() {
    let mut rig = Rig::new(fork_and_join());
    let made = edit(&mut rig, vec![vec![update("a")], vec![update("b")]]);
    let expected = [(json!(["as a"]), vec![]), (json!(["as a", "as b"]), vec!["c".to_owned()])];
    assert_eq!(made, expected);
}

#[test]
fn what_was_before_an_edit_can_be_gone_back_to() {
    let mut rig = Rig::new(chain());
    let run = rig.request(Request { input: Some(Arc::new(json!({"log": []}))), ..Request::default() });
    ["a", "b"].iter().for_each(|node| drop(rig.finish_node(&run, node)));
    let checkpoint_id = rig.state().head().map(|head| head.id);
    edit(&mut rig, vec![vec![update("b")]]);
    let now = rig.request(Request::default());
    rig.check_end(&now, RunStatus::Success, None, json!(["a", "b", "as b"]));
    let back = rig.request(Request { checkpoint_id, ..Request::default() });
    rig.check_end(&back, RunStatus::Success, None, json!(["a", "b"]));
}
