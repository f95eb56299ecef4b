//! What subgraphs remember for their thread: what becomes of it when that is copied, undone or deleted.

use graph::{advance::Command, event::Event, spec::GraphSpec, update::RunStatus};
use serde_json::{Value, json};

use crate::rig::{Rig, plain, result, spec};

/// START -> sub -> z, where `sub` is a graph of one node. What it gives is all that it remembers.
fn rig() -> Rig {
    let channels = json!({"log": {"reducer": "append"}});
    let edges = json!([plain(&["START"], "i")]);
    let inner = GraphSpec { name: "inner".to_owned(), ..spec(channels, &["i"], edges) };
    let edges = json!([plain(&["START"], "sub"), plain(&["sub"], "z")]);
    let mut outer = json!(spec(json!({"log": {}}), &["z"], edges));
    let node = json!({"name": "sub", "kind": "subgraph", "graph": "inner", "hash": inner.hash(), "memory": "thread",
        "input": {}, "update": {"log": "out.log"}});
    outer["nodes"].as_array_mut().unwrap().push(node);
    let mut rig = Rig::new(serde_json::from_value(outer).expect("a spec"));
    rig.add(inner);
    rig
}

#[track_caller]
fn check_run(rig: &mut Rig, log: Value) {
    let run = rig.invoke(json!({}));
    rig.finish_node(&run, "i");
    let last = result(&rig.task("z"));
    rig.finish(&run, last);
    rig.check_end(&run, RunStatus::Success, None, log);
}

#[test]
fn a_copy_remembers_it() {
    let mut first = rig();
    check_run(&mut first, json!(["i"]));
    let copying = first.envelope();
    let commands = first.fold(&copying, Event::ThreadCopied { to: "copy".to_owned() });
    let begins = commands.into_iter().find_map(|command| match command {
        Command::Copy { envelope, copied, namespaces, .. } => Some((envelope, copied, namespaces)),
        _ => None,
    });
    let (envelope, copied, namespaces) = begins.expect("the copy begins");
    assert_eq!(namespaces, ["", "sub"], "whose past the archive has");
    let mut copy = rig();
    copy.fold(&envelope, Event::CopyBegun(copied));
    check_run(&mut copy, json!(["i", "i"]));
    check_run(&mut first, json!(["i", "i"]));
}

#[test]
fn what_an_undone_run_taught_is_forgotten() {
    let mut rig = rig();
    check_run(&mut rig, json!(["i"]));
    let undone = rig.invoke(json!({}));
    rig.finish_node(&undone, "i");
    assert_eq!(&*rig.task("z").node, "z", "what was learned is the thread's before the run ends");
    rig.fold(&undone, Event::Cancelled { reason: String::new(), rollback: true });
    check_run(&mut rig, json!(["i", "i"]));
}

#[test]
fn a_deleted_thread_forgets_it() {
    let mut rig = rig();
    check_run(&mut rig, json!(["i"]));
    let delete = rig.envelope();
    rig.fold(&delete, Event::ThreadDeleted);
    check_run(&mut rig, json!(["i"]));
}
