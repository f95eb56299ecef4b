//! A thread whose history is forgotten: it goes on from where it stands, and nothing leads back.

use std::sync::Arc;

use graph::{
    advance::Command,
    event::{CommandInput, Edit, Event, Request, StateUpdate},
    ids,
    spec::GraphSpec,
    task::{Interrupt, TaskResult},
    update::{Edited, Happened, OuterCheckpoint, RunStatus},
};
use serde_json::json;
use uuid::Uuid;

use crate::rig::{Rig, chain, named, plain, result, spec};

fn prune(rig: &mut Rig) -> Edited {
    let pruning = rig.envelope();
    rig.fold(&pruning, Event::ThreadPruned);
    let Happened::Edited(told) = rig.happened(&pruning)[0].clone() else { panic!("it is told") };
    *told
}

fn ask(rig: &mut Rig, node: &str) {
    let (run, task) = (rig.issued.last().expect("a task").0.clone(), rig.task(node));
    let id = ids::interrupt_id(&task.checkpoint_ns, 0);
    let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
    rig.finish(&run, TaskResult { interrupts: vec![question], ..result(&task) });
    assert_eq!(rig.ended(&run).map(|ended| ended.status), Some(RunStatus::Interrupted));
}

fn answer(rig: &mut Rig) -> Arc<graph::envelope::Envelope> {
    let resume = CommandInput { resume: Some(Arc::new(json!("yes"))), ..CommandInput::default() };
    rig.request(Request { command: Some(resume), ..Request::default() })
}

/// What a run says that begins at a checkpoint, where it doesn't begin.
fn refused_run(rig: &mut Rig, id: Uuid) -> Option<String> {
    let run = rig.request(Request { checkpoint_id: Some(id), ..Request::default() });
    rig.ended(&run).and_then(|ended| ended.error.as_ref()).map(|error| error.message.clone())
}

fn refused_edit(rig: &mut Rig, id: Uuid) -> Option<String> {
    let envelope = rig.envelope();
    let update = StateUpdate { values: Some(Arc::new(json!({"log": ["edit"]}))), as_node: Some("a".to_owned()) };
    let edit = Edit { checkpoint_id: Some(id), supersteps: vec![vec![update]], ..Edit::default() };
    rig.fold(&envelope, Event::StateEdited(Box::new(edit)));
    rig.happened(&envelope).into_iter().find_map(|happened| match happened {
        Happened::Edited(edited) => edited.error.as_ref().map(|error| error.message.clone()),
        _ => None,
    })
}

#[test]
fn a_pruned_thread_goes_on_and_nothing_leads_back() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "a");
    ask(&mut rig, "b");
    let made = rig.made();
    let head = *made.last().expect("a checkpoint");
    let before = rig.state().head().cloned();

    let told = prune(&mut rig);
    let kept = OuterCheckpoint { ns: String::new(), checkpoint_id: head };
    assert_eq!((told.pruned, told.error), (Some(vec![kept]), None));
    assert_eq!(rig.state().head().cloned(), before, "it stands where it stood");
    rig.state = Some(graph::state::KeyState::decode(&rig.state().encode()).expect("a state"));
    for id in &made[..made.len() - 1] {
        for said in [refused_run(&mut rig, *id), refused_edit(&mut rig, *id)] {
            assert!(said.as_ref().is_some_and(|said| said.contains("pruned")), "{said:?}");
        }
    }
    let said = refused_run(&mut rig, Uuid::max());
    assert!(said.as_ref().is_some_and(|said| said.contains("has no checkpoint")), "never made: {said:?}");

    let resumed = answer(&mut rig);
    let task = rig.task("b");
    rig.finish(&resumed, TaskResult { answered: 1, ..named(&task) });
    rig.check_end(&resumed, RunStatus::Success, None, json!(["a", "b"]));
    // What it stood at has a successor now, and can be gone back to.
    assert_eq!(refused_edit(&mut rig, head), None);
    assert_eq!(refused_run(&mut rig, head), None);
}

/// Nothing else is left that tells what came of it.
#[test]
fn a_repeat_of_an_edit_hears_again_what_the_first_one_made() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    ["a", "b"].iter().for_each(|node| drop(rig.finish_node(&run, node)));
    let as_node = |node: &str| {
        let update = StateUpdate { values: Some(Arc::new(json!({"log": ["edit"]}))), as_node: Some(node.to_owned()) };
        Event::StateEdited(Box::new(Edit { supersteps: vec![vec![update]], claimed: true, ..Edit::default() }))
    };
    let edits = [(rig.envelope(), as_node("a")), (rig.envelope(), as_node("nobody"))];
    let told = |rig: &Rig, nth: usize| {
        let edited = |happened: &Happened| match happened {
            Happened::Edited(edited) => Some(Edited::clone(edited)),
            _ => None,
        };
        rig.happened(&edits[nth].0).into_iter().filter_map(edited).collect::<Vec<_>>()
    };
    let repeat = |rig: &mut Rig| {
        for (envelope, event) in &edits {
            rig.fold(envelope, event.clone());
        }
    };
    repeat(&mut rig);
    let (made, refused) = (told(&rig, 0)[0].clone(), told(&rig, 1)[0].clone());
    assert!(made.checkpoint_id.is_some() && refused.error.is_some());
    repeat(&mut rig);
    assert_eq!((told(&rig, 0).len(), told(&rig, 1).len()), (1, 1), "who asks is answered with what was told");

    for round in 1..3 {
        prune(&mut rig);
        rig.state = Some(graph::state::KeyState::decode(&rig.state().encode()).expect("a state"));
        let before = rig.state().head().cloned();
        (0..2).for_each(|_| repeat(&mut rig));
        assert_eq!(rig.state().head().cloned(), before, "nothing is edited");
        let (again, refused) = (told(&rig, 0), told(&rig, 1));
        assert_eq!((again.len(), refused.len()), (1 + round, 1 + round), "once for each pruning");
        assert_eq!(again[round], Edited { again: true, ..made.clone() });
        let says = refused[round].error.as_ref().expect("it was refused").message.clone();
        assert!(says.contains("another key"), "{says}");
    }
    // A thread that was deleted has nothing of it.
    let deletion = rig.envelope();
    rig.fold(&deletion, Event::ThreadDeleted);
    repeat(&mut rig);
    let last = told(&rig, 0).pop().expect("it is told");
    assert!(last.checkpoint_id.is_none() && last.error.is_some(), "{last:?}");
}

#[test]
fn a_busy_thread_is_not_pruned() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    let told = prune(&mut rig);
    assert_eq!((told.pruned, told.error.expect("it is refused").code.as_str()), (None, "thread_busy"));
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "b");
    assert!(prune(&mut rig).pruned.is_some_and(|kept| kept.len() == 1));
}

#[test]
fn a_thread_without_a_checkpoint_keeps_none() {
    let mut rig = Rig::new(chain());
    assert_eq!(prune(&mut rig), Edited { pruned: Some(Vec::new()), ..Edited::default() });
    assert!(rig.state().is_closed());
}

/// START -> sub -> z, where `sub` is START -> i1 -> i2 with this memory.
fn with_subgraph(memory: &str) -> Rig {
    let channels = json!({"log": {"reducer": "append"}});
    let edges = json!([plain(&["START"], "i1"), plain(&["i1"], "i2")]);
    let inner = GraphSpec { name: "inner".to_owned(), ..spec(channels.clone(), &["i1", "i2"], edges) };
    let mut outer = json!(spec(channels, &["z"], json!([plain(&["START"], "sub"), plain(&["sub"], "z")])));
    let node = json!({"name": "sub", "kind": "subgraph", "graph": "inner", "hash": inner.hash(), "memory": memory});
    outer["nodes"].as_array_mut().unwrap().push(node);
    let mut rig = Rig::new(serde_json::from_value(outer).expect("a spec"));
    rig.add(inner);
    rig
}

fn newest_inside(rig: &Rig) -> OuterCheckpoint {
    let happened = rig.updates.iter().rev().flat_map(|(_, update)| update.happened.iter().rev());
    let mut inside = happened.filter_map(|happened| match happened {
        Happened::StepDone(done) if !done.ns.is_empty() => {
            Some(OuterCheckpoint { ns: done.ns.clone(), checkpoint_id: done.checkpoint_id })
        }
        _ => None,
    });
    inside.next().expect("a checkpoint inside")
}

#[test]
fn a_subgraph_that_is_cut_off_keeps_its_place() {
    for memory in ["call", "thread"] {
        let mut rig = with_subgraph(memory);
        let run = rig.invoke(json!({}));
        rig.finish_node(&run, "i1");
        ask(&mut rig, "i2");
        let told = prune(&mut rig);
        let kept = told.pruned.expect("it is pruned");
        assert_eq!((kept.len(), kept[0].ns.as_str(), &kept[1]), (2, "", &newest_inside(&rig)), "memory: {memory}");
        let resumed = answer(&mut rig);
        let task = rig.task("i2");
        rig.finish(&resumed, TaskResult { answered: 1, ..named(&task) });
        rig.finish_node(&resumed, "z");
        rig.check_end(&resumed, RunStatus::Success, None, json!(["i1", "i2", "z"]));
    }
}

#[test]
fn what_a_subgraph_remembers_stays() {
    for (memory, stays) in [("call", 1), ("thread", 2)] {
        let mut rig = with_subgraph(memory);
        let all = |rig: &mut Rig| {
            let run = rig.invoke(json!({}));
            ["i1", "i2", "z"].iter().for_each(|node| drop(rig.finish_node(&run, node)));
            run
        };
        all(&mut rig);
        let kept = prune(&mut rig).pruned.expect("it is pruned");
        assert_eq!(kept.len(), stays, "memory: {memory}");
        if stays == 2 {
            assert_eq!(kept[1], newest_inside(&rig));
        }
        let run = all(&mut rig);
        let ended = rig.ended(&run).expect("it ends");
        assert_eq!(ended.status, RunStatus::Success);
    }
}

#[test]
fn a_copy_of_a_pruned_thread_knows_no_more_than_it() {
    let mut rig = Rig::new(chain());
    let run = rig.invoke(json!({}));
    ["a", "b"].iter().for_each(|node| drop(rig.finish_node(&run, node)));
    let made = rig.made();
    prune(&mut rig);
    let copying = rig.envelope();
    let commands = rig.fold(&copying, Event::ThreadCopied { to: "copy".to_owned() });
    let begins = commands.into_iter().find_map(|command| match command {
        Command::Copy { envelope, copied, forgets_up_to, .. } => Some((envelope, copied, forgets_up_to)),
        _ => None,
    });
    let (envelope, copied, forgets_up_to) = begins.expect("the copy begins");
    assert!(forgets_up_to.is_some_and(|up_to| up_to > 0));
    let mut other = Rig::new(chain());
    other.fold(&envelope, Event::CopyBegun(copied));
    let said = refused_run(&mut other, made[0]);
    assert!(said.as_ref().is_some_and(|said| said.contains("pruned")), "{said:?}");
}

/// Nor by who prunes it when nothing is left.
#[test]
fn a_deleted_thread_was_never_pruned() {
    for prunes_again in [false, true] {
        let mut rig = Rig::new(chain());
        let run = rig.invoke(json!({}));
        ["a", "b"].iter().for_each(|node| drop(rig.finish_node(&run, node)));
        let made = rig.made();
        prune(&mut rig);
        let delete = rig.envelope();
        rig.fold(&delete, Event::ThreadDeleted);
        if prunes_again {
            prune(&mut rig);
        }
        let said = refused_run(&mut rig, made[0]);
        assert!(said.as_ref().is_some_and(|said| said.contains("has no checkpoint")), "{said:?}");
    }
}
