//! How a node ends: with an output, with questions, or with an error.

use graph::task::{Destination, Interrupt, TaskError};
use serde_json::{Map, Value};

/// What a node gives back: LangGraph's `Command`, flat.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeOutput {
    /// What is written where the graph has no `update` for the node: an object of channels, a list of such objects, or
    /// null for nothing.
    pub update: Value,
    /// What the graph's `update` sees as `answer` and `out`; the update itself where None.
    pub answer: Option<Value>,
    /// Where the node says to go, beside its edges.
    pub goto: Vec<Destination>,
    /// `update` and `goto` are for the graph that this one is a node of.
    pub to_parent: bool,
    /// For the node's decisions alone; never stored.
    pub extra: Option<Map<String, Value>>,
}

impl NodeOutput {
    pub fn update(update: Value) -> Self {
        NodeOutput { update, ..NodeOutput::default() }
    }

    /// An update, and where to go beside the node's edges.
    pub fn command(update: Value, goto: Vec<Destination>) -> Self {
        NodeOutput { update, goto, ..NodeOutput::default() }
    }

    /// For the outer graph: this one is given up, and what its other nodes wrote in this step is lost.
    pub fn to_parent(self) -> Self {
        NodeOutput { to_parent: true, ..self }
    }
}

/// How a node ends without an output.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// It asks people, and runs again from its top when they have answered.
    Asked(Vec<Interrupt>),
    Failed(TaskError),
}

impl From<TaskError> for Stop {
    fn from(error: TaskError) -> Self {
        Stop::Failed(error)
    }
}
