//! Threads and their states in LangGraph's shapes. Pure.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    envelope::Millis,
    task::{Interrupt, TaskId, TaskPath},
    update::{Checkpointed, IssuedTask},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    thread::{TaskOutcome, ThreadState},
    time,
};

/// LangGraph's `Thread`. `checkpoint` is the newest one, where there is any.
pub fn thread(state: &ThreadState, checkpoint: Option<&Checkpointed>) -> Value {
    let values = state.view.values.as_ref().or(checkpoint.map(|checkpoint| &checkpoint.values));
    let interrupts: Map<String, Value> = state
        .view
        .tasks
        .iter()
        .filter(|(_, outcome)| !outcome.interrupts.is_empty())
        .map(|(task_id, outcome)| (task_id.to_string(), questions(&outcome.interrupts).into()))
        .collect();
    let mut thread = json!({
        "thread_id": state.thread_id,
        "created_at": time::rfc3339(state.created_at),
        "updated_at": time::rfc3339(state.updated_at),
        "state_updated_at": time::rfc3339(state.updated_at),
        "metadata": {"graph_id": state.graph},
        "status": state.status(),
        "config": {},
        "values": values,
        "interrupts": interrupts,
    });
    if let Some(error) = &state.view.error {
        thread["error"] = json!(error.message);
    }
    thread
}

/// LangGraph's `ThreadState` as it is now: what finished since the checkpoint counts.
pub fn latest(state: &ThreadState, checkpoint: Option<&Checkpointed>, run_id: Option<Uuid>) -> Value {
    let Some(checkpoint) = checkpoint else {
        return json!({
            "values": {}, "next": [], "tasks": [], "metadata": null, "created_at": null, "interrupts": [],
            "checkpoint": null, "parent_checkpoint": null, "checkpoint_id": null, "parent_checkpoint_id": null,
        });
    };
    let outcomes = &state.view.tasks;
    let next = state.view.next.clone().unwrap_or_else(|| {
        let open = |task: &&IssuedTask| !outcomes.get(&task.task_id).is_some_and(TaskOutcome::is_finished);
        checkpoint.next.iter().filter(open).map(|task| task.node.clone()).collect()
    });
    let values = state.view.values.as_ref().unwrap_or(&checkpoint.values);
    snapshot(Snapshot { thread_id: &state.thread_id, checkpoint, run_id, graph: &state.graph, values, next, outcomes })
}

/// One entry of a thread's history: the checkpoint as it was saved.
pub fn historic(
    thread_id: &str,
    graph: &str,
    checkpoint: &Checkpointed,
    run_id: Uuid,
    outcomes: &BTreeMap<TaskId, TaskOutcome>,
) -> Value {
    let next = checkpoint.next.iter().map(|task| task.node.clone()).collect();
    let values = &checkpoint.values;
    snapshot(Snapshot { thread_id, checkpoint, run_id: Some(run_id), graph, values, next, outcomes })
}

struct Snapshot<'a> {
    thread_id: &'a str,
    checkpoint: &'a Checkpointed,
    run_id: Option<Uuid>,
    graph: &'a str,
    values: &'a BTreeMap<String, Arc<Value>>,
    next: Vec<String>,
    outcomes: &'a BTreeMap<TaskId, TaskOutcome>,
}

fn snapshot(snapshot: Snapshot<'_>) -> Value {
    let Snapshot { thread_id, checkpoint, run_id, graph, values, next, outcomes } = snapshot;
    let nothing = TaskOutcome::default();
    let of = |task: &IssuedTask| outcomes.get(&task.task_id).unwrap_or(&nothing);
    let tasks: Vec<Value> = checkpoint.next.iter().map(|issued| task(issued, of(issued))).collect();
    let interrupts: Vec<Value> = checkpoint.next.iter().flat_map(|issued| questions(&of(issued).interrupts)).collect();
    let mut metadata: Map<String, Value> = checkpoint.metadata.clone().into_iter().collect();
    metadata.insert("source".to_owned(), checkpoint.source.clone().into());
    metadata.insert("step".to_owned(), checkpoint.step.into());
    metadata.entry("parents").or_insert_with(|| json!({}));
    metadata.insert("graph_id".to_owned(), graph.into());
    metadata.insert("thread_id".to_owned(), thread_id.into());
    if let Some(run_id) = run_id {
        metadata.insert("run_id".to_owned(), run_id.to_string().into());
    }
    let named = |id: Uuid| json!({"thread_id": thread_id, "checkpoint_ns": checkpoint.ns, "checkpoint_id": id});
    json!({
        "values": values,
        "next": next,
        "tasks": tasks,
        "metadata": metadata,
        "created_at": time::of_id(checkpoint.checkpoint_id).map(|at: Millis| time::rfc3339(at)),
        "checkpoint": named(checkpoint.checkpoint_id),
        "parent_checkpoint": checkpoint.parent_id.map(named),
        "interrupts": interrupts,
        "checkpoint_id": checkpoint.checkpoint_id,
        "parent_checkpoint_id": checkpoint.parent_id,
    })
}

fn task(issued: &IssuedTask, outcome: &TaskOutcome) -> Value {
    let path = match &issued.path {
        TaskPath::Pull => json!(["__pregel_pull", issued.node]),
        TaskPath::Push { index, argument: _ } => json!(["__pregel_push", index, false]),
    };
    json!({
        "id": issued.task_id,
        "name": issued.node,
        "path": path,
        "error": outcome.error.as_ref().map(|error| &error.message),
        "interrupts": questions(&outcome.interrupts),
        "checkpoint": null,
        "state": null,
        "result": outcome.result,
    })
}

fn questions(interrupts: &[Interrupt]) -> Vec<Value> {
    let question = |Interrupt { id, value, response_schema }: &Interrupt| {
        let mut question = json!({"id": id, "value": value});
        if let Some(schema) = response_schema {
            question["response_schema"] = json!(schema);
        }
        question
    };
    interrupts.iter().map(question).collect()
}
