//! Threads and their states in LangGraph's shapes. Pure.

use std::collections::BTreeMap;

use graph::{
    by_name::ChannelValues,
    task::{Interrupt, TaskPath},
    update::{Checkpointed, IssuedTask, OuterCheckpoint},
};
use schemas::http::assistant_id;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    outcome::{Outcomes, TaskOutcome},
    rewrite::Origin,
    thread::ThreadState,
    time,
};

/// A checkpoint as it was read.
#[derive(Clone, Debug)]
pub struct Saved {
    pub checkpoint: Checkpointed,
    pub run_id: Option<Uuid>,
    /// It was written anew: with a thread that was copied, or when the history before it was pruned.
    pub origin: Option<Box<Origin>>,
}

/// What is shown of checkpoints: those that are read, and what came of their tasks.
pub struct Sight<'a> {
    pub thread_id: &'a str,
    pub graph: &'a str,
    pub outcomes: &'a Outcomes,
    /// The newest checkpoints of the subgraphs that tasks are, by namespace; None shows only where they are.
    pub inner: Option<&'a BTreeMap<String, Saved>>,
    /// Values of unfinished subgraphs with what their finished tasks wrote.
    pub pending: &'a BTreeMap<String, ChannelValues>,
}

/// How a checkpoint is shown.
enum Shown<'a> {
    /// As things stand: what finished since counts.
    Now { values: &'a ChannelValues, next: Vec<String> },
    /// As it was saved.
    Saved,
}

/// LangGraph's `Thread`. `checkpoint` is the newest one, where there is any.
pub fn thread(state: &ThreadState, checkpoint: Option<&Checkpointed>) -> Value {
    let values = state.view.values.as_ref().or(checkpoint.map(|checkpoint| &checkpoint.values));
    let asked = |task: &IssuedTask| {
        let outcome = state.view.tasks.get(&task.task_id)?;
        let open = open_questions(outcome);
        (!open.is_empty()).then(|| (task.task_id.to_string(), questions(open).into()))
    };
    let interrupts: Map<String, Value> =
        checkpoint.into_iter().flat_map(|checkpoint| &checkpoint.next).filter_map(asked).collect();
    let error = state.view.error.as_ref().map(|error| {
        let exception = state.view.exception.as_deref().unwrap_or("Exception");
        json!({"error": exception, "message": error.message})
    });
    json!({
        "thread_id": state.thread_id,
        "created_at": time::rfc3339(state.created_at),
        "updated_at": time::rfc3339(state.updated_at),
        "state_updated_at": time::rfc3339(state.updated_at),
        "metadata": {"graph_id": state.graph, "assistant_id": assistant_id(&state.graph)},
        "status": state.status(),
        "config": {},
        "values": values,
        "error": error,
        "interrupts": interrupts,
    })
}

/// LangGraph's `ThreadState` where there is none.
pub fn nothing() -> Value {
    json!({
        "values": {}, "next": [], "tasks": [], "metadata": null, "created_at": null, "checkpoint": null,
        "parent_checkpoint": null, "interrupts": [], "checkpoint_id": null, "parent_checkpoint_id": null,
    })
}

impl Sight<'_> {
    /// LangGraph's `ThreadState` of the thread's own graph as it is now.
    pub fn latest(&self, state: &ThreadState, saved: &Saved) -> Value {
        let next = state.view.next.clone().unwrap_or_else(|| self.open(&saved.checkpoint));
        let values = state.view.values.as_ref().unwrap_or(&saved.checkpoint.values);
        self.snapshot(saved, Shown::Now { values, next })
    }

    /// The same of a subgraph.
    pub fn latest_inside(&self, saved: &Saved) -> Value {
        let values = self.pending.get(&saved.checkpoint.ns).unwrap_or(&saved.checkpoint.values);
        self.snapshot(saved, Shown::Now { values, next: self.open(&saved.checkpoint) })
    }

    /// One entry of a thread's history: the checkpoint as it was saved.
    pub fn historic(&self, saved: &Saved) -> Value {
        self.snapshot(saved, Shown::Saved)
    }

    fn open(&self, checkpoint: &Checkpointed) -> Vec<String> {
        let open = |task: &&IssuedTask| !self.outcomes.get(&task.task_id).is_some_and(|outcome| outcome.finished);
        checkpoint.next.iter().filter(open).map(|task| task.node.to_string()).collect()
    }

    fn snapshot(&self, saved: &Saved, shown: Shown<'_>) -> Value {
        let Saved { checkpoint, run_id, origin: _ } = saved;
        let nothing = TaskOutcome::default();
        let of = |task: &IssuedTask| self.outcomes.get(&task.task_id).unwrap_or(&nothing);
        let asked = |task: &IssuedTask| match &shown {
            Shown::Now { .. } => questions(open_questions(of(task))),
            Shown::Saved => questions(&of(task).interrupts),
        };
        let tasks: Vec<Value> =
            checkpoint.next.iter().map(|issued| self.task(issued, of(issued), asked(issued))).collect();
        let interrupts: Vec<Value> = checkpoint.next.iter().flat_map(asked).collect();
        let (values, next) = match &shown {
            Shown::Now { values, next } => (*values, next.clone()),
            Shown::Saved => {
                (&checkpoint.values, checkpoint.next.iter().map(|task| task.node.to_string()).collect::<Vec<_>>())
            }
        };
        let named = |id: Uuid| self.named(checkpoint, id);
        json!({
            "values": values,
            "next": next,
            "tasks": tasks,
            "metadata": self.metadata(checkpoint, *run_id),
            "created_at": time::of_id(checkpoint.checkpoint_id).map(time::rfc3339),
            "checkpoint": named(checkpoint.checkpoint_id),
            "parent_checkpoint": checkpoint.parent_id.map(named),
            "interrupts": interrupts,
            "checkpoint_id": checkpoint.checkpoint_id,
            "parent_checkpoint_id": checkpoint.parent_id,
        })
    }

    /// A checkpoint's address; of a subgraph's with those of the outer graphs.
    fn named(&self, checkpoint: &Checkpointed, id: Uuid) -> Value {
        let mut named = json!({"thread_id": self.thread_id, "checkpoint_ns": checkpoint.ns, "checkpoint_id": id});
        if !checkpoint.parents.is_empty() {
            let mut map = parents(&checkpoint.parents);
            map.insert(checkpoint.ns.clone(), id.to_string().into());
            named["checkpoint_map"] = map.into();
        }
        named
    }

    /// LangGraph's metadata of a checkpoint, as filters see it too.
    pub fn metadata(&self, checkpoint: &Checkpointed, run_id: Option<Uuid>) -> Map<String, Value> {
        let mut metadata: Map<String, Value> = checkpoint.metadata.clone().into_iter().collect();
        let mut set = |name: &str, value: Value| metadata.insert(name.to_owned(), value);
        set("graph_id", self.graph.into());
        set("assistant_id", assistant_id(self.graph).to_string().into());
        if let Some(run_id) = run_id {
            set("run_id", run_id.to_string().into());
        }
        set("thread_id", self.thread_id.into());
        set("source", checkpoint.source.clone().into());
        set("step", checkpoint.step.into());
        set("parents", parents(&checkpoint.parents).into());
        metadata
    }

    fn task(&self, issued: &IssuedTask, outcome: &TaskOutcome, interrupts: Vec<Value>) -> Value {
        let (checkpoint, state) = match (&issued.inner, self.inner) {
            (None, _) => (Value::Null, Value::Null),
            (Some(_), None) => (json!({"thread_id": self.thread_id, "checkpoint_ns": issued.ns}), Value::Null),
            (Some(ns), Some(inner)) => {
                (Value::Null, inner.get(ns).map_or_else(nothing, |saved| self.latest_inside(saved)))
            }
        };
        json!({
            "id": issued.task_id,
            "name": issued.node,
            "path": path(issued),
            "error": outcome.error_text(),
            "interrupts": interrupts,
            "checkpoint": checkpoint,
            "state": state,
            "result": outcome.result(),
        })
    }
}

/// LangGraph's path of a task.
pub fn path(issued: &IssuedTask) -> Value {
    match &issued.path {
        TaskPath::Pull => json!(["__pregel_pull", issued.node]),
        TaskPath::Push { index, argument: _ } => json!(["__pregel_push", index, false]),
    }
}

pub fn parents(outer: &[OuterCheckpoint]) -> Map<String, Value> {
    outer.iter().map(|at| (at.ns.clone(), at.checkpoint_id.to_string().into())).collect()
}

fn open_questions(outcome: &TaskOutcome) -> &[Interrupt] {
    if outcome.finished { &[] } else { &outcome.interrupts }
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
