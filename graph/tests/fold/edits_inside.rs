//! Edits of a subgraph where it stands, as LangGraph's `update_state` with a `checkpoint_ns`.

use std::sync::Arc;

use graph::{
    envelope::Envelope,
    event::{Edit, Event, Request, StateUpdate},
    ids,
    spec::GraphSpec,
    state::KeyState,
    task::{Destination, Interrupt, TaskResult, Work},
    update::{Checkpointed, Happened, RunStatus},
};
use serde_json::{Value, json};

use crate::rig::{Rig, named, plain, result, spec};

/// START -> a -> sub -> z, where `sub` is START -> i1 -> i2 -> i3 with this memory.
fn rig(memory: &str, edges: Value) -> Rig {
    let channels = json!({"log": {"reducer": "append"}});
    let inner = GraphSpec { name: "inner".to_owned(), ..spec(channels.clone(), &["i1", "i2", "i3"], edges) };
    let edges = json!([plain(&["START"], "a"), plain(&["a"], "sub"), plain(&["sub"], "z")]);
    let mut outer = json!(spec(channels, &["a", "z"], edges));
    let node = json!({"name": "sub", "kind": "subgraph", "graph": "inner", "hash": inner.hash(), "memory": memory});
    outer["nodes"].as_array_mut().unwrap().push(node);
    let mut rig = Rig::new(serde_json::from_value(outer).expect("a spec"));
    rig.add(inner);
    rig
}

fn chain() -> Value {
    json!([plain(&["START"], "i1"), plain(&["i1"], "i2"), plain(&["i2"], "i3")])
}

/// The thread rests in `i2`, which asked; gives the namespace of the subgraph as its task shows it.
fn asking(rig: &mut Rig) -> String {
    let run = rig.invoke(json!({"log": ["in"]}));
    rig.finish_node(&run, "a");
    rig.finish_node(&run, "i1");
    let task = rig.task("i2");
    let id = ids::interrupt_id(&task.checkpoint_ns, 0);
    let question = Interrupt { id, value: Arc::new(json!("?")), response_schema: None };
    rig.finish(&run, TaskResult { interrupts: vec![question], ..result(&task) });
    assert_eq!(rig.ended(&run).map(|ended| ended.status), Some(RunStatus::Interrupted));
    rig.state = Some(KeyState::decode(&rig.state().encode()).expect("a state"));
    let shown = task.checkpoint_ns.rsplit_once('|').expect("an outer namespace").0;
    shown.to_owned()
}

fn as_node(node: Option<&str>, said: &str) -> StateUpdate {
    StateUpdate { values: Some(Arc::new(json!({"log": [said]}))), as_node: node.map(str::to_owned) }
}

fn edit(rig: &mut Rig, ns: &str, supersteps: Vec<Vec<StateUpdate>>) -> Arc<Envelope> {
    let envelope = rig.envelope();
    let edit = Edit { checkpoint_ns: ns.to_owned(), supersteps, ..Edit::default() };
    rig.fold(&envelope, Event::StateEdited(Box::new(edit)));
    rig.state = Some(KeyState::decode(&rig.state().encode()).expect("a state"));
    envelope
}

fn made(rig: &Rig, edit: &Envelope) -> Vec<Checkpointed> {
    let made = rig.happened(edit).into_iter().filter_map(|happened| match happened {
        Happened::StepDone(done) => Some(Checkpointed::clone(done)),
        _ => None,
    });
    made.collect()
}

fn error(rig: &Rig, edit: &Envelope) -> Option<String> {
    rig.happened(edit).into_iter().find_map(|happened| match happened {
        Happened::Edited(edited) => edited.error.as_ref().map(|error| error.message.clone()),
        _ => None,
    })
}

fn next(done: &Checkpointed) -> Vec<&str> {
    done.next.iter().map(|task| &*task.node).collect()
}

#[test]
fn a_run_goes_on_from_the_edit() {
    // As LangGraph 1.2.22 does.
    for (memory, stands) in [("call", None), ("thread", Some("sub"))] {
        let mut rig = rig(memory, chain());
        let shown = match stands {
            Some(_) => {
                asking(&mut rig);
                "sub:1953a250-6d7e-e2a6-c166-e6305cac185c".to_owned()
            }
            None => asking(&mut rig),
        };
        let outer = rig.state().head().expect("a checkpoint").id;
        let first = edit(&mut rig, &shown, vec![vec![as_node(None, "ed")]]);
        let [done] = made(&rig, &first).try_into().expect("one checkpoint");
        assert_eq!((done.ns.as_str(), done.step, done.source.as_str()), (stands.unwrap_or(&shown), 2, "update"));
        assert_eq!((&*done.values["log"], next(&done)), (&json!(["in", "a", "i1", "ed"]), vec!["i2"]));
        assert_eq!(done.parents.iter().map(|outer| outer.ns.as_str()).collect::<Vec<_>>(), [""]);
        let second = edit(&mut rig, stands.unwrap_or(&shown), vec![vec![as_node(Some("i2"), "ed2")]]);
        let [done] = made(&rig, &second).try_into().expect("one checkpoint");
        assert_eq!((done.step, next(&done)), (3, vec!["i3"]));
        assert_eq!(rig.state().head().expect("a checkpoint").id, outer, "the outer graph stands where it stood");
        let run = rig.request(Request::default());
        rig.finish_node(&run, "i3");
        rig.finish_node(&run, "z");
        let log = json!(["in", "a", "in", "a", "i1", "ed", "ed2", "i3", "z"]);
        rig.check_end(&run, RunStatus::Success, None, log);
    }
}

#[test]
fn several_nodes_and_supersteps_at_once() {
    let mut rig = rig("call", chain());
    let ns = asking(&mut rig);
    let both = vec![as_node(Some("i2"), "b2"), as_node(Some("i1"), "b3")];
    let edit = edit(&mut rig, &ns, vec![vec![as_node(Some("i1"), "b1")], both]);
    let made = made(&rig, &edit);
    assert_eq!(made.iter().map(next).collect::<Vec<_>>(), [vec!["i2"], vec!["i2", "i3"]]);
    assert_eq!(*made[1].values["log"], json!(["in", "a", "i1", "b1", "b2", "b3"]));
}

#[test]
fn a_program_decides_inside() {
    let decide = json!({"decide": {"from": "i1", "decide": {"url": "http://x/decide"}}});
    let mut rig = rig("call", json!([plain(&["START"], "i1"), decide, plain(&["i2"], "i3")]));
    let run = rig.invoke(json!({"log": ["in"]}));
    rig.finish_node(&run, "a");
    let task = rig.task("i1");
    rig.finish(&run, TaskResult { branches: vec![Destination::Node("i2".to_owned())], ..named(&task) });
    rig.fail_node(&run, "i2");
    let ns = rig.task("i2").checkpoint_ns;
    let edit =
        edit(&mut rig, ns.rsplit_once('|').expect("an outer namespace").0, vec![vec![as_node(Some("i1"), "ed")]]);
    let task = rig.issued.last().expect("a task").1.clone();
    assert!(matches!(task.work.as_deref(), Some(Work::Decision { .. })), "{task:?}");
    assert_eq!(task.graph.as_ref().map(|graph| graph.name.as_str()), Some("inner"));
    rig.finish(&edit, TaskResult { branches: vec![Destination::Node("i3".to_owned())], ..result(&task) });
    let made = made(&rig, &edit);
    assert_eq!(made.iter().map(next).collect::<Vec<_>>(), [vec!["i3"]]);
    let run = rig.request(Request::default());
    rig.finish_node(&run, "i3");
    rig.finish_node(&run, "z");
    assert_eq!(rig.ended(&run).map(|ended| ended.status), Some(RunStatus::Success));
}

#[test]
fn what_stands_nowhere_is_not_edited() {
    let mut rig = rig("call", chain());
    let ns = asking(&mut rig);
    for nowhere in ["nope", "sub", "sub:0000", &format!("{ns}|x:y"), &"|".repeat(1_000_000)] {
        let edit = edit(&mut rig, nowhere, vec![vec![as_node(Some("i1"), "x")]]);
        let message = error(&rig, &edit).expect("an error");
        assert!(message.contains("no subgraph of the thread stands in the namespace"), "{message}");
    }
    let envelope = rig.envelope();
    let supersteps = vec![vec![as_node(Some("i1"), "x")]];
    let checkpoint_id = Some(rig.state().head().expect("a checkpoint").id);
    rig.fold(
        &envelope,
        Event::StateEdited(Box::new(Edit { checkpoint_id, checkpoint_ns: ns, supersteps, ..Edit::default() })),
    );
    assert!(error(&rig, &envelope).expect("an error").contains("is edited where it stands"));
}
