//! What a sink makes of a run's updates: the stream's steps, the latest state and the history.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use graph::{
    by_name::ChannelValues,
    task::{Interrupt, TaskId},
    update::{Checkpointed, Continued, Edited, Ended, Happened, IssuedTask, Kept, TaskDone, Update},
    writes::NodeUpdate,
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::compare::Called;

/// What one task gave to a step.
enum Chunk {
    Questions { path: Vec<String>, values: Vec<Value> },
    Breakpoint,
    Update { path: Vec<String>, node: Arc<str>, update: Option<NodeUpdate>, restored: bool },
}

impl Chunk {
    fn shown(self) -> Value {
        match self {
            Chunk::Questions { path, values } => json!({"__interrupt__": values, "in": path}),
            Chunk::Breakpoint => json!({"__interrupt__": [], "in": []}),
            Chunk::Update { path, node, update, restored } => {
                let mut chunk = json!({"in": path});
                chunk[&*node] = update.as_ref().map_or(Value::Null, |update| plain_overwrites(&Value::from(update)));
                if restored {
                    chunk["__metadata__"] = json!({"cached": true});
                }
                chunk
            }
        }
    }
}

/// What came of tasks.
#[derive(Default)]
struct Outcomes {
    failed: BTreeSet<TaskId>,
    finished: BTreeSet<TaskId>,
    asked: BTreeMap<TaskId, Vec<Interrupt>>,
}

#[derive(Default)]
pub struct View {
    /// Of the thread's own graph: ids are in the order of time.
    checkpoints: BTreeMap<Uuid, Checkpointed>,
    outcomes: Outcomes,
    /// Of the run under way: one that keeps only its last checkpoint says nothing of what it did at those before.
    fresh: Outcomes,
    /// The state as the stream showed it last.
    shown: ChannelValues,
    steps: Vec<Value>,
    updates: Vec<Chunk>,
    ended: Option<Ended>,
    edited: Option<Edited>,
    /// Of the run that ended last.
    latest: Option<Ended>,
    last_number: u64,
}

impl View {
    pub fn begin(&mut self) {
        (self.steps, self.ended, self.edited) = (Vec::new(), None, None);
        self.updates.clear();
        self.last_number = 0;
    }

    pub fn see(&mut self, update: Update) {
        assert_eq!(update.number, Some(self.last_number + 1), "update numbers have no holes");
        self.last_number += 1;
        for happened in update.happened {
            match happened {
                Happened::Started(_) | Happened::Queued(_) | Happened::Spent { .. } => {}
                Happened::Kept(kept) => self.kept(*kept),
                Happened::Continued(continued) => self.continued(*continued),
                Happened::TaskDone(done) => self.task_done(&done),
                Happened::StepDone(done) => self.step_done(*done),
                Happened::Paused(paused) => {
                    if let Some(values) = &paused.values {
                        self.step(object(values));
                    }
                    if paused.breakpoint {
                        self.updates.push(Chunk::Breakpoint);
                    }
                }
                Happened::Ended(ended) => {
                    self.latest = Some(Ended::clone(&ended));
                    self.ended = Some(*ended);
                }
                Happened::Edited(edited) => {
                    if edited.error.is_none() {
                        self.latest = None;
                    }
                    self.edited = Some(*edited);
                }
            }
        }
    }

    fn continued(&mut self, continued: Continued) {
        if !continued.ns.is_empty() {
            return;
        }
        if let Some(checkpoint) = self.checkpoints.get_mut(&continued.checkpoint_id)
            && continued.commanded
        {
            checkpoint.values.clone_from(&continued.values);
        }
        self.shown = continued.values;
        self.shown.extend(continued.untracked);
        self.step(object(&self.shown.clone()));
    }

    fn step_done(&mut self, done: Checkpointed) {
        if !done.ns.is_empty() {
            return;
        }
        self.shown.clone_from(&done.values);
        self.shown.extend(done.untracked.clone());
        if done.wrote {
            self.step(object(&self.shown.clone()));
        }
        if done.passing {
            self.fresh = Outcomes::default();
        } else {
            self.checkpoints.insert(done.checkpoint_id, done);
        }
    }

    fn kept(&mut self, kept: Kept) {
        match kept {
            Kept::Checkpoint(kept) if kept.ns.is_empty() => {
                self.checkpoints.insert(kept.checkpoint_id, kept);
            }
            Kept::Checkpoint(_) => {}
            Kept::Command { checkpoint_id, values } => {
                if let Some(checkpoint) = self.checkpoints.get_mut(&checkpoint_id) {
                    checkpoint.values = values;
                }
            }
        }
    }

    fn task_done(&mut self, done: &TaskDone) {
        // The last part of the namespace is the task's own.
        let names = done.ns.split('|').map(|part| part.split(':').next().unwrap_or(part).to_owned());
        let mut path: Vec<String> = names.collect();
        path.pop();
        if done.error.is_some() {
            self.fresh.failed.insert(done.task_id);
        }
        if !done.interrupts.is_empty() {
            self.fresh.asked.insert(done.task_id, done.interrupts.clone());
            let values = done.interrupts.iter().map(|interrupt| json!({"interrupt": *interrupt.value})).collect();
            let is_root = path.is_empty();
            self.updates.push(Chunk::Questions { path, values });
            if is_root {
                self.step(object(&self.shown.clone()));
            }
            return;
        }
        if done.to_parent || done.answered || (done.error.is_some() && done.update.is_none()) {
            return;
        }
        self.fresh.finished.insert(done.task_id);
        let (node, update, restored) = (done.node.clone(), done.update.clone(), done.restored);
        self.updates.push(Chunk::Update { path, node, update, restored });
    }

    /// One entry for each `values` event; questions of parallel tasks are gathered into one.
    fn step(&mut self, values: Value) {
        let updates: Vec<Value> = self.updates.drain(..).map(Chunk::shown).collect();
        self.steps.push(json!({"updates": updates, "values": values}));
    }

    /// The N-th checkpoint, oldest first, modulo their number.
    pub fn checkpoint(&self, place: usize) -> Option<Uuid> {
        let count = self.checkpoints.len();
        (count > 0).then(|| *self.checkpoints.keys().nth(place % count).expect("a checkpoint"))
    }

    /// The ids of the questions that a snapshot shows: of the latest state, or of a checkpoint.
    pub fn questions(&self, at: Option<Uuid>) -> Vec<String> {
        let checkpoint = match at {
            Some(id) => self.checkpoints.get(&id),
            None => self.checkpoints.values().next_back(),
        };
        let tasks = checkpoint.into_iter().flat_map(|checkpoint| &checkpoint.next);
        tasks.flat_map(|task| self.asked_by(task, at.is_none())).map(|interrupt| interrupt.id.clone()).collect()
    }

    fn asked_by(&self, task: &IssuedTask, latest: bool) -> &[Interrupt] {
        if latest && self.outcomes.finished.contains(&task.task_id) {
            return &[];
        }
        self.outcomes.asked.get(&task.task_id).map_or(&[], Vec::as_slice)
    }

    pub fn called(&mut self) -> Called {
        let Outcomes { failed, finished, asked } = std::mem::take(&mut self.fresh);
        self.outcomes.failed.extend(failed);
        self.outcomes.finished.extend(finished);
        self.outcomes.asked.extend(asked);
        let error = match (&self.ended, &self.edited) {
            (Some(ended), _) => ended.error.clone(),
            (None, Some(edited)) => edited.error.clone(),
            (None, None) => panic!("nothing ended"),
        };
        if error.is_none() && !self.updates.is_empty() {
            self.step(Value::Null);
        }
        let error = error.map(|error| error.kind.unwrap_or(error.code));
        let history: Vec<Value> =
            self.checkpoints.values().map(|checkpoint| self.snapshot(checkpoint, false)).collect();
        let state = match self.checkpoints.values().next_back() {
            Some(last) => self.snapshot(last, true),
            None => {
                json!({"values": {}, "next": [], "tasks": [], "interrupts": [], "source": null, "step": null})
            }
        };
        Called { error, steps: std::mem::take(&mut self.steps), state, history }
    }

    /// A checkpoint as saved, or as the end of a run left it.
    fn snapshot(&self, checkpoint: &Checkpointed, latest: bool) -> Value {
        let ended = self.latest.as_ref().filter(|_| latest);
        let next: Vec<&str> = match ended {
            Some(ended) => ended.next.iter().map(String::as_str).collect(),
            None => checkpoint.next.iter().map(|task| &*task.node).collect(),
        };
        let values = ended.and_then(|ended| ended.values.as_ref()).unwrap_or(&checkpoint.values);
        let ordered = |interrupts: &mut dyn Iterator<Item = &Interrupt>| {
            let mut values: Vec<Value> = interrupts.map(|interrupt| Value::clone(&interrupt.value)).collect();
            values.sort_by_key(Value::to_string);
            values
        };
        let task = |task: &IssuedTask| {
            json!({
                "name": task.node,
                "error": self.outcomes.failed.contains(&task.task_id),
                "interrupts": ordered(&mut self.asked_by(task, latest).iter()),
            })
        };
        let all = &mut checkpoint.next.iter().flat_map(|task| self.asked_by(task, latest));
        json!({
            "values": object(values),
            "next": next,
            "tasks": checkpoint.next.iter().map(task).collect::<Vec<_>>(),
            "interrupts": ordered(all),
            "source": checkpoint.source,
            "step": checkpoint.step,
        })
    }
}

fn object(values: &ChannelValues) -> Value {
    Value::Object(values.iter().map(|(name, value)| (str::to_owned(name), Value::clone(value))).collect::<Map<_, _>>())
}

/// The recordings show an Overwrite as {overwrite}.
fn plain_overwrites(update: &Value) -> Value {
    if let Value::Array(updates) = update {
        return updates.iter().map(plain_overwrites).collect();
    }
    let Value::Object(fields) = update else { return update.clone() };
    let plain = |(name, value): (&String, &Value)| match value.get("__overwrite__") {
        Some(value) => (name.clone(), json!({"overwrite": value})),
        None => (name.clone(), value.clone()),
    };
    Value::Object(fields.iter().map(plain).collect())
}
