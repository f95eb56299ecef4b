//! A task: one execution of a node in one superstep, and what came of it.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    by_name::ChannelValues,
    envelope::{GraphRef, Millis},
    spec::START,
    writes::{self, Writes},
};

/// LangGraph's task id (see [`crate::ids::pull_task_id`]): the same on every replay.
pub type TaskId = Uuid;

/// What a node-worker is asked to do. Applied once is (`id`, `issue`): a resume issues the same id again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    pub id: TaskId,
    /// Raised by the fold whenever it wants the task done again; a result counts for the open issue only.
    pub issue: u32,
    /// Attempts that ended before this issue began (a retry whose delay outlasted the worker).
    #[serde(default)]
    pub attempt: u32,
    /// Issued by recovery: the worker may have seen it already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeat: bool,
    pub node: Arc<str>,
    /// The subgraph that declares the node; None where the run's own graph does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<GraphRef>,
    /// What is asked for instead of a run of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Box<Work>>,
    /// The failure that the node is to handle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles: Option<Box<Handled>>,
    /// The superstep being executed, and the last one that the recursion limit allows.
    pub step: i64,
    pub stop: i64,
    /// The run's own limit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recursion_limit: u32,
    pub checkpoint_id: Uuid,
    /// `<node>:<task id>`, joined by `|` from the outermost graph to this one.
    pub checkpoint_ns: Arc<str>,
    pub path: TaskPath,
    pub triggers: Arc<[Arc<str>]>,
    /// Answers to the node's questions, in the order of its `interrupt()` calls: the call after the last one asks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Arc<Value>>,
    /// The channels that the node, its conditions and the reducers of its writes read; an unset one is absent.
    pub channels: ChannelValues,
    /// The run's read-only context.
    #[serde(default, skip_serializing_if = "is_null")]
    pub context: Arc<Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurable: BTreeMap<String, Value>,
    /// How old the thread was when this was issued. 0 for a run without one, and for threads of before this was known.
    #[serde(default, skip_serializing_if = "is_no_time")]
    pub thread_age_ms: u64,
    /// The request's `config.model`: temperature, top_p, max_tokens within what the graph allows.
    #[serde(default, skip_serializing_if = "is_null")]
    pub model_config: Arc<Value>,
}

impl Task {
    /// Whose topic it goes to: its node's, or START's where no node runs.
    pub fn place_of_work(&self) -> &str {
        if self.work.is_some() { START } else { &self.node }
    }
}

fn is_no_time(millis: &u64) -> bool {
    *millis == 0
}

fn is_null(value: &Arc<Value>) -> bool {
    value.is_null()
}

/// A task of the engine's own, for which no node runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Only decides the conditional edges: of START, and of a node that is a graph. These are what it wrote.
    Decision { writes: Arc<Writes> },
    /// Joins the writes of a step to a channel, by a reducer that a service has.
    Reduction(Reduction),
}

/// Writes of a step to a channel that holds a value, none of them an overwrite. The result writes the joined value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reduction {
    pub channel: String,
    /// What the channel holds.
    pub value: Arc<Value>,
    /// In the order in which they count.
    pub values: Vec<Arc<Value>>,
}

/// A task that failed, for the node that its `on_error` names: that one is given the failed task's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Handled {
    pub task_id: TaskId,
    pub node: String,
    pub error: TaskError,
}

/// Pulled by its triggers, or pushed by a Send with an argument of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskPath {
    Pull,
    Push { index: u32, argument: Arc<Value> },
}

/// What a worker reports of one issue of a task. Several may arrive; the first of the open issue is applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskResult {
    pub task_id: TaskId,
    pub issue: u32,
    /// Drawn when a worker starts the task: tells two executions of one issue apart.
    pub execution: Uuid,
    /// The attempt that ended the task, from 1.
    pub attempt: u32,
    pub node: Arc<str>,
    /// Channel and value in the order written; `{"__overwrite__": v}` bypasses the reducer.
    #[serde(default, skip_serializing_if = "writes::nothing")]
    pub writes: Arc<Writes>,
    /// Where the node itself said to go (LangGraph's `Command(goto=…)`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goto: Vec<Destination>,
    /// What the node's conditional edges decided, in the order of the graph's edges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<Destination>,
    /// A condition failed after the node had written: the writes are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_error: Option<TaskError>,
    /// LangGraph's `Command(graph=Command.PARENT)`: the subgraph ends here, and its node in the outer graph writes and
    /// goes as this says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ParentCommand>,
    /// How many of the task's answers the node's `interrupt()` calls took up.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub answered: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupts: Vec<Interrupt>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// Every outside call that this execution made, also in attempts that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_token: Option<LastToken>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ParentCommand {
    #[serde(default, skip_serializing_if = "writes::nothing")]
    pub writes: Arc<Writes>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goto: Vec<Destination>,
}

/// One place that a branch, a goto or a Send leads to. `END` is no destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    Node(String),
    Send { node: String, argument: Arc<Value> },
}

/// A question that a node asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Interrupt {
    pub id: String,
    pub value: Arc<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Arc<Value>>,
}

/// Why a task failed, in a form that decides what follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskError {
    /// A code of the closed set of API.md (`node_failed`, `invalid_update`, `value_missing`, `cel_too_costly`, …).
    pub class: String,
    pub message: String,
    /// The type that the node's own program gave, such as `ValueError`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Whether the same task may succeed later, and not before when.
    #[serde(default)]
    pub retryable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Of `budget_exceeded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Box<BudgetExceeded>>,
}

/// The budget that had no room for a call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BudgetExceeded {
    /// request, run, user_day, key, tenant_day, tenant_month or global_day.
    pub scope: String,
    /// What the amounts are of: tokens or nano_usd.
    pub unit: String,
    pub limit: u64,
    pub spent: u64,
    /// Set aside for calls under way.
    #[serde(default)]
    pub reserved: u64,
    /// What the call may take at most.
    pub wanted: u64,
    /// When the budget begins anew; None where it never does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets_at: Option<Millis>,
}

/// One call to a model. Its id is derived, so that spend is counted once however often it is reported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Call {
    pub id: CallId,
    pub provider: String,
    pub model: String,
    pub started_at: Millis,
    pub duration_ms: u64,
    /// `ok` or a code of the closed set.
    pub outcome: String,
    pub usage: Usage,
    /// Where the figures come from: a provider that reports nothing is never taken for zero.
    pub usage_source: UsageSource,
    /// What was asked and answered, bounded by the worker; for `millstream runs show`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Arc<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Arc<Value>>,
}

/// (task, issue, execution, n): the n-th call of an execution, from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct CallId {
    pub task_id: TaskId,
    pub issue: u32,
    pub execution: Uuid,
    pub n: u32,
}

impl std::fmt::Display for CallId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}.{}", self.task_id, self.issue, self.execution, self.n)
    }
}

/// Tokens and cost of one call, or of many added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    #[serde(default)]
    pub input_tokens: u64,
    #[serde(default)]
    pub output_tokens: u64,
    /// Of the input: read from the provider's cache.
    #[serde(default)]
    pub cached_tokens: u64,
    /// Of the input: written to the provider's cache. Left out where it is zero, as records from before leave it out.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub cache_write_tokens: u64,
    /// Of the output.
    #[serde(default)]
    pub reasoning_tokens: u64,
    /// What calls cost whose price is known, each rounded up, in billionths of a dollar.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub cost_nano_usd: u64,
    /// Calls whose price is not known: what they cost is not in the sum.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub calls_unpriced: u64,
}

fn is_nothing(count: &u64) -> bool {
    *count == 0
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        let Usage {
            input_tokens,
            output_tokens,
            cached_tokens,
            cache_write_tokens,
            reasoning_tokens,
            cost_nano_usd,
            calls_unpriced,
        } = other;
        self.input_tokens += input_tokens;
        self.output_tokens += output_tokens;
        self.cached_tokens += cached_tokens;
        self.cache_write_tokens += cache_write_tokens;
        self.reasoning_tokens += reasoning_tokens;
        self.cost_nano_usd = self.cost_nano_usd.saturating_add(cost_nano_usd);
        self.calls_unpriced += calls_unpriced;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    Reported,
    Estimated,
    Missing,
}

/// The last token that a result's execution put out: `node_finished` waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastToken {
    pub execution: Uuid,
    pub attempt: u32,
    pub n: u64,
}
