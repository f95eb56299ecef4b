//! `rust`: a registered type.

use std::sync::Arc;

use async_trait::async_trait;
use graph::{spec::RustNode, task::TaskError};

use super::{Node, NodeContext, NodeInput, NodeOutput, NodeRegistry, Stop};

pub struct Rust(Arc<dyn Node>);

impl Rust {
    pub fn new(spec: &RustNode, registry: &NodeRegistry) -> Result<Self, TaskError> {
        Ok(Rust(registry.make(spec)?))
    }
}

#[async_trait]
impl Node for Rust {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        self.0.run(input, context).await
    }
}
