//! `transform`: all it does stands in the node's `update`.

use async_trait::async_trait;

use super::{Node, NodeContext, NodeInput, NodeOutput, Stop};

pub struct Transform;

#[async_trait]
impl Node for Transform {
    async fn run(&self, _: NodeInput<'_>, _: &NodeContext) -> Result<NodeOutput, Stop> {
        Ok(NodeOutput::default())
    }
}
