//! The node types that a binary brings along, by name.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use graph::{reducers::Reducers, spec::RustNode, task::TaskError};
use serde_json::Value;

use super::{Node, NodeContext, NodeInput, NodeOutput, Stop};
use crate::failure;

type Make = dyn Fn(&Value) -> Result<Arc<dyn Node>, String> + Send + Sync;

/// Rust nodes by the `type` that graph files name.
#[derive(Clone, Default)]
pub struct NodeRegistry {
    types: BTreeMap<String, Arc<Make>>,
    reducers: Reducers,
}

impl NodeRegistry {
    pub fn new() -> Self {
        NodeRegistry::default()
    }

    /// A type whose nodes are made from their settings; made once for each version of a graph.
    pub fn with_type<N: Node>(
        mut self,
        name: impl Into<String>,
        make: impl Fn(&Value) -> Result<N, String> + Send + Sync + 'static,
    ) -> Self {
        let make = move |settings: &Value| make(settings).map(|node| Arc::new(node) as Arc<dyn Node>);
        self.types.insert(name.into(), Arc::new(make));
        self
    }

    /// A type without settings.
    pub fn with_node(self, name: impl Into<String>, node: impl Node) -> Self {
        self.with_shared(name, Arc::new(node))
    }

    pub(crate) fn with_shared(mut self, name: impl Into<String>, node: Arc<dyn Node>) -> Self {
        self.types.insert(name.into(), Arc::new(move |_: &Value| Ok(Arc::clone(&node))));
        self
    }

    /// A plain function of the node's input.
    pub fn with_function(
        self,
        name: impl Into<String>,
        function: impl Fn(Value) -> Result<Value, TaskError> + Send + Sync + 'static,
    ) -> Self {
        self.with_node(name, Function(function))
    }

    /// A reducer for channels that say `reducer: {rust: NAME}`: see [`Reducers::with`]. It joins in the fold, so
    /// orchestrators need it too.
    pub fn with_reducer(
        mut self,
        name: impl Into<String>,
        join: impl Fn(&Value, &Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.reducers = self.reducers.with(name, join);
        self
    }

    /// These and others; of two with one name the other's.
    pub fn and(mut self, others: NodeRegistry) -> Self {
        self.types.extend(others.types);
        self.reducers = self.reducers.and(others.reducers);
        self
    }

    pub fn reducers(&self) -> &Reducers {
        &self.reducers
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.types.keys().map(String::as_str)
    }

    pub(crate) fn make(&self, node: &RustNode) -> Result<Arc<dyn Node>, TaskError> {
        let RustNode { type_name, settings } = node;
        let make = self.types.get(type_name).ok_or_else(|| {
            failure::internal(format!(
                "this binary has no node type {type_name}: register it, or serve the node elsewhere"
            ))
        })?;
        make(settings).map_err(|why| failure::node_failed(format!("the settings of {type_name} don't fit: {why}")))
    }
}

struct Function<F>(F);

#[async_trait]
impl<F> Node for Function<F>
where
    F: Fn(Value) -> Result<Value, TaskError> + Send + Sync + 'static,
{
    async fn run(&self, input: NodeInput<'_>, _: &NodeContext) -> Result<NodeOutput, Stop> {
        Ok(NodeOutput::update((self.0)(input.to_value())?))
    }
}
