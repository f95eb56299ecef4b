//! What nodes are: each kind a struct that implements [`Node`], and the kinds that users add in Rust.

pub mod context;
pub mod output;

pub mod classify;
pub mod http;
pub mod human;
pub mod model;
pub mod registry;
pub mod rust;
pub mod transform;

mod environment;

use std::sync::Arc;

use async_trait::async_trait;
use graph::{
    by_name::ChannelValues,
    expression::Scope,
    task::{Task, TaskError},
    writes::Writes,
};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

pub use context::NodeContext;
pub use environment::{Environment, resolve};
pub use output::{NodeOutput, Stop};
pub use registry::NodeRegistry;

use crate::failure;

/// Something that a task runs.
///
/// It is called once for each attempt. Dropping the future aborts the attempt; a panic is a failed attempt.
#[async_trait]
pub trait Node: Send + Sync + 'static {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop>;
}

/// What the node sees: the step's state, the argument of the Send that made its task, or what its `input` maps to.
#[derive(Clone, Copy, Debug)]
pub enum NodeInput<'a> {
    State(&'a ChannelValues),
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
            NodeInput::State(state) => state
                .iter()
                .map(|(name, value)| (str::to_owned(name), Value::clone(value)))
                .collect::<Map<_, _>>()
                .into(),
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

/// What expressions and templates of a node may name: with an `input`, its keys stand beside the state.
pub(crate) fn scope<'a>(task: &'a Task, input: NodeInput<'a>, items: &'a [(&'a str, &'a Value)]) -> Scope<'a> {
    let mut scope = Scope::new(&task.channels, &task.context);
    if let NodeInput::Argument(argument) = input {
        scope.argument = Some(argument);
    }
    scope.items = items;
    scope
}

/// The names that an `input` adds to a scope, and the failure that the node handles.
pub(crate) fn items<'a>(input: &NodeInput<'a>, context: &'a NodeContext) -> Vec<(&'a str, &'a Value)> {
    let mut items: Vec<(&str, &Value)> = match *input {
        NodeInput::Mapped(fields) => fields.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        NodeInput::State(_) | NodeInput::Argument(_) => Vec::new(),
    };
    items.extend(context.failure.as_deref().map(|failure| ("failure", failure)));
    items
}

/// The writes of an update: its keys in order. Null writes nothing; a list of objects may write a channel more than
/// once.
pub(crate) fn writes_of(update: Value) -> Result<Writes, TaskError> {
    match update {
        Value::Null => Ok(Vec::new()),
        Value::Object(channels) => {
            Ok(channels.into_iter().map(|(name, value)| (Arc::from(name), Arc::new(value))).collect())
        }
        Value::Array(updates) if updates.iter().all(Value::is_object) => {
            updates.into_iter().map(writes_of).collect::<Result<Vec<_>, _>>().map(|writes| writes.concat())
        }
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
