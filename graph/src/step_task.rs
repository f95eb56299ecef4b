//! A task of the current superstep, as the thread remembers it until the step is applied.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    channel::Kind,
    checkpoint::strip_untracked,
    graph::{Graph, START_NODE},
    task::{Destination, TaskError, TaskId, TaskPath, TaskResult},
    update::IssuedTask,
};

/// The tasks of one superstep by id.
pub(crate) type StepTasks = BTreeMap<TaskId, StepTask>;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StepTask {
    pub id: TaskId,
    pub node: Arc<str>,
    pub path: TaskPath,
    pub triggers: Arc<[Arc<str>]>,
    /// 0 until it is first issued.
    pub issue: u32,
    /// Attempts that ended before the open issue.
    pub attempt: u32,
    pub stand: Stand,
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
    Finished(Arc<Finished>),
    Failed {
        execution: Uuid,
        error: TaskError,
    },
}

/// What a finished task wrote: kept until its step is applied, by a later run too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub execution: Uuid,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<(String, Arc<Value>)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goto: Vec<Destination>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Destination>,
    /// A condition failed after the node had written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_error: Option<TaskError>,
}

impl StepTask {
    /// Pulled tasks by name, then pushed ones by index.
    pub fn apply_order(&self) -> (u32, &str) {
        match self.path {
            TaskPath::Pull => (0, &self.node),
            TaskPath::Push { index, .. } => (index + 1, ""),
        }
    }

    pub fn finished(&self) -> Option<&Finished> {
        match &self.stand {
            Stand::Finished(finished) => Some(finished),
            Stand::Idle | Stand::Open | Stand::Delayed | Stand::Failed { .. } => None,
        }
    }

    pub fn is_hidden(&self) -> bool {
        &*self.node == START_NODE
    }

    /// Whether this very execution was the one that counted.
    pub fn counted(&self, result: &TaskResult) -> bool {
        let execution = match &self.stand {
            Stand::Finished(finished) => finished.execution,
            Stand::Failed { execution, .. } => *execution,
            Stand::Idle | Stand::Open | Stand::Delayed => return false,
        };
        self.issue == result.issue && execution == result.execution
    }

    /// Forgets what is never stored.
    pub fn drop_untracked(&mut self, graph: &Graph) {
        if let TaskPath::Push { argument, .. } = &mut self.path {
            strip_untracked(graph, argument);
        }
        let untracked = |name: &str| graph.channels.get(name).is_some_and(|def| def.kind == Kind::Untracked);
        let sent = |to: &mut Destination| match to {
            Destination::Send { argument, .. } => strip_untracked(graph, argument),
            Destination::Node(_) => {}
        };
        if let Stand::Finished(finished) = &mut self.stand {
            let finished = Arc::make_mut(finished);
            finished.writes.retain(|(name, _)| !untracked(name));
            finished.goto.iter_mut().chain(&mut finished.branches).for_each(sent);
        }
    }

    /// `<node>:<task id>`: the namespace of what runs inside.
    pub fn ns(&self) -> String {
        format!("{}:{}", self.node, self.id)
    }

    pub fn issued(&self) -> IssuedTask {
        IssuedTask {
            task_id: self.id,
            issue: self.issue,
            node: self.node.to_string(),
            ns: self.ns(),
            path: self.path.clone(),
            triggers: self.triggers.iter().map(|trigger| trigger.to_string()).collect(),
        }
    }
}
