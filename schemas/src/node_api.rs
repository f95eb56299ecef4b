//! What Millstream and a node's service say to each other, in any language (docs/node-api.md).
//!
//! What is posted may gain fields: a service leaves out what it doesn't know. An answer may not: a misspelt word that
//! is ignored is a bug that nobody sees.

use std::collections::BTreeMap;

use graph::{
    envelope::GraphRef,
    task::{TaskId, TaskPath, Usage},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::record::TokenKind;

/// The version that this API has; in every ask.
pub const VERSION: u32 = 1;

/// What is asked of a service: that it does a task, decides where to go after one, or names a cache's entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeAsk {
    /// Of this API: 1.
    pub version: u32,
    pub kind: AskKind,
    pub task_id: TaskId,
    /// With `task_id` it names what is asked, however often it is asked.
    pub issue: u32,
    /// Under the node's `retry`, from 1.
    pub attempt: u32,
    /// Drawn by the worker that makes the attempt.
    pub execution: Uuid,
    /// `<task_id>.<issue>`, also in the header `idempotency-key`.
    pub idempotency_key: String,
    pub node: String,
    pub graph: GraphRef,
    pub run_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    pub tenant: String,
    /// The end user that the run is for, where the request named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    pub step: i64,
    /// Steps that the recursion limit leaves, this one counted; the last that can end well sees 1.
    pub remaining_steps: i64,
    /// The run's own limit.
    pub recursion_limit: u32,
    pub checkpoint_id: Uuid,
    /// `<node>:<task id>`, joined by `|` from the outermost graph to this one.
    pub checkpoint_ns: String,
    pub path: TaskPath,
    pub triggers: Vec<String>,
    /// The channels, a send's argument, or what `input` maps to; of a decision the state with the task's writes.
    pub input: Value,
    /// The run's read-only context.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub context: Value,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurable: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Answers to the task's questions in order, up to the first that is still open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Value>,
    /// Of a decision: what the node gave it besides its update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    /// Of a node that handles another's error: that error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<NodeFailure>,
    /// When the worker gives the attempt up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Where the long-term store answers, where the server has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreAccess>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AskKind {
    Task,
    Decision,
    CacheKey,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeFailure {
    /// The node that failed.
    pub node: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
}

/// Takes a [`StoreAsk`] with the header `authorization: Bearer <token>` until the attempt's time is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreAccess {
    pub url: String,
    pub token: String,
}

/// What ends a task or a decision: an `error`, `interrupts`, or LangGraph's `Command` of `update`, `goto` and `graph`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeAnswer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<NodeUpdate>,
    /// Where to go beside the node's edges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goto: Vec<GoTo>,
    /// Whose `update` and `goto` these are; this graph's unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<CommandGraph>,
    /// For the node's decisions alone; never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra: Option<Map<String, Value>>,
    /// Questions to people. The node runs again from the top when they are answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupts: Vec<NodeQuestion>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<NodeError>,
    /// How many of the ask's answers were taken, from the first on; all unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers_used: Option<u32>,
    /// Calls to models that the service made itself: their tokens are counted with the run's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<NodeCall>,
}

/// Values by channel, or a list of such objects in order; `{"__overwrite__": value}` replaces what a reducer gathered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NodeUpdate {
    One(Map<String, Value>),
    Many(Vec<Map<String, Value>>),
}

/// A node's name, or a task for it with an input of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum GoTo {
    Node(String),
    Send(NodeSend),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeSend {
    pub node: String,
    pub input: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandGraph {
    Parent,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeQuestion {
    pub value: Value,
    /// The question's name; derived from the task unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A JSON Schema that answers have to fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_schema: Option<Value>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeError {
    pub message: String,
    /// What the program calls it, such as `ValueError`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
    /// Whether trying again may help; the node's `retry` says how often.
    #[serde(default)]
    pub retryable: bool,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeCall {
    pub provider: String,
    pub model: String,
    pub usage: Usage,
}

/// A line before the answer: one of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeLine {
    /// A delta of a message being made, or its text alone.
    Token(NodeToken),
    /// An event of the node's own.
    Custom(Value),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NodeToken {
    Text(String),
    Of(TokenOf),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenOf {
    pub text: String,
    /// The message that it is a part of; the task's first unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// `text` unless told; a `tool_call` is a piece of JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<TokenKind>,
}

/// The writes of one step to a channel, in order, none of them an overwrite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReduceAsk {
    /// Of this API: 1.
    pub version: u32,
    pub graph: GraphRef,
    pub run_id: Uuid,
    pub tenant: String,
    pub channel: String,
    /// What the channel holds: a value, for the first write of an empty one is stored as it is.
    pub left: Value,
    pub writes: Vec<Value>,
}

/// The joined value, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReduceAnswer {
    Value(Value),
    Error(NodeError),
}

/// The key that the node's cache has for the ask's input, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheKeyAnswer {
    Key(String),
    Error(NodeError),
}

/// Operations on the long-term store, done in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreAsk {
    pub ops: Vec<StoreOp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreOp {
    Get(StoreGet),
    Put(StorePut),
    Delete(StoreDelete),
    Search(StoreSearch),
    ListNamespaces(StoreListNamespaces),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreGet {
    pub namespace: Vec<String>,
    pub key: String,
    /// Lets the item's time to live begin anew; yes unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_ttl: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StorePut {
    pub namespace: Vec<String>,
    pub key: String,
    pub value: Map<String, Value>,
    /// False, or the paths that a search by meaning looks at; the store's own unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<StoreIndex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StoreIndex {
    Whether(bool),
    Paths(Vec<String>),
}

impl StoreIndex {
    /// None: the store's own.
    pub fn paths(self) -> Option<Vec<String>> {
        match self {
            StoreIndex::Whether(true) => None,
            StoreIndex::Whether(false) => Some(Vec::new()),
            StoreIndex::Paths(paths) => Some(paths),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreDelete {
    pub namespace: Vec<String>,
    pub key: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreSearch {
    /// Namespaces that begin so, by whole labels.
    pub prefix: Vec<String>,
    /// By meaning, where the store has an embedding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Equality, or `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`, by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Map<String, Value>>,
    /// 10 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_ttl: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreListNamespaces {
    /// `*` stands for any label.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suffix: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_depth: Option<u32>,
    /// 100 unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u32>,
}

/// A result for each operation, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreAnswer {
    pub results: Vec<StoreResult>,
}

/// `item` of a get that found one, `items` of a search, `namespaces` of a list; nothing of a put or a delete.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreResult {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<StoreItem>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<StoreItem>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<Vec<String>>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StoreItem {
    pub namespace: Vec<String>,
    pub key: String,
    pub value: Map<String, Value>,
    /// RFC 3339.
    pub created_at: String,
    pub updated_at: String,
    /// How near it is, of a search by meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
}
