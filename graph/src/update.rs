//! What became of a run, in order and numbered: the facts that streams, reads and bills are made of.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    by_name::ChannelValues,
    envelope::Millis,
    event::TimeToLive,
    task::{BudgetExceeded, Call, Interrupt, LastToken, TaskError, TaskId, TaskPath, Usage},
    writes::NodeUpdate,
};

/// Everything that one record of `runs` caused in one run. Numbers start at 1 and have no holes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    /// None only for usage that arrived after its run had ended.
    pub number: Option<u64>,
    pub status: RunStatus,
    /// The time of the record that caused it, never below the thread's last.
    pub at: Millis,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub issued: Vec<IssuedTask>,
    pub happened: Vec<Happened>,
}

/// One set of words in API, store, metrics and CLI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Pending,
    Running,
    Success,
    Error,
    Timeout,
    Interrupted,
    Cancelled,
}

impl RunStatus {
    pub fn is_terminal(self) -> bool {
        match self {
            RunStatus::Pending | RunStatus::Running => false,
            RunStatus::Success
            | RunStatus::Error
            | RunStatus::Timeout
            | RunStatus::Interrupted
            | RunStatus::Cancelled => true,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            RunStatus::Pending => "pending",
            RunStatus::Running => "running",
            RunStatus::Success => "success",
            RunStatus::Error => "error",
            RunStatus::Timeout => "timeout",
            RunStatus::Interrupted => "interrupted",
            RunStatus::Cancelled => "cancelled",
        }
    }
}

/// A task that now runs or will, as streams and snapshots show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct IssuedTask {
    pub task_id: TaskId,
    pub issue: u32,
    pub node: Arc<str>,
    pub ns: Arc<str>,
    pub path: TaskPath,
    pub triggers: Arc<[Arc<str>]>,
    /// Where the subgraph keeps its checkpoints that the node is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inner: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Happened {
    /// The run is known and waits for its time, or for its turn on its thread.
    Queued(QueuedRun),
    /// The run began.
    Started(StartedRun),
    /// The run, or a subgraph in it, goes on from a checkpoint.
    Continued(Box<Continued>),
    TaskDone(Box<TaskDone>),
    /// A superstep (or the input, step -1) is done: its checkpoint.
    StepDone(Box<Checkpointed>),
    /// Calls of a result that was not applied: spent all the same.
    Spent {
        task_id: TaskId,
        node: String,
        calls: Vec<Call>,
    },
    /// A breakpoint or a question stopped the run; its end follows.
    Paused(Box<Paused>),
    /// What a run keeps that keeps only its last checkpoint: at its end, and where a subgraph of it ends.
    Kept(Box<Kept>),
    Ended(Box<Ended>),
    /// The state of a thread was edited, or the edit refused: the only update of its id ends with it.
    Edited(Box<Edited>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct QueuedRun {
    /// The run that it waits behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Uuid>,
    /// It was asked for with a delay: when it may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Millis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartedRun {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<Uuid>,
    /// When the request was appended.
    pub requested_at: Millis,
    /// Nothing of it shows in the thread before it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_last: bool,
    /// How long its thread lives after its last use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<TimeToLive>,
}

/// Where a run goes on, with what its command wrote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Continued {
    pub ns: String,
    pub checkpoint_id: Uuid,
    /// A stream's first `values`.
    pub values: ChannelValues,
    #[serde(default, skip_serializing_if = "ChannelValues::is_empty")]
    pub untracked: ChannelValues,
    /// A command's writes are stored with the checkpoint: its values are these from now on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub commanded: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<Uuid>,
    #[serde(default)]
    pub step: i64,
    #[serde(default)]
    pub source: String,
    /// Tasks of the step that it goes on with, in the order of snapshots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<IssuedTask>,
    /// See [`Checkpointed::parents`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<OuterCheckpoint>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// The last checkpoint of its own graph, or of a subgraph.
    Checkpoint(Checkpointed),
    /// It made none: what its command wrote is stored with the one that it went on from, whose values are these from now on.
    Command { checkpoint_id: Uuid, values: ChannelValues },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Paused {
    /// By `interrupt_before` or `interrupt_after`, and not by a question.
    pub breakpoint: bool,
    /// What the channels would hold with what finished tasks wrote; None where they wrote none of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<ChannelValues>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Edited {
    /// The checkpoint that the edit made; None where it was refused, or the thread deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// Nothing happened now: it was told before, and that went with the thread's history.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub again: bool,
    /// Nothing of the thread stays: all that was written of it before this update goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// The thread was copied to this one, with all that was written of it before this update. It is as it was itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_to: Option<String>,
    /// The thread's history is forgotten: of all that was written of it before this update, what runs did at these checkpoints
    /// stays. It stands as it stood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Vec<OuterCheckpoint>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskDone {
    pub task_id: TaskId,
    pub issue: u32,
    pub execution: Uuid,
    pub attempt: u32,
    pub node: Arc<str>,
    pub ns: Arc<str>,
    /// The node's writes by channel of the state; LangGraph's `updates` chunk. None where it wrote nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<NodeUpdate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupts: Vec<Interrupt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_token: Option<LastToken>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    /// Finished in an earlier run of the thread and not run again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub restored: bool,
    /// The task left its graph with a command to the outer one: it counts as not finished.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub to_parent: bool,
    /// The task asked what a waiting answer is for: it is issued again with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub answered: bool,
}

/// A checkpoint as clients see it; what the fold itself needs of it stays in its state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checkpointed {
    pub checkpoint_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<Uuid>,
    pub ns: String,
    pub step: i64,
    /// `input`, `loop`, `update` or `fork`.
    pub source: String,
    /// The available channels of the state.
    pub values: ChannelValues,
    /// Channels that are never stored: streams show them beside the values, history doesn't.
    #[serde(default, skip_serializing_if = "ChannelValues::is_empty")]
    pub untracked: ChannelValues,
    /// Tasks of the next step, in the order of snapshots: Sends first, then nodes as registered.
    pub next: Vec<IssuedTask>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    /// Whether this step wrote an output channel: LangGraph's `values` event.
    #[serde(default)]
    pub wrote: bool,
    /// Of a subgraph: where the outer graphs stood that it runs in, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<OuterCheckpoint>,
    /// Its subgraph remembers nothing: streams show it, no read does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsaved: bool,
    /// Its run keeps only the last one: no read shows it, unless it is [`Kept`] later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub passing: bool,
}

/// Where a graph stands: an outer one while a subgraph runs in it, or each of a thread's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OuterCheckpoint {
    pub ns: String,
    pub checkpoint_id: Uuid,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    pub status: RunStatus,
    /// The output channels; with an error, the state so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<ChannelValues>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupts: Vec<Interrupt>,
    /// Nodes that would run next if the thread went on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next: Vec<String>,
    /// The latest snapshot's values where they differ from the last checkpoint's: writes of finished siblings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<ChannelValues>,
    /// The same of subgraphs that rest unfinished, by namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inner: BTreeMap<String, ChannelValues>,
    pub usage: Usage,
    /// The run was undone: its checkpoints are none of the thread's, which stands where it stood before. `values`, `next`
    /// and `interrupts` are the thread's own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolled_back: bool,
}

/// Why a run did not succeed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunError {
    /// node_failed, recursion_limit, invalid_update, value_missing, cel_too_costly, run_timeout, internal.
    pub code: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// LangGraph's exception type, such as `GraphRecursionError`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(default)]
    pub retryable: bool,
    /// Of budget_exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Box<BudgetExceeded>>,
}
