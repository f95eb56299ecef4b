//! The graph as a value: what a graph file says once it is read and found good. Its canonical JSON gives its hash.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A CEL expression, checked when the file was read.
pub type Cel = String;
/// A Jinja template, checked when the file was read.
pub type Jinja = String;
/// A JSON Schema.
pub type Schema = Value;

pub const START: &str = "START";
pub const END: &str = "END";

/// One version of a graph. Nodes keep the order of the file: snapshots list tasks in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GraphSpec {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub channels: BTreeMap<String, ChannelSpec>,
    /// Channels that a request may write; all where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Vec<String>>,
    /// Channels that a run answers with; all where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Vec<String>>,
    /// Per-run and read-only: property to schema.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, Schema>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelAlias>,
    pub nodes: Vec<NodeSpec>,
    pub edges: Vec<EdgeSpec>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<Serve>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_before: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_after: Vec<String>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "OnDisconnect::is_continue")]
    pub on_disconnect: OnDisconnect,
}

impl GraphSpec {
    pub fn node(&self, name: &str) -> Option<&NodeSpec> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// Whose tasks come to workers, by the names of their topics: nodes that are no graphs, and START for what the engine
    /// itself asks programs.
    pub fn places_of_work(&self) -> impl Iterator<Item = &str> {
        let nodes = self.nodes.iter().filter(|node| !matches!(node.kind, NodeKind::Subgraph(_)));
        nodes.map(|node| node.name.as_str()).chain(self.asks_programs().then_some(START))
    }

    /// The graphs that its nodes are.
    pub fn subgraphs(&self) -> impl Iterator<Item = &SubgraphNode> {
        self.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Subgraph(subgraph) => Some(subgraph),
            NodeKind::Model(_)
            | NodeKind::Classify(_)
            | NodeKind::Transform
            | NodeKind::Http(_)
            | NodeKind::Rust(_)
            | NodeKind::Human(_) => None,
        })
    }

    /// The aliases of models that its nodes and routes name.
    pub fn aliases(&self) -> impl Iterator<Item = &str> {
        let routes = self.models.values().flat_map(|model| &model.route).flat_map(|step| match step {
            RouteStep::Model { alias, .. } => step.tiers().into_iter().chain([alias.as_str()]).collect::<Vec<_>>(),
            RouteStep::If { .. } | RouteStep::Classifier { .. } | RouteStep::Else { .. } => step.tiers(),
        });
        let nodes = self.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Model(model) => Some(model.model.as_str()),
            NodeKind::Classify(_)
            | NodeKind::Transform
            | NodeKind::Http(_)
            | NodeKind::Rust(_)
            | NodeKind::Human(_)
            | NodeKind::Subgraph(_) => None,
        });
        nodes.chain(routes)
    }

    /// The classifiers that its nodes and routes name.
    pub fn classifiers(&self) -> impl Iterator<Item = &str> {
        let routes = self.models.values().flat_map(|model| &model.route).filter_map(|step| match step {
            RouteStep::Classifier { name, .. } => Some(name.as_str()),
            RouteStep::If { .. } | RouteStep::Model { .. } | RouteStep::Else { .. } => None,
        });
        let nodes = self.nodes.iter().filter_map(|node| match &node.kind {
            NodeKind::Classify(classify) => classify.classifier.as_deref(),
            NodeKind::Model(_)
            | NodeKind::Transform
            | NodeKind::Http(_)
            | NodeKind::Rust(_)
            | NodeKind::Human(_)
            | NodeKind::Subgraph(_) => None,
        });
        nodes.chain(routes)
    }

    /// Whether a program joins the writes of a channel, or decides where to go: after something that no worker runs, or
    /// after an edit as any node.
    fn asks_programs(&self) -> bool {
        self.channels.values().any(|channel| matches!(channel.reducer, Reducer::Http(_)))
            || self.edges.iter().any(|edge| matches!(edge, EdgeSpec::Decide { .. }))
    }

    pub fn output_channels(&self) -> Vec<&str> {
        match &self.output {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => self.channels.keys().map(String::as_str).collect(),
        }
    }

    pub fn input_channels(&self) -> Vec<&str> {
        match &self.input {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => self.channels.keys().map(String::as_str).collect(),
        }
    }

    /// The graph's canonical JSON: what is stored by hash and what a restart reads back.
    pub fn canonical(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a spec holds only JSON values")
    }

    /// blake3 of the canonical JSON, as 32 hex digits.
    pub fn hash(&self) -> String {
        blake3::hash(&self.canonical()).to_hex()[..32].to_owned()
    }
}

/// A channel of the state: the type of its values and how writes of one superstep are joined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChannelSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Schema>,
    #[serde(default)]
    pub reducer: Reducer,
    /// The value before any write; without it a reducer channel starts at its type's empty value, a `last` one unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// LangGraph's channels and the reducers that ship with Millstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reducer {
    #[default]
    Last,
    Any,
    Ephemeral,
    Untracked,
    Append,
    Sum,
    Max,
    Min,
    Merge,
    Messages,
    Topic,
    Cel(Cel),
    Rust(String),
    /// A program of the user's own joins the writes.
    Http(HttpCall),
}

/// A request to a program of the user's own. `${env.X}` in it is resolved by the worker that makes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HttpCall {
    pub url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelAlias {
    /// `<provider>/<model>`; empty where `route` says who is asked.
    #[serde(default, rename = "use", skip_serializing_if = "String::is_empty")]
    pub target: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<String>,
    /// Other aliases, one of which each call asks: the first step that says one counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<RouteStep>,
}

/// What may say which alias a call asks. A step that can't say leaves it to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteStep {
    If {
        condition: Cel,
        to: String,
    },
    Classifier {
        name: String,
        /// One that is less sure than this is not believed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_score: Option<f64>,
        /// By label.
        to: BTreeMap<String, String>,
    },
    /// A model is asked for a label.
    Model {
        alias: String,
        to: BTreeMap<String, String>,
    },
    Else {
        to: String,
    },
}

impl RouteStep {
    /// The aliases that it may lead to.
    pub fn tiers(&self) -> Vec<&str> {
        match self {
            RouteStep::If { to, .. } | RouteStep::Else { to } => vec![to],
            RouteStep::Classifier { to, .. } | RouteStep::Model { to, .. } => to.values().map(String::as_str).collect(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeSpec {
    pub name: String,
    #[serde(flatten)]
    pub kind: NodeKind,
    /// CEL by key: what the node sees instead of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<BTreeMap<String, Cel>>,
    /// CEL by channel over `answer` or `out`: what the node writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<BTreeMap<String, Cel>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The end of an attempt that shows nothing for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<CachePolicy>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub defer: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goto: Option<Cel>,
    /// Where the node's own program may say to go: what `graph check` and `graph show` know of it. None: nowhere that
    /// the file tells.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    /// Tasks of this node that one worker runs at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NodeKind {
    Model(ModelNode),
    Classify(ClassifyNode),
    /// CEL map to an update; all it does stands in `update`.
    Transform,
    Http(HttpNode),
    Rust(RustNode),
    Human(HumanNode),
    Subgraph(SubgraphNode),
}

impl NodeKind {
    pub fn as_str(&self) -> &'static str {
        match self {
            NodeKind::Model(_) => "model",
            NodeKind::Classify(_) => "classify",
            NodeKind::Transform => "transform",
            NodeKind::Http(_) => "http",
            NodeKind::Rust(_) => "rust",
            NodeKind::Human(_) => "human",
            NodeKind::Subgraph(_) => "subgraph",
        }
    }
}

/// One model call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelNode {
    /// An alias of the file's `models` or of the configuration.
    pub model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<Jinja>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Jinja>,
    /// CEL that gives a list of messages; `state.messages` where neither is given and the channel exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Cel>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Structured output: the JSON Schema of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Schema>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
}

/// Picks a label without a model: by the first rule that holds, else by a classifier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClassifyNode {
    /// What is looked at: CEL that gives a text. What the last message says where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cel>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<LabelRule>,
    /// One of the configuration's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classifier: Option<String>,
    /// A classifier that is less sure than this is not believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f64>,
    /// The label where nothing gives one.
    #[serde(default, rename = "else", skip_serializing_if = "Option::is_none")]
    pub otherwise: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelRule {
    #[serde(rename = "if")]
    pub condition: Cel,
    pub label: String,
}

/// A user's service in any language: POST in, JSON update out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HttpNode {
    pub url: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The answer comes as NDJSON or SSE with tokens before the update.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
}

/// A `Node` registered in the binary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RustNode {
    /// The registered type's name.
    #[serde(rename = "type")]
    pub type_name: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub settings: Value,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HumanNode {
    pub question: Jinja,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Schema>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SubgraphNode {
    /// The hash of the inner graph, so that the outer hash covers it.
    pub hash: String,
    pub graph: String,
    #[serde(default, skip_serializing_if = "Memory::is_call")]
    pub memory: Memory,
}

/// What a subgraph remembers: LangGraph's `checkpointer` False, None and True.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// Nothing: after a pause it begins anew.
    None,
    /// Where one call of it stands.
    #[default]
    Call,
    /// One state for the whole thread.
    Thread,
}

impl Memory {
    fn is_call(&self) -> bool {
        *self == Memory::Call
    }
}

/// LangGraph's RetryPolicy, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetryPolicy {
    /// Attempts in total.
    pub max_attempts: u32,
    pub initial_interval_ms: u64,
    pub backoff_factor: f64,
    pub max_interval_ms: u64,
    /// Adds up to a second, drawn anew each time.
    pub jitter: bool,
    /// Error classes or kinds that are retried; every retryable one where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            max_attempts: 3,
            initial_interval_ms: 500,
            backoff_factor: 2.0,
            max_interval_ms: 128_000,
            jitter: true,
            retry_on: Vec::new(),
        }
    }
}

/// LangGraph's CachePolicy: what the node wrote for an input is written again for the same one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CachePolicy {
    /// For as long as the worker lives where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// What tells two inputs apart: all of the input where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<CacheKey>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheKey {
    Cel(Cel),
    /// A program of the user's own names the entry.
    Http(HttpCall),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EdgeSpec {
    /// `a -> b`; with several sources, `a & b -> c`: waits for all.
    Plain {
        from: Vec<String>,
        to: String,
    },
    /// The first case that holds.
    When {
        from: String,
        cases: Vec<Case>,
    },
    /// Every case that holds.
    Every {
        from: String,
        cases: Vec<Case>,
    },
    Send {
        from: String,
        send: SendSpec,
    },
    /// A program of the user's own decides.
    Decide {
        from: String,
        decide: HttpCall,
        /// Where it may lead: all nodes where None.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Vec<String>>,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Case {
    /// None is `else`.
    #[serde(default, rename = "if", skip_serializing_if = "Option::is_none")]
    pub condition: Option<Cel>,
    /// Node names, `END` or sends.
    pub to: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A node's name or `END`.
    Node(String),
    Send(SendSpec),
}

/// One task for each item of a list, each with its own input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SendSpec {
    pub to: String,
    /// None: one send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<Cel>,
    /// The name that the item has in `with`; `item` unless told.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub binding: Option<String>,
    pub with: BTreeMap<String, Cel>,
}

/// A path that the graph is bound to, and how it speaks there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Serve {
    pub path: String,
    #[serde(rename = "as")]
    pub speaks: Speaks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Speaks {
    Chat,
    Query,
    Job,
}

/// What becomes of a run whose client goes away before its end: LangGraph's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// It is carried out and stored.
    #[default]
    Continue,
    Cancel,
}

impl OnDisconnect {
    fn is_continue(&self) -> bool {
        *self == OnDisconnect::Continue
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Supersteps; LangGraph's 10,007 where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursion_limit: Option<u32>,
    /// 24 hours where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    #[serde(default, skip_serializing_if = "OnBudget::is_fail")]
    pub on_budget: OnBudget,
}

/// What becomes of a run when no budget has room for a call of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnBudget {
    #[default]
    Fail,
    /// It asks, and goes on where it was when it is resumed.
    Pause,
}

impl OnBudget {
    fn is_fail(&self) -> bool {
        *self == OnBudget::Fail
    }
}
