//! What nodes are: each kind a struct that implements [`Node`], and the kinds that users add in Rust.

pub mod http;
pub mod model;
pub mod registry;
pub mod rust;
pub mod transform;

mod environment;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use graph::{
    envelope::Envelope,
    expression::Scope,
    task::{Destination, Task, TaskError},
};
use schemas::record::TaskRecord;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use traces::TraceContext;
use uuid::Uuid;

pub use environment::{Environment, resolve};
pub use registry::NodeRegistry;

use crate::{calls::CallRecorder, failure, tokens::TokenSink};

/// Something that a task runs.
///
/// It is called once for each attempt. Dropping the future aborts the attempt; a panic is a failed attempt.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, TaskError>;
}

/// What the node sees: the step's state, the argument of the Send that made its task, or what its `input` maps to.
#[derive(Clone, Copy, Debug)]
pub enum NodeInput<'a> {
    State(&'a BTreeMap<String, Arc<Value>>),
    Argument(&'a Value),
    Mapped(&'a Map<String, Value>),
}

impl NodeInput<'_> {
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            NodeInput::State(state) => state.get(name).map(|value| &**value),
            NodeInput::Argument(argument) => argument.get(name),
            NodeInput::Mapped(fields) => fields.get(name),
        }
    }

    /// A copy as one value.
    pub fn to_value(&self) -> Value {
        match self {
            NodeInput::State(state) => {
                state.iter().map(|(name, value)| (name.clone(), Value::clone(value))).collect::<Map<_, _>>().into()
            }
            NodeInput::Argument(argument) => (*argument).clone(),
            NodeInput::Mapped(fields) => Value::Object((*fields).clone()),
        }
    }
}

impl Serialize for NodeInput<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            NodeInput::State(state) => state.serialize(serializer),
            NodeInput::Argument(argument) => argument.serialize(serializer),
            NodeInput::Mapped(fields) => fields.serialize(serializer),
        }
    }
}

/// What a node gives back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeOutput {
    /// What is written where the graph has no `update` for the node: an object of channels, or null for nothing.
    pub update: Value,
    /// What the graph's `update` sees as `answer` and `out`; the update itself where None.
    pub answer: Option<Value>,
    /// Where the node says to go, beside its edges.
    pub goto: Vec<Destination>,
}

impl NodeOutput {
    pub fn update(update: Value) -> Self {
        NodeOutput { update, ..NodeOutput::default() }
    }
}

/// What a node may use besides its input.
pub struct NodeContext {
    pub(crate) record: Arc<TaskRecord>,
    pub(crate) execution: Uuid,
    pub(crate) attempt: u32,
    pub(crate) deadline: Instant,
    pub(crate) cancelled: CancellationToken,
    pub(crate) tokens: Arc<TokenSink>,
    pub(crate) calls: CallRecorder,
    /// What calls to others hang below.
    pub(crate) trace: Option<TraceContext>,
}

impl NodeContext {
    /// The run that the task belongs to: tenant, run, thread, metadata and more.
    pub fn envelope(&self) -> &Arc<Envelope> {
        &self.record.envelope
    }

    pub fn task(&self) -> &Task {
        &self.record.task
    }

    /// Drawn when a worker starts the task.
    pub fn execution(&self) -> Uuid {
        self.execution
    }

    /// From 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Names the task to the outside, the same for every attempt and copy of one issue.
    pub fn idempotency_key(&self) -> String {
        format!("{}.{}", self.record.task.id, self.record.task.issue)
    }

    /// When the attempt ends, whatever it does.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Cancelled when nobody wants the result: for work that the node has handed to somebody else.
    pub fn cancelled(&self) -> &CancellationToken {
        &self.cancelled
    }

    /// Where deltas go that a client may see before the answer.
    pub fn tokens(&self) -> &TokenSink {
        &self.tokens
    }

    /// Where calls to models are reported.
    pub fn calls(&self) -> &CallRecorder {
        &self.calls
    }

    /// The header `traceparent` for requests to others, by which they can go on with the run's trace.
    pub fn traceparent(&self) -> Option<String> {
        self.trace.map(|context| context.to_string())
    }

    /// The id of the `n`-th message that the task makes: the same whenever it is made again.
    pub fn message_id(&self, n: u32) -> String {
        let mut bytes = self.record.task.id.as_bytes().to_vec();
        bytes.extend_from_slice(&n.to_be_bytes());
        Uuid::from_u128(xxhash_rust::xxh3::xxh3_128(&bytes)).to_string()
    }
}

/// What expressions and templates of a node may name: with an `input`, its keys stand beside the state.
pub(crate) fn scope<'a>(task: &'a Task, input: NodeInput<'a>, items: &'a [(&'a str, &'a Value)]) -> Scope<'a> {
    let mut scope = Scope::new(&task.channels, &task.context);
    if let NodeInput::Argument(argument) = input {
        scope.argument = Some(argument);
    }
    scope.items = items;
    scope
}

/// The names that an `input` adds to a scope.
pub(crate) fn items<'a>(input: &NodeInput<'a>) -> Vec<(&'a str, &'a Value)> {
    match *input {
        NodeInput::Mapped(fields) => fields.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        NodeInput::State(_) | NodeInput::Argument(_) => Vec::new(),
    }
}

/// The writes of an update: its keys in order. Null writes nothing.
pub(crate) fn writes_of(update: Value) -> Result<Vec<(String, Arc<Value>)>, TaskError> {
    match update {
        Value::Null => Ok(Vec::new()),
        Value::Object(channels) => Ok(channels.into_iter().map(|(name, value)| (name, Arc::new(value))).collect()),
        other => Err(failure::invalid_update(format!("expected an object of channels, got {}", kind_of(&other)))),
    }
}

pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
