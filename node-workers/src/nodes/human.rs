//! `human`: asks a person, waits as long as it takes, and hands the answer to the node's `update` and `goto`.

use std::sync::Arc;

use async_trait::async_trait;
use graph::{spec::HumanNode, task::TaskError, template::Template};
use serde_json::Value;

use super::{Node, NodeContext, NodeInput, NodeOutput, Stop, items, scope};
use crate::failure;

pub struct Human {
    question: Template,
    answer: Option<Arc<Value>>,
}

impl Human {
    pub fn new(spec: &HumanNode) -> Result<Self, TaskError> {
        let question = Template::compile(&spec.question)
            .map_err(|error| failure::node_failed(format!("the question is no template: {error}")))?;
        let fits = spec.answer.as_ref().map(jsonschema::validator_for).transpose();
        fits.map_err(|error| failure::node_failed(format!("`answer` is no JSON Schema: {error}")))?;
        Ok(Human { question, answer: spec.answer.clone().map(Arc::new) })
    }
}

#[async_trait]
impl Node for Human {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        let items = items(&input, context);
        let question = self.question.render(&scope(context.task(), input, &items))?;
        let answer = context.interrupt_for(question.into(), self.answer.clone())?;
        Ok(NodeOutput { answer: Some(Value::clone(&answer)), ..NodeOutput::default() })
    }
}
