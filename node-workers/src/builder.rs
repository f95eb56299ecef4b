//! A graph written in Rust: the graph file's own words, with closures for its nodes.
//!
//! ```
//! use node_workers::{GraphBuilder, NodeOutput, NodeRegistry};
//! use serde_json::json;
//!
//! let graph = GraphBuilder::new("greetings")
//!     .state(json!({"name": "string", "greetings": {"type": "array", "reducer": "append"}, "n": "integer"}))
//!     .node("greet", |input, _| {
//!         Box::pin(async move {
//!             let name = input.get("name").and_then(|name| name.as_str()).unwrap_or("you");
//!             Ok(NodeOutput::update(json!({"greetings": [format!("Hello, {name}!")]})))
//!         })
//!     })
//!     .settings("greet", json!({"retry": {"max_attempts": 2}, "timeout": "5s"}))
//!     .declared("count", json!({"kind": "transform", "update": {"n": "size(state.greetings)"}}))
//!     .edge("START -> greet")
//!     .edge(json!({"from": "greet", "when": [{"if": "state.name == ''", "to": "END"}, {"else": "count"}]}))
//!     .edge("count -> END")
//!     .build()?;
//! let nodes: NodeRegistry = graph.register(NodeRegistry::new());
//! assert_eq!((graph.spec.name.as_str(), nodes.names().collect::<Vec<_>>()), ("greetings", vec!["greetings.greet"]));
//! # Ok::<(), node_workers::InvalidGraph>(())
//! ```

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use graph::{
    file::{self, Diagnostic, Severity},
    spec::GraphSpec,
};
use serde_json::{Map, Value, json};

use crate::nodes::{Node, NodeContext, NodeInput, NodeOutput, NodeRegistry, Stop};

/// A graph being written. What is wrong with it is told by [`GraphBuilder::build`], as `graph check` tells it.
#[derive(Clone)]
pub struct GraphBuilder {
    name: String,
    /// The top level of the graph file that it stands for, but for its nodes and edges.
    fields: Map<String, Value>,
    nodes: Vec<Declared>,
    edges: Vec<Value>,
    /// Its reducers; its nodes are named when it is built.
    brought: NodeRegistry,
}

#[derive(Clone)]
struct Declared {
    name: String,
    settings: Map<String, Value>,
    runs: Runs,
}

/// What a node has beside its settings.
#[derive(Clone)]
enum Runs {
    Nothing,
    Node(Arc<dyn Node>),
    Graph(Box<GraphBuilder>),
}

/// A graph that is ready to be published, and what its nodes and reducers are.
#[derive(Clone)]
pub struct BuiltGraph {
    pub spec: GraphSpec,
    /// The graphs that stand in its nodes, innermost first.
    pub subgraphs: Vec<GraphSpec>,
    /// What will run, though perhaps not as meant.
    pub warnings: Vec<Diagnostic>,
    brought: NodeRegistry,
}

/// Everything that is wrong with a graph.
#[derive(Clone, thiserror::Error)]
#[error(
    "the graph {name} can't run:\n{}\nPlaces are those of the file that it stands for:\n{file}",
    listed(diagnostics)
)]
pub struct InvalidGraph {
    pub name: String,
    pub diagnostics: Vec<Diagnostic>,
    /// The graph file that it stands for.
    pub file: String,
}

/// As it is said to people: what `expect` and `main` print.
impl fmt::Debug for InvalidGraph {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, to)
    }
}

fn listed(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n")
}

impl GraphBuilder {
    pub fn new(name: impl Into<String>) -> Self {
        let (name, fields) = (name.into(), Map::new());
        GraphBuilder { name, fields, nodes: Vec::new(), edges: Vec::new(), brought: NodeRegistry::new() }
    }

    /// The channels, as the file's `state`.
    pub fn state(self, channels: Value) -> Self {
        self.with("state", channels)
    }

    /// A field of the file's top level: `description`, `input`, `output`, `context`, `models`, `serve`,
    /// `interrupt_before`, `interrupt_after`, `limits`.
    pub fn with(mut self, field: &str, value: Value) -> Self {
        self.fields.insert(field.to_owned(), value);
        self
    }

    /// A node that a closure runs. It is given the step's state or the argument of its Send, and may write, go, ask, fail
    /// and publish tokens like every other [`Node`].
    pub fn node<F>(self, name: &str, run: F) -> Self
    where
        F: for<'a> Fn(NodeInput<'a>, &'a NodeContext) -> BoxFuture<'a, Result<NodeOutput, Stop>>
            + Send
            + Sync
            + 'static,
    {
        self.node_type(name, Closure(run))
    }

    /// A node of a type of one's own.
    pub fn node_type(self, name: &str, node: impl Node) -> Self {
        self.declare(name, Map::new(), Runs::Node(Arc::new(node)))
    }

    /// A node as the file declares it, with its `kind`: `model`, `transform`, `http`, `human`, `rust`.
    pub fn declared(self, name: &str, node: Value) -> Self {
        self.declare(name, fields(node), Runs::Nothing)
    }

    /// A node that is a graph, of which only the name counts that it has here.
    pub fn subgraph(self, name: &str, inner: GraphBuilder) -> Self {
        self.declare(name, Map::new(), Runs::Graph(Box::new(inner)))
    }

    /// More fields of a node that was declared before: `retry`, `timeout`, `cache`, `defer`, `on_error`, `input`, `update`,
    /// `goto`, `destinations`, `metadata`, and `memory` of one that is a graph. For a name that no node has they are a node's own.
    pub fn settings(mut self, node: &str, settings: Value) -> Self {
        match self.nodes.iter_mut().find(|declared| declared.name == node) {
            Some(declared) => {
                declared.settings.extend(fields(settings));
                self
            }
            None => self.declared(node, settings),
        }
    }

    /// An edge in any form of the file: `"a -> b"`, `"a & b -> c"`, or an object with `when`, `every`, `send` or `decide`.
    pub fn edge(mut self, edge: impl Into<Value>) -> Self {
        self.edges.push(edge.into());
        self
    }

    /// A reducer for channels that say `reducer: {rust: NAME}`: see [`NodeRegistry::with_reducer`].
    pub fn reducer(
        mut self,
        name: &str,
        join: impl Fn(&Value, &Value) -> Result<Value, String> + Send + Sync + 'static,
    ) -> Self {
        self.brought = self.brought.with_reducer(name, join);
        self
    }

    /// Checks the graph.
    ///
    /// # Errors
    /// All that `graph check` finds wrong.
    pub fn build(self) -> Result<BuiltGraph, InvalidGraph> {
        let mut file = Map::from_iter([("version".to_owned(), json!(1)), ("name".to_owned(), json!(self.name))]);
        let (fields, brought) = self.file(&self.name);
        file.extend(fields);
        let file = format!("{:#}", Value::Object(file));
        let checked = file::read(&file, None);
        match checked.spec {
            Some(spec) => Ok(BuiltGraph { spec, subgraphs: checked.subgraphs, warnings: checked.diagnostics, brought }),
            None => {
                let errors = checked.diagnostics.into_iter().filter(|of| of.severity == Severity::Error);
                Err(InvalidGraph { name: self.name, diagnostics: errors.collect(), file })
            }
        }
    }

    fn declare(mut self, name: &str, settings: Map<String, Value>, runs: Runs) -> Self {
        self.nodes.retain(|declared| declared.name != name);
        self.nodes.push(Declared { name: name.to_owned(), settings, runs });
        self
    }

    /// The graph file that it stands for, and what no file can hold. Types of nodes are named by their graph and themselves.
    fn file(&self, name: &str) -> (Map<String, Value>, NodeRegistry) {
        let (mut nodes, mut brought) = (Map::new(), self.brought.clone());
        for Declared { name: node, settings, runs } in &self.nodes {
            let named = format!("{name}.{node}");
            let mut declared = match runs {
                Runs::Nothing => Map::new(),
                Runs::Node(run) => {
                    brought = brought.with_shared(named.clone(), Arc::clone(run));
                    fields(json!({"kind": "rust", "name": named}))
                }
                Runs::Graph(inner) => {
                    let (file, inside) = inner.file(&named);
                    brought = brought.and(inside);
                    fields(json!({"kind": "subgraph", "graph": file}))
                }
            };
            declared.extend(settings.clone());
            nodes.insert(node.clone(), Value::Object(declared));
        }
        let mut file = self.fields.clone();
        file.insert("nodes".to_owned(), Value::Object(nodes));
        file.insert("edges".to_owned(), Value::Array(self.edges.clone()));
        (file, brought)
    }
}

/// Of an object; what is none has none.
fn fields(object: Value) -> Map<String, Value> {
    match object {
        Value::Object(fields) => fields,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

impl BuiltGraph {
    /// Adds what its nodes and reducers are: in every process that runs them.
    pub fn register(&self, nodes: NodeRegistry) -> NodeRegistry {
        nodes.and(self.brought.clone())
    }
}

struct Closure<F>(F);

#[async_trait]
impl<F> Node for Closure<F>
where
    F: for<'a> Fn(NodeInput<'a>, &'a NodeContext) -> BoxFuture<'a, Result<NodeOutput, Stop>> + Send + Sync + 'static,
{
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, Stop> {
        (self.0)(input, context).await
    }
}
