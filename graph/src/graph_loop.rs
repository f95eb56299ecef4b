//! A graph in one namespace: where it stands, the tasks of its step, and, while a run works on it, how far that is.
//!
//! A subgraph's loop lies in the task that is its node, so that the state of a thread is a tree and what a checkpoint
//! needs to be gone on from is one piece.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    by_name::ChannelValues,
    channel::Fields,
    checkpoint::Checkpoint,
    envelope::GraphRef,
    graph::Graph,
    ids,
    prepare::prepare,
    spec::Memory,
    state::DecodeError,
    step_task::{Finished, Stand, StepTask, StepTasks},
    task::{Destination, ParentCommand, TaskError, TaskId},
    update::{IssuedTask, OuterCheckpoint},
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphLoop {
    /// Empty for the run's own graph; `<node>:<task id>` joined by `|` for a subgraph; names alone for one that
    /// remembers for its thread.
    pub(crate) ns: String,
    pub(crate) head: Checkpoint,
    /// How many other tasks of the run went on from this very checkpoint before: tasks of theirs have the same ids, but for
    /// this. A checkpoint of its own sets it apart, so that nothing is stored under it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) twin: u32,
    /// The head as it is stored, where a command has written to it since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stored: Option<Box<Checkpoint>>,
    /// What commands wrote at the head: part of it whenever it is gone on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<Box<Finished>>,
    /// The last answer that came without an id; LangGraph keeps it until the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resume: Option<Arc<Value>>,
    /// The tasks of the step after the head, finished ones with their writes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) tasks: StepTasks,
    /// Tasks of the stored head that a command has taken out of the step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) aside: StepTasks,
    /// What programs made of the step's writes to their channels. A step that is gone on from is asked for anew.
    #[serde(default, skip_serializing_if = "Fields::is_empty")]
    pub(crate) reduced: Fields,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) progress: Option<Box<Progress>>,
}

fn is_zero(twin: &u32) -> bool {
    *twin == 0
}

/// How far a run is with a loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The last step that the recursion limit allows.
    pub stop: i64,
    /// Tasks of the step that are neither finished, paused nor failed.
    pub unfinished: usize,
    /// What ends the loop when the step's other tasks are done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The first step of a run that goes on: subgraphs go on too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resuming: bool,
    /// Answers taken up before don't count: a run that went back in time asks its questions again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks_anew: bool,
    #[serde(default)]
    pub memory: Memory,
    /// The head's `passed` as it is stored.
    #[serde(default)]
    pub passed: u64,
    /// What a subgraph's node writes when it ends: the output channels as they were last shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<ChannelValues>,
    /// Where the outer graphs stand that a subgraph runs in, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<OuterCheckpoint>,
    /// Where a command that began an empty thread goes beside START's edges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entry: Vec<Destination>,
    /// Of a run that keeps only its last checkpoint: the head is none that is stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passing: bool,
    /// Of such a run that goes on: the loop as it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood: Option<Box<GraphLoop>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// A task failed, or the loop itself.
    Error { node: Option<String>, error: TaskError },
    /// A task left the graph.
    Left(ParentCommand),
}

/// A checkpoint of a thread's past, wanted whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// This one of the run's own graph.
    Checkpoint(Uuid),
    /// The newest of a namespace that is older than this id.
    Before { ns: String, id: Uuid },
}

/// What was found of it.
pub type Recalled = BTreeMap<Wanted, Found>;

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Found {
    There(Arc<GraphLoop>),
    /// The thread has no such checkpoint.
    #[default]
    Nothing,
    /// There is one, and a value of it is gone: what asked for it fails with this.
    Lost(String),
}

impl Found {
    pub(crate) fn there(&self) -> Option<&Arc<GraphLoop>> {
        match self {
            Found::There(found) => Some(found),
            Found::Nothing | Found::Lost(_) => None,
        }
    }
}

impl GraphLoop {
    pub(crate) fn empty(ns: String, graph: Arc<GraphRef>, rules: u32) -> Self {
        GraphLoop {
            ns,
            head: Checkpoint::empty(graph, rules),
            twin: 0,
            stored: None,
            command: None,
            resume: None,
            tasks: StepTasks::new(),
            aside: StepTasks::new(),
            reduced: Fields::new(),
            progress: None,
        }
    }

    /// The checkpoint's id and the namespace: what it is kept under.
    pub fn checkpoint_id(&self) -> Uuid {
        self.head.id
    }

    pub fn ns(&self) -> &str {
        &self.ns
    }

    /// Whether it is what `wanted` asks for, or a candidate for it.
    pub fn answers(&self, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Checkpoint(id) => self.is_root() && self.head.id == *id,
            Wanted::Before { ns, id } => self.ns == *ns && self.head.id < *id,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a loop holds only JSON values under text keys")
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    pub(crate) fn is_root(&self) -> bool {
        self.ns.is_empty()
    }

    /// Gives every channel that was never written its start: stored bytes leave those out.
    pub(crate) fn bind(&mut self, graph: &Graph) {
        self.head.bind(graph);
        self.stored.iter_mut().for_each(|stored| stored.bind(graph));
    }

    /// The graph that declares its nodes, where it isn't the run's own.
    pub(crate) fn declares(&self) -> Option<GraphRef> {
        (!self.is_root()).then(|| GraphRef::clone(&self.head.graph))
    }

    /// A checkpoint was made: there is something to go on from.
    pub(crate) fn has_begun(&self) -> bool {
        self.head.version > 0
    }

    /// Takes up the tasks that the head asks for; what is known of one that it asked for before stays known.
    pub(crate) fn prepare(&mut self, graph: &Graph) {
        let mut before = std::mem::take(&mut self.tasks);
        self.tasks = prepare(graph, &self.head, &self.ids_ns());
        if before.is_empty() {
            return;
        }
        for (id, task) in &mut self.tasks {
            if let Some(known) = before.remove(id) {
                *task = known;
            }
        }
        // Who handles a failure is asked for by no channel.
        let listed =
            |task: &StepTask| task.handles.as_ref().is_some_and(|handled| self.tasks.contains_key(&handled.task_id));
        let (handlers, aside): (Vec<StepTask>, Vec<StepTask>) = before.into_values().partition(listed);
        self.tasks.extend(handlers.into_iter().map(|task| (task.id, task)));
        self.aside.extend(aside.into_iter().map(|task| (task.id, task)));
    }

    /// The tasks that the stored checkpoint itself asks for: what snapshots list.
    pub(crate) fn is_listed<'a>(&'a self, graph: &Graph) -> impl Fn(&StepTask) -> bool + 'a {
        let stored = self.stored.as_deref().or(self.command.is_some().then_some(&self.head));
        let stored = stored.map(|stored| prepare(graph, stored, &self.ids_ns()));
        move |task| {
            let asked_for = stored.as_ref().is_none_or(|stored| stored.contains_key(&task.id));
            asked_for && task.handles.is_none()
        }
    }

    /// No run works on it any more: what isn't stored is forgotten.
    pub(crate) fn rest(&mut self, graph_of: &impl Fn(&str) -> Option<Arc<Graph>>) {
        if let Some(stored) = self.stored.take() {
            self.head = *stored;
        }
        if let Some(progress) = self.progress.take() {
            self.head.passed = progress.passed;
        }
        self.tasks.append(&mut self.aside);
        self.tasks.retain(|_, task| task.reduces.is_none());
        for task in self.tasks.values_mut() {
            task.rest();
            task.inner = task.inner.take().filter(|inner| inner.memory() == Memory::Call);
            task.inner.iter_mut().for_each(|inner| inner.rest(graph_of));
        }
        let Some(graph) = graph_of(&self.head.graph.hash).filter(|graph| graph.has_untracked()) else { return };
        self.head.drop_untracked(&graph);
        self.command.iter_mut().for_each(|command| command.drop_untracked(&graph));
        self.tasks.values_mut().for_each(|task| task.drop_untracked(&graph));
    }

    /// All of its step's tasks are done but those whose questions are held, and no failure ends it.
    pub(crate) fn holds_questions(&self) -> bool {
        let waits =
            self.progress.as_ref().is_some_and(|progress| progress.unfinished == 0 && progress.failure.is_none());
        waits && self.tasks.values().any(|task| task.held.is_some())
    }

    /// Nobody waits for what runs in it any more, though its run goes on. Gives the tasks that were under way.
    pub(crate) fn abandon(&mut self) -> Vec<TaskId> {
        let mut left = Vec::new();
        for task in self.tasks.values_mut().filter(|task| task.stand.is_under_way()) {
            left.push(task.id);
            task.rest();
            left.extend(task.inner.iter_mut().flat_map(|inner| inner.abandon()));
        }
        self.tasks.retain(|_, task| task.reduces.is_none());
        left
    }

    /// Every task of the step runs again. Handlers go; the tasks whose failures they handled keep the number of their last
    /// issue, so that none is issued twice under one.
    pub(crate) fn forget_results(&mut self) {
        let of_handlers: Vec<(TaskId, u32)> =
            self.tasks.values().filter_map(|task| Some((task.handles.as_ref()?.task_id, task.issue))).collect();
        for (failed, issue) in of_handlers {
            self.tasks.entry(failed).and_modify(|task| task.issue = task.issue.max(issue));
        }
        self.tasks.retain(|_, task| task.handles.is_none());
        for task in self.tasks.values_mut() {
            if let Stand::Finished(finished) = std::mem::replace(&mut task.stand, Stand::Idle) {
                task.kept = Some(finished);
            }
        }
    }

    /// Where the outer graphs stand that it runs in.
    pub(crate) fn parents(&self) -> Vec<OuterCheckpoint> {
        self.progress.as_ref().map(|progress| progress.parents.clone()).unwrap_or_default()
    }

    /// Its task of the step after the head, as streams and snapshots show it.
    pub(crate) fn issued(&self, graph: &Graph, task: &StepTask) -> IssuedTask {
        let subgraph = graph.nodes.get(&task.node).and_then(|node| node.subgraph.as_ref());
        let inner = subgraph.map(|subgraph| task.inner_ns(&self.ns, subgraph.memory));
        IssuedTask { inner, ..task.issued(&self.ns) }
    }

    /// As another thread has it: its tasks have the same ids there, and issues of their own.
    pub fn copied(&self, copying: Uuid) -> Self {
        let mut copied = self.clone();
        copied.issue_above(ids::last_issue_before(copying));
        copied
    }

    /// No issue up to this one is given again: results of those may yet come.
    pub(crate) fn issue_above(&mut self, last: u32) {
        for task in self.tasks.values_mut().chain(self.aside.values_mut()) {
            task.issue = task.issue.max(last);
            task.inner.iter_mut().for_each(|inner| inner.issue_above(last));
        }
    }

    pub(crate) fn memory(&self) -> Memory {
        self.progress.as_ref().map_or(Memory::Call, |progress| progress.memory)
    }

    pub(crate) fn unfinished(&self) -> usize {
        self.progress.as_ref().map_or(0, |progress| progress.unfinished)
    }

    /// A task came to an end of some kind.
    pub(crate) fn one_less(&mut self) {
        if let Some(progress) = self.progress.as_deref_mut() {
            progress.unfinished = progress.unfinished.saturating_sub(1);
        }
    }

    /// Its step will not be applied: a task failed, or asks.
    pub(crate) fn is_stopping(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| progress.failure.is_some())
            || self.tasks.values().any(StepTask::is_paused)
    }

    /// The first one counts, but an error before a task that left: it would go unseen.
    pub(crate) fn fail(&mut self, failure: Failure) {
        let Some(progress) = self.progress.as_deref_mut() else { return };
        match (&progress.failure, &failure) {
            (None, _) | (Some(Failure::Left(_)), Failure::Error { .. }) => progress.failure = Some(failure),
            (Some(_), _) => {}
        }
    }

    /// The tasks whose result is awaited, in subgraphs too.
    pub(crate) fn open_tasks(&self) -> Box<dyn Iterator<Item = (&GraphLoop, &StepTask)> + '_> {
        let open = self.tasks.values().filter(|task| task.stand == Stand::Open).map(move |task| (self, task));
        let inner = self.tasks.values().filter_map(|task| task.inner.as_deref());
        Box::new(open.chain(inner.flat_map(GraphLoop::open_tasks)))
    }

    /// The loop that a path of outer tasks leads to.
    pub(crate) fn inside(&self, path: &[TaskId]) -> Option<&GraphLoop> {
        path.iter().try_fold(self, |outer, id| outer.tasks.get(id)?.inner.as_deref())
    }
}
