//! What may change a run: the records of `runs`, as the fold sees them.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    envelope::Millis,
    task::{TaskId, TaskResult},
};

/// One thing that happened to a key. Its envelope travels beside it in the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// A client asked for a run: new input, a command (resume, update, goto), or neither (continue).
    Requested(Box<Request>),
    /// A worker finished, or finally failed, one issue of a task.
    TaskFinished(Box<TaskResult>),
    /// A worker that lost its partition goes on with a call and will report by `until`.
    TaskKept { task_id: TaskId, issue: u32, until: Millis },
    /// A worker will not finish the task: issue it again, not before `not_before`.
    TaskGivenBack {
        task_id: TaskId,
        issue: u32,
        /// Attempts made so far under the node's retry policy.
        attempt: u32,
        not_before: Millis,
        /// Calls made by the attempts that are given up.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<crate::task::Call>,
    },
    /// A client edited the state of a thread. The envelope's run id names the edit: it is no run.
    StateEdited(Box<Edit>),
    /// A client asked that the run end.
    Cancelled {
        reason: String,
        /// As if the run had never been: its thread goes back to where it stood before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        rollback: bool,
    },
    /// A client deleted the thread: its runs end, and nothing of it stays. The envelope's run id names the delete.
    ThreadDeleted,
    /// A client had the thread's history forgotten: it stands where it stands, and what it was before is gone. The envelope's
    /// run id names the pruning.
    ThreadPruned,
    /// A client copied the thread; the copy's id is `to`, in the same partition. The envelope's run id names the copying.
    ThreadCopied { to: String },
    /// The thread begins as a copy: what `thread_copied` of another caused, put out by the owner of both.
    CopyBegun(Box<Copied>),
    /// A client said how long the thread lives after its last use. The envelope's run id names the saying: it is no run.
    ThreadTimed(TimeToLive),
    /// A timer of the run's state fell due. Its generation tells a timer that was set anew.
    TimerDue { timer: Timer },
    /// The fold could not digest a record of this run: the run ends as `error`, `internal`.
    RunFailed { message: String },
}

/// The body of `thread_timed`: LangGraph's `ttl` of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimeToLive {
    /// After the last use.
    pub ms: Millis,
    #[serde(default)]
    pub strategy: TtlStrategy,
}

impl TimeToLive {
    /// A hundred years.
    pub const MINUTES_MAX: f64 = 52_596_000.0;
    const MINUTE_MS: f64 = 60_000.0;

    /// LangGraph counts in minutes. None where nothing lives so long, or at all.
    pub fn of_minutes(minutes: f64, strategy: TtlStrategy) -> Option<Self> {
        let ms = (minutes * Self::MINUTE_MS).ceil() as Millis;
        (minutes > 0.0 && minutes <= Self::MINUTES_MAX).then_some(TimeToLive { ms, strategy })
    }

    pub fn minutes(&self) -> f64 {
        self.ms as f64 / Self::MINUTE_MS
    }
}

/// What becomes of a thread whose time is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TtlStrategy {
    /// As if a client had deleted it.
    #[default]
    Delete,
    /// As if a client had pruned it. Its time counts anew from its next use on.
    KeepLatest,
}

/// The body of `requested`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Request {
    /// New input, by channel; None with a command or to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Arc<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandInput>,
    /// Start from this checkpoint and not from the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "is_null")]
    pub context: Arc<Value>,
    #[serde(default)]
    pub config: RunConfig,
    /// What becomes of this run when the thread is busy.
    #[serde(default)]
    pub multitask: Multitask,
    /// The run begins so much later than it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<Millis>,
    /// Only its last checkpoint stays, once it has ended: LangGraph's `durability: exit`. The log has all of it nonetheless.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_last: bool,
    /// How long the thread lives after its last use, where nobody has said so before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<TimeToLive>,
    /// The thread was made by this request: no state needs to be looked up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new_thread: bool,
    /// The run id was claimed by an idempotency key: the end of the run must stay known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claimed: bool,
    /// May not be the first record of this run: look before starting it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeat: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_before: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_after: Vec<String>,
    /// A value of the request is not in the store, and why: the run ends before it begins. Never in the log: whoever
    /// reads the record finds out.
    #[serde(skip)]
    pub missing: Option<String>,
}

fn is_null(value: &Arc<Value>) -> bool {
    value.is_null()
}

/// The body of `state edited`: LangGraph's `update_state`, or `bulk_update_state` with several supersteps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Edit {
    /// The checkpoint that the first superstep is applied to; the newest where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<Uuid>,
    /// The namespace of the subgraph that is edited; empty for the thread's own graph.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub checkpoint_ns: String,
    /// Each makes a checkpoint; the updates of one are applied together.
    pub supersteps: Vec<Vec<StateUpdate>>,
    /// The edit's id was claimed by an idempotency key: a repeat of it edits nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub claimed: bool,
    /// As a request's.
    #[serde(skip)]
    pub missing: Option<String>,
}

/// The body of `copy begun`: where the copied thread stood. Whatever becomes of that one later, this stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Copied {
    /// The thread that was copied.
    pub from: String,
    /// The fold's own state of it, which nobody else reads.
    pub thread_state: Arc<Value>,
    /// As a request's.
    #[serde(skip)]
    pub missing: Option<String>,
}

/// Values written as if a node had written them: its edges and conditions decide what is next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateUpdate {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Arc<Value>>,
    /// A node's name, `__input__`, `__copy__` or `__end__`; the node that ran last where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_node: Option<String>,
}

/// LangGraph's `Command` as input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandInput {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// One answer: to the only question that is open, or to the first that a node asks without an answer of its own.
    pub resume: Option<Arc<Value>>,
    /// Answers by interrupt id; ids that nobody asked under are passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<BTreeMap<String, Arc<Value>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Arc<Value>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goto: Vec<crate::task::Destination>,
}

/// The part of a request's `config` that the fold and the workers read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunConfig {
    /// Supersteps; the graph's own limit where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursion_limit: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurable: BTreeMap<String, Value>,
    /// temperature, top_p, max_tokens.
    #[serde(default, skip_serializing_if = "is_null")]
    pub model: Arc<Value>,
}

/// LangGraph's `multitask_strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Multitask {
    #[default]
    Enqueue,
    Reject,
    // The thread's runs end as interrupted, and this one begins on what they left.
    Interrupt,
    // The thread's runs are undone, and this one begins where they began.
    Rollback,
}

/// Names one timer of a key's state; it is armed while the state holds it with the same generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Timer {
    pub run_id: Uuid,
    pub kind: TimerKind,
    pub generation: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// The run's own deadline.
    Deadline,
    /// A kept task that never reported is issued anew.
    Kept(TaskId),
    /// A task that was given back is issued anew.
    Retry(TaskId),
    /// A node that is a graph takes longer than it may.
    Timeout(TaskId),
    /// The run was asked for with a delay, and may begin now.
    Begin,
    /// The thread's time may be over. The timer's run is the record that said how long it lives.
    Expire,
}
