//! What a sink makes of a run's updates: the stream's steps, the latest state and the history.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use graph::{
    task::TaskId,
    update::{Checkpointed, Ended, Happened, TaskDone, Update},
};
use serde_json::{Map, Value, json};

/// What one call gave.
pub struct Called {
    /// The error's type.
    pub error: Option<String>,
    pub steps: Vec<Value>,
    pub state: Value,
    pub history: Vec<Value>,
}

#[derive(Default)]
pub struct View {
    checkpoints: Vec<Checkpointed>,
    failed: BTreeSet<TaskId>,
    steps: Vec<Value>,
    updates: Vec<Value>,
    ended: Option<Ended>,
    last_number: u64,
}

impl View {
    pub fn begin(&mut self) {
        (self.steps, self.updates, self.ended, self.last_number) = (Vec::new(), Vec::new(), None, 0);
    }

    pub fn see(&mut self, update: Update) {
        assert_eq!(update.number, Some(self.last_number + 1), "update numbers have no holes");
        self.last_number += 1;
        for happened in update.happened {
            match happened {
                // What continues first shows where the thread stands.
                Happened::Started(started) if started.input.is_none() => {
                    if let Some(last) = self.checkpoints.last() {
                        let values = object(&last.values);
                        self.step(values);
                    }
                }
                Happened::Started(_) | Happened::Queued(_) | Happened::Spent { .. } => {}
                Happened::TaskDone(done) => self.task_done(&done),
                Happened::StepDone(done) => {
                    if done.wrote {
                        let mut values = done.values.clone();
                        values.extend(done.untracked.clone());
                        self.step(object(&values));
                    }
                    self.checkpoints.push(*done);
                }
                Happened::Ended(ended) => self.ended = Some(*ended),
            }
        }
    }

    fn task_done(&mut self, done: &TaskDone) {
        if done.error.is_some() {
            self.failed.insert(done.task_id);
        }
        let update = done.update.as_deref().map_or(Value::Null, plain_overwrites);
        let mut chunk = json!({done.node.as_str(): update, "in": []});
        if done.restored {
            chunk["__metadata__"] = json!({"cached": true});
        }
        self.updates.push(chunk);
    }

    fn step(&mut self, values: Value) {
        let updates = std::mem::take(&mut self.updates);
        self.steps.push(json!({"updates": updates, "values": values}));
    }

    pub fn called(&mut self) -> Called {
        let ended = self.ended.clone().expect("the run ended");
        if ended.error.is_none() && !self.updates.is_empty() {
            self.step(Value::Null);
        }
        let error = ended.error.as_ref().map(|error| error.kind.clone().unwrap_or_else(|| error.code.clone()));
        let history: Vec<Value> = self.checkpoints.iter().map(|checkpoint| self.snapshot(checkpoint, None)).collect();
        let state = match self.checkpoints.last() {
            Some(last) => self.snapshot(last, Some(&ended)),
            None => {
                json!({"values": {}, "next": [], "tasks": [], "interrupts": [], "source": null, "step": null})
            }
        };
        Called { error, steps: std::mem::take(&mut self.steps), state, history }
    }

    /// A checkpoint as saved, or as the end of a run left it.
    fn snapshot(&self, checkpoint: &Checkpointed, latest: Option<&Ended>) -> Value {
        let next: Vec<&str> = match latest {
            Some(ended) => ended.next.iter().map(String::as_str).collect(),
            None => checkpoint.next.iter().map(|task| task.node.as_str()).collect(),
        };
        let values = latest.and_then(|ended| ended.values.as_ref()).unwrap_or(&checkpoint.values);
        let task = |task: &graph::update::IssuedTask| json!({"name": task.node, "error": self.failed.contains(&task.task_id), "interrupts": []});
        json!({
            "values": object(values),
            "next": next,
            "tasks": checkpoint.next.iter().map(task).collect::<Vec<_>>(),
            "interrupts": [],
            "source": checkpoint.source,
            "step": checkpoint.step,
        })
    }
}

fn object(values: &BTreeMap<String, Arc<Value>>) -> Value {
    Value::Object(values.iter().map(|(name, value)| (name.clone(), Value::clone(value))).collect::<Map<_, _>>())
}

/// The recordings show an Overwrite as {overwrite}.
fn plain_overwrites(update: &Value) -> Value {
    let Value::Object(fields) = update else { return update.clone() };
    let plain = |(name, value): (&String, &Value)| match value.get("__overwrite__") {
        Some(value) => (name.clone(), json!({"overwrite": value})),
        None => (name.clone(), value.clone()),
    };
    Value::Object(fields.iter().map(plain).collect())
}
