//! A task of the current superstep, as the thread remembers it until the step is applied.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    channel::Kind,
    checkpoint::strip_untracked,
    graph::{Graph, START_NODE},
    graph_loop::GraphLoop,
    prepare::joined,
    spec::Memory,
    task::{Destination, Handled, Interrupt, Reduction, TaskError, TaskId, TaskPath, TaskResult, Work},
    update::{IssuedTask, TaskDone},
    writes::{self, Writes},
};

/// What the name of a task begins with that handles the failure of the node named behind it.
const HANDLER: &str = "__error_handler__";

/// The tasks of one superstep by id.
pub(crate) type StepTasks = BTreeMap<TaskId, StepTask>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepTask {
    pub id: TaskId,
    pub node: Arc<str>,
    pub path: TaskPath,
    pub triggers: Arc<[Arc<str>]>,
    /// The failed task of the same step that this one handles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles: Option<Box<Handled>>,
    /// 0 until it is first issued.
    pub issue: u32,
    /// Attempts that ended before the open issue.
    pub attempt: u32,
    pub stand: Stand,
    /// What it finished with before, where the run does everything again: stored until the step is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Arc<Finished>>,
    /// The questions that it asked last, answered or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupts: Vec<Interrupt>,
    /// Answers that the node has taken up, in the order of its questions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Arc<Value>>,
    /// The answers of the open issue: those taken up before, and new ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<Arc<Value>>,
    /// Its question, while an answer without an id may still be for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Box<TaskDone>>,
    /// What it wrote, where a program is being asked where to go from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrote: Option<Arc<Finished>>,
    /// It is no node's: a program joins these writes of the step's other tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reduces: Option<Box<Reduction>>,
    /// Where the subgraph stands that the node is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<Box<GraphLoop>>,
    #[serde(skip)]
    pub shown_ns: ShownNs,
}

/// The namespace of a task once it was asked for: no part of what the task is.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShownNs(OnceLock<Arc<str>>);

impl PartialEq for ShownNs {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// How far a task has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stand {
    /// No run asks for it now.
    Idle,
    /// Its issue waits for a result.
    Open,
    /// It was given back and waits for its next issue.
    Delayed,
    /// Its subgraph runs.
    Inside,
    Finished(Arc<Finished>),
    /// It asked, or a breakpoint stopped its subgraph.
    Paused {
        execution: Uuid,
        asked: bool,
    },
    Failed {
        execution: Uuid,
        error: TaskError,
        /// A task of its own deals with the error.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        handled: bool,
    },
    /// It left its graph with a command to the outer one.
    Left {
        execution: Uuid,
    },
}

impl Stand {
    pub fn is_under_way(&self) -> bool {
        matches!(self, Stand::Open | Stand::Delayed | Stand::Inside)
    }
}

/// What a finished task wrote: kept until its step is applied, by a later run too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub execution: Uuid,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "writes::nothing")]
    pub writes: Arc<Writes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goto: Vec<Destination>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Destination>,
    /// A condition failed after the node had written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_error: Option<TaskError>,
}

impl Finished {
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.goto.is_empty() && self.branches.is_empty()
    }

    /// Forgets what is never stored.
    pub fn drop_untracked(&mut self, graph: &Graph) {
        let untracked = |name: &str| graph.channels.get(name).is_some_and(|def| def.kind == Kind::Untracked);
        let sent = |to: &mut Destination| match to {
            Destination::Send { argument, .. } => strip_untracked(graph, argument),
            Destination::Node(_) => {}
        };
        if self.writes.iter().any(|(name, _)| untracked(name)) {
            Arc::make_mut(&mut self.writes).retain(|(name, _)| !untracked(name));
        }
        self.goto.iter_mut().chain(&mut self.branches).for_each(sent);
    }
}

impl StepTask {
    pub fn new(id: TaskId, node: Arc<str>, path: TaskPath, triggers: Arc<[Arc<str>]>) -> Self {
        StepTask {
            id,
            node,
            path,
            triggers,
            handles: None,
            issue: 0,
            attempt: 0,
            stand: Stand::Idle,
            kept: None,
            interrupts: Vec::new(),
            answers: Vec::new(),
            given: Vec::new(),
            held: None,
            wrote: None,
            reduces: None,
            inner: None,
            shown_ns: ShownNs::default(),
        }
    }

    /// Gives it another id.
    pub fn rename(&mut self, id: TaskId) {
        self.id = id;
        self.shown_ns = ShownNs::default();
    }

    /// The task that joins the writes of a step to a channel.
    pub fn reducing(id: TaskId, reduction: Reduction) -> Self {
        let name = Arc::from(format!("reduce:{}", reduction.channel));
        StepTask { reduces: Some(Box::new(reduction)), ..StepTask::new(id, name, TaskPath::Pull, [].into()) }
    }

    /// What a worker is asked for instead of a run of the node.
    pub fn work(&self) -> Option<Box<Work>> {
        let reduction = self.reduces.as_ref().map(|reduction| Work::Reduction(Reduction::clone(reduction)));
        let decision = || self.wrote.as_ref().map(|wrote| Work::Decision { writes: wrote.writes.clone() });
        reduction.or_else(decision).map(Box::new)
    }

    /// Pulled tasks by name, then pushed ones by index; who handles a failure stands where the failed task does.
    pub fn apply_order(&self) -> (u32, &str) {
        match self.path {
            TaskPath::Pull => (0, self.handles.as_ref().map_or(&*self.node, |handled| &handled.node)),
            TaskPath::Push { index, .. } => (index + 1, ""),
        }
    }

    pub fn finished(&self) -> Option<&Finished> {
        match &self.stand {
            Stand::Finished(finished) => Some(finished),
            Stand::Idle
            | Stand::Open
            | Stand::Delayed
            | Stand::Inside
            | Stand::Paused { .. }
            | Stand::Failed { .. }
            | Stand::Left { .. } => None,
        }
    }

    pub fn is_finished(&self) -> bool {
        self.finished().is_some()
    }

    /// Its failure is another task's matter now.
    pub fn is_handled(&self) -> bool {
        matches!(self.stand, Stand::Failed { handled: true, .. })
    }

    pub fn is_paused(&self) -> bool {
        matches!(self.stand, Stand::Paused { .. })
    }

    /// It asked, and its result counts as nothing until it is answered.
    pub fn has_asked(&self) -> bool {
        !self.is_finished() && !self.interrupts.is_empty()
    }

    /// A run has worked on it: what it left is needed by one that comes back, if only the number of the last issue.
    pub fn is_touched(&self) -> bool {
        self.issue > 0 || self.stand != Stand::Idle
    }

    pub fn is_hidden(&self) -> bool {
        &*self.node == START_NODE
    }

    /// Whether this very execution was the one that counted.
    pub fn counted(&self, result: &TaskResult) -> bool {
        let execution = match &self.stand {
            Stand::Finished(finished) => finished.execution,
            Stand::Failed { execution, .. } | Stand::Paused { execution, .. } | Stand::Left { execution } => *execution,
            Stand::Idle | Stand::Open | Stand::Delayed | Stand::Inside => return false,
        };
        self.issue == result.issue && execution == result.execution
    }

    /// No run works on it any more: what is stored of it stays.
    pub fn rest(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.stand = Stand::Finished(kept);
        }
        match self.stand {
            Stand::Open | Stand::Delayed | Stand::Inside | Stand::Left { .. } => {
                (self.stand, self.attempt) = (Stand::Idle, 0);
            }
            Stand::Failed { .. } | Stand::Paused { .. } => self.attempt = 0,
            Stand::Idle | Stand::Finished(_) => {}
        }
        self.given.clear();
        (self.held, self.wrote) = (None, None);
    }

    /// Forgets what is never stored.
    pub fn drop_untracked(&mut self, graph: &Graph) {
        if let TaskPath::Push { argument, .. } = &mut self.path {
            strip_untracked(graph, argument);
        }
        if let Stand::Finished(finished) = &mut self.stand {
            Arc::make_mut(finished).drop_untracked(graph);
        }
    }

    /// The name that streams and snapshots show.
    pub fn name(&self) -> Arc<str> {
        match &self.handles {
            Some(handled) => Arc::from([HANDLER, &handled.node].concat()),
            None => self.node.clone(),
        }
    }

    /// `<node>:<task id>`, behind the namespace of its graph: that of what runs inside.
    pub fn ns(&self, outer: &str) -> Arc<str> {
        let ns = self.shown_ns.0.get_or_init(|| Arc::from(self.ns_in(outer)));
        debug_assert_eq!(**ns, *self.ns_in(outer));
        ns.clone()
    }

    fn ns_in(&self, outer: &str) -> String {
        let (before, node) = match &self.handles {
            Some(handled) => (HANDLER, handled.node.as_str()),
            None => ("", &*self.node),
        };
        let bar = if outer.is_empty() { "" } else { "|" };
        let mut id = Uuid::encode_buffer();
        [outer, bar, before, node, ":", self.id.hyphenated().encode_lower(&mut id)].concat()
    }

    pub fn issued(&self, outer: &str) -> IssuedTask {
        IssuedTask {
            task_id: self.id,
            issue: self.issue,
            node: self.name(),
            ns: self.ns(outer),
            path: self.path.clone(),
            triggers: self.triggers.clone(),
            inner: None,
        }
    }

    /// The namespace of the subgraph that the node is: its own for each task, or one for the thread.
    pub fn inner_ns(&self, outer: &str, memory: Memory) -> String {
        match memory {
            Memory::Thread => joined(&without_tasks(outer), &self.node).into_owned(),
            Memory::None | Memory::Call => str::to_owned(&self.ns(outer)),
        }
    }
}

/// `a:1|b:2` as `a|b`.
fn without_tasks(ns: &str) -> String {
    let names = ns.split('|').map(|part| part.split_once(':').map_or(part, |(name, _)| name));
    names.collect::<Vec<_>>().join("|")
}
