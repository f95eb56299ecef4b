//! What a task's end needs of the domain: its conditional edges, and the stored form of messages.

use std::sync::Arc;

use graph::{
    spec::{EdgeSpec, GraphSpec},
    task::{Destination, Task, TaskError},
};
use serde_json::Value;

use crate::{compiled::Writes, failure};

pub struct Edges {
    /// Nodes with an edge that needs a decision.
    conditional: Vec<String>,
}

impl Edges {
    pub fn new(spec: GraphSpec) -> Result<Self, TaskError> {
        let conditional = spec.edges.iter().filter_map(|edge| match edge {
            EdgeSpec::Plain { .. } => None,
            EdgeSpec::When { from, .. }
            | EdgeSpec::Every { from, .. }
            | EdgeSpec::Send { from, .. }
            | EdgeSpec::Decide { from, .. } => Some(from.clone()),
        });
        Ok(Edges { conditional: conditional.collect() })
    }

    pub fn decide(&self, task: &Task, _: &Writes) -> Result<Vec<Destination>, TaskError> {
        if self.conditional.contains(&task.node) {
            return Err(failure::internal("conditional edges are not built yet"));
        }
        Ok(Vec::new())
    }
}

pub fn with_message_ids(_: &Task, _: &str, value: &Arc<Value>) -> Arc<Value> {
    Arc::clone(value)
}
