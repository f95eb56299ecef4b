//! A version of a graph made ready to run: expressions and templates compiled, nodes made, once for each version.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    branch::{self, Decisions},
    by_name::ChannelValues,
    expression::{Expression, Scope},
    graph::Graph,
    message,
    spec::{CacheKey, Cel, END, GraphSpec, HttpCall, NodeKind, NodeSpec, Reducer},
    task::{Destination, Reduction, Task, TaskError},
    writes::Writes,
};
use serde_json::{Map, Value};

use crate::{
    ModelRegistry, NodeRegistry, failure,
    nodes::{
        Node, NodeContext, NodeInput, NodeOutput,
        classify::Classify,
        http::{Http, service::Services},
        human::Human,
        items, kind_of,
        model::Model,
        rust::Rust,
        scope,
        transform::Transform,
        writes_of,
    },
};

/// What nodes are made from, besides the graph.
pub struct Parts {
    pub models: Arc<ModelRegistry>,
    pub nodes: NodeRegistry,
    pub services: Services,
}

pub struct CompiledGraph {
    nodes: BTreeMap<String, Result<CompiledNode, TaskError>>,
    graph: Graph,
    /// Channels whose writes are chat messages.
    messages: Vec<Arc<str>>,
}

pub struct CompiledNode {
    pub spec: NodeSpec,
    pub node: Box<dyn Node>,
    input: Option<Mapping>,
    update: Option<Mapping>,
    goto: Option<Expression>,
    cache_key: Option<Expression>,
}

/// What the node wrote, in whichever graph, and where it said to go.
pub struct Written {
    pub writes: Writes,
    pub goto: Vec<Destination>,
}

type Mapping = BTreeMap<String, Expression>;

impl CompiledGraph {
    /// A node that can't be made fails its own tasks only.
    pub fn new(spec: GraphSpec, parts: &Parts) -> Result<Self, TaskError> {
        let nodes = spec.nodes.iter().map(|node| (node.name.clone(), CompiledNode::new(node, &spec, parts))).collect();
        let messages = spec.channels.iter().filter(|(_, channel)| channel.reducer == Reducer::Messages);
        let messages = messages.map(|(name, _)| Arc::from(name.as_str())).collect();
        let graph =
            Graph::with_reducers(spec, parts.nodes.reducers()).map_err(|error| failure::internal(error.to_string()))?;
        Ok(CompiledGraph { graph, nodes, messages })
    }

    pub fn node(&self, name: &str) -> Result<&CompiledNode, TaskError> {
        match self.nodes.get(name) {
            Some(Ok(node)) => Ok(node),
            Some(Err(error)) => Err(error.clone()),
            None => Err(failure::internal(format!("this version of the graph has no node {name}"))),
        }
    }

    /// The node's conditional edges, which see the step's state and the task's own writes; None where it has none.
    pub fn decisions(
        &self,
        task: &Task,
        writes: &Writes,
        reduced: &ChannelValues,
    ) -> Result<Option<Decisions<'_>>, TaskError> {
        branch::decisions(&self.graph, &task.node, &task.channels, writes, reduced)
    }

    /// What programs have to join before they do.
    pub fn reductions(&self, task: &Task, writes: &Writes) -> Result<Vec<Reduction>, TaskError> {
        branch::reductions(&self.graph, &task.node, &task.channels, writes)
    }

    /// The program that joins a channel's writes.
    pub fn reducer(&self, channel: &str) -> Result<&HttpCall, TaskError> {
        match self.graph.spec().channels.get(channel).map(|channel| &channel.reducer) {
            Some(Reducer::Http(call)) => Ok(call),
            Some(_) | None => {
                Err(failure::internal(format!("this version of the graph has no program that reduces {channel}")))
            }
        }
    }

    pub fn hash(&self) -> &str {
        self.graph.hash()
    }

    /// The writes with every chat message in its stored form, ids given.
    pub fn with_message_ids(&self, task: &Task, writes: &mut Writes) {
        for (channel, value) in writes.iter_mut().filter(|(channel, _)| self.messages.contains(channel)) {
            *value = message::with_ids(value, task.id, channel);
        }
    }
}

impl CompiledNode {
    fn new(spec: &NodeSpec, graph: &GraphSpec, parts: &Parts) -> Result<Self, TaskError> {
        let node: Box<dyn Node> = match &spec.kind {
            NodeKind::Model(model) => {
                let is_looked_at = spec.update.is_some() || spec.goto.is_some();
                Box::new(Model::new(model, &graph.models, &parts.models, is_looked_at)?)
            }
            NodeKind::Classify(classify) => Box::new(Classify::new(classify, &parts.models)?),
            NodeKind::Transform => Box::new(Transform),
            NodeKind::Http(http) => Box::new(Http::new(http, parts.services.clone())),
            NodeKind::Rust(rust) => Box::new(Rust::new(rust, &parts.nodes)?),
            NodeKind::Human(human) => Box::new(Human::new(human)?),
            NodeKind::Subgraph(_) => {
                return Err(failure::internal(format!("the node {} is a graph, and no worker runs it", spec.name)));
            }
        };
        let cache_key = match spec.cache.as_ref().and_then(|cache| cache.key.as_ref()) {
            Some(CacheKey::Cel(text)) => Some(compile(text)?),
            Some(CacheKey::Http(_)) | None => None,
        };
        Ok(CompiledNode {
            node,
            input: spec.input.as_ref().map(mapping).transpose()?,
            update: spec.update.as_ref().map(mapping).transpose()?,
            goto: spec.goto.as_deref().map(compile).transpose()?,
            cache_key,
            spec: spec.clone(),
        })
    }

    /// What `input` maps to, where the node has one.
    pub fn mapped_input(
        &self,
        context: &NodeContext,
        whole: NodeInput<'_>,
    ) -> Result<Option<Map<String, Value>>, TaskError> {
        let Some(mapping) = &self.input else { return Ok(None) };
        let items = items(&whole, context);
        evaluate(mapping, &scope(context.task(), whole, &items)).map(Some)
    }

    /// What the node's cache knows the input by, where CEL says it.
    pub fn cache_key(&self, context: &NodeContext, input: NodeInput<'_>) -> Result<Option<Value>, TaskError> {
        let Some(expression) = &self.cache_key else { return Ok(None) };
        let items = items(&input, context);
        expression.evaluate(&scope(context.task(), input, &items)).map(Some)
    }

    /// What the node writes and where it says to go.
    pub fn written(
        &self,
        context: &NodeContext,
        input: NodeInput<'_>,
        output: NodeOutput,
    ) -> Result<Written, TaskError> {
        let NodeOutput { update, answer, mut goto, to_parent: _, extra: _ } = output;
        if self.update.is_none() && self.goto.is_none() {
            return Ok(Written { writes: writes_of(update)?, goto });
        }
        let items = items(&input, context);
        let mut scope = scope(context.task(), input, &items);
        let seen = answer.as_ref().unwrap_or(&update);
        (scope.answer, scope.out) = (Some(seen), Some(seen));
        if let Some(expression) = &self.goto {
            goto.extend(destinations(expression.evaluate(&scope)?)?);
        }
        let mapped = self.update.as_ref().map(|mapping| evaluate(mapping, &scope)).transpose()?;
        Ok(Written { writes: writes_of(mapped.map_or(update, Value::Object))?, goto })
    }
}

fn mapping(expressions: &BTreeMap<String, Cel>) -> Result<Mapping, TaskError> {
    expressions.iter().map(|(name, text)| Ok((name.clone(), compile(text)?))).collect()
}

fn compile(text: &str) -> Result<Expression, TaskError> {
    Expression::compile(text).map_err(|error| failure::node_failed(format!("`{text}` is no expression: {error}")))
}

fn evaluate(mapping: &Mapping, scope: &Scope<'_>) -> Result<Map<String, Value>, TaskError> {
    mapping.iter().map(|(name, expression)| Ok((name.clone(), expression.evaluate(scope)?))).collect()
}

/// A name, `{to, with}`, or a list of these.
fn destinations(value: Value) -> Result<Vec<Destination>, TaskError> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::String(name) if name == END => Ok(Vec::new()),
        Value::String(name) => Ok(vec![Destination::Node(name)]),
        Value::Array(list) => {
            list.into_iter().map(destinations).collect::<Result<Vec<_>, _>>().map(|nested| nested.concat())
        }
        Value::Object(mut send) => match send.remove("to") {
            Some(Value::String(node)) => {
                let argument = Arc::new(send.remove("with").unwrap_or_else(|| Value::Object(Map::new())));
                Ok(vec![Destination::Send { node, argument }])
            }
            Some(_) | None => Err(failure::node_failed("a send that `goto` gives needs `to`, the name of a node")),
        },
        other => Err(failure::node_failed(format!("`goto` must give names or sends, it gave {}", kind_of(&other)))),
    }
}
