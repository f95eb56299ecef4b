//! What every record says about the run that it belongs to, used by the reader or not.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Milliseconds since the Unix epoch, UTC.
pub type Millis = i64;

/// A run's id: a UUIDv7 whose last two bytes name its partition (see [`crate::ids::run_id`]).
pub type RunId = uuid::Uuid;

/// The number of the rules of `advance` that this binary begins runs under. A run keeps its own for life.
pub const RULES: u32 = 1;

/// Who asked, for which run of which graph, and under which bounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Envelope {
    /// The wall between customers; `default` without authentication.
    pub tenant: String,
    pub principal: Principal,
    /// The route template that the request came in by, such as `/graphs/{name}/runs`.
    pub endpoint: String,
    pub run_id: RunId,
    /// None for a run that no later run continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    pub graph: GraphRef,
    /// The number of the rules that the run began under.
    pub rules: u32,
    #[serde(default)]
    pub lane: Lane,
    /// Higher goes first within a lane.
    #[serde(default)]
    pub priority: i32,
    /// When the run ends as `timeout`, whatever it is doing.
    pub deadline: Millis,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRow>,
    /// W3C trace context of the request: spans of the run's hops, in whatever process, belong to its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    #[serde(default, skip_serializing_if = "RunBudget::says_nothing")]
    pub budget: RunBudget,
}

/// What its graph says of what a run may cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunBudget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_usd: Option<u64>,
    /// A call for which no budget has room asks a person and doesn't fail.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pauses: bool,
}

impl RunBudget {
    pub fn says_nothing(&self) -> bool {
        *self == RunBudget::default()
    }
}

impl Envelope {
    /// The unit of order and of state: the thread, or the run where there is no thread.
    /// Every stored key begins with the tenant.
    pub fn key(&self) -> Key {
        match &self.thread_id {
            Some(thread) => Key::thread(&self.tenant, thread),
            None => Key::run(&self.tenant, self.run_id),
        }
    }
}

/// The key of a record of `runs` and of the state that it changes: `<tenant>/t/<thread>` or `<tenant>/r/<run>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Key(pub String);

impl Key {
    pub fn thread(tenant: &str, thread: &str) -> Self {
        Key(format!("{tenant}/t/{thread}"))
    }

    pub fn run(tenant: &str, run: RunId) -> Self {
        Key(format!("{tenant}/r/{run}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The API key's name and the end user that a request acted for; both may be unknown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Principal {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A graph's name and the content hash of the version that the run keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GraphRef {
    pub name: String,
    pub hash: String,
}

/// Which of a node's two lanes a task waits in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    #[default]
    Interactive,
    Batch,
}

/// The row of the batch that a run computes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchRow {
    pub batch_id: String,
    pub row: u64,
}
