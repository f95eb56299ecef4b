//! `checkpoints`: each checkpoint as it is made, and the one that a run goes on from.

use std::collections::BTreeMap;

use graph::update::{Happened, IssuedTask, OuterCheckpoint};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{Event, happened, known::Known};
use crate::{facts::Fact, snapshot::parents};

/// The parts of a checkpoint that its event has.
struct At<'a> {
    ns: &'a str,
    id: Uuid,
    parent: Option<Uuid>,
    step: i64,
    source: &'a str,
    next: &'a [IssuedTask],
    parents: &'a [OuterCheckpoint],
    metadata: Map<String, Value>,
}

/// With the checkpoint's own step.
pub fn events(fact: &Fact, known: &Known) -> Vec<(Event, i64)> {
    let of = |metadata: &BTreeMap<String, Value>| metadata.clone().into_iter().collect();
    let at = match happened(fact) {
        Some(Happened::StepDone(at)) if !at.unsaved => At {
            ns: &at.ns,
            id: at.checkpoint_id,
            parent: at.parent_id,
            step: at.step,
            source: &at.source,
            next: &at.next,
            parents: &at.parents,
            metadata: of(&at.metadata),
        },
        Some(Happened::Continued(at)) => At {
            ns: &at.ns,
            id: at.checkpoint_id,
            parent: at.parent_id,
            step: at.step,
            source: &at.source,
            next: &at.next,
            parents: &at.parents,
            metadata: Map::new(),
        },
        Some(_) | None => return Vec::new(),
    };
    let step = at.step;
    vec![(Event::new("checkpoints", at.ns, data(at, known)), step)]
}

fn data(at: At<'_>, known: &Known) -> Value {
    let named = |id: Uuid| {
        let mut named = json!({"checkpoint_ns": at.ns, "thread_id": known.thread_id(), "checkpoint_id": id});
        if !at.parents.is_empty() {
            let mut map = parents(at.parents);
            map.insert(at.ns.to_owned(), id.to_string().into());
            named["checkpoint_map"] = map.into();
        }
        named
    };
    let task = |task: &IssuedTask| {
        let state = task
            .inner
            .as_ref()
            .map(|_| json!({"configurable": {"thread_id": known.thread_id(), "checkpoint_ns": task.ns}}));
        json!({"id": task.task_id, "name": task.node, "interrupts": [], "state": state})
    };
    let mut metadata = at.metadata.clone();
    metadata.insert("source".to_owned(), at.source.into());
    metadata.insert("step".to_owned(), at.step.into());
    metadata.insert("parents".to_owned(), parents(at.parents).into());
    json!({
        "config": {"configurable": named(at.id)},
        "parent_config": at.parent.map(|id| json!({"configurable": named(id)})),
        "values": known.values(at.ns),
        "metadata": metadata,
        "next": at.next.iter().map(|task| &task.node).collect::<Vec<_>>(),
        "tasks": at.next.iter().map(task).collect::<Vec<_>>(),
        "checkpoint": named(at.id),
        "parent_checkpoint": at.parent.map(named),
    })
}
