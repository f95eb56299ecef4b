//! What clients of our own addresses send and get.

use std::collections::BTreeMap;

use graph::{task::Usage, update::RunStatus};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::ErrorFields;

/// A run as `GET /graphs/{name}/runs/{id}` shows it, as lists carry it, and as `mode: wait` answers with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunView {
    pub run_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    pub graph: String,
    pub hash: String,
    pub status: RunStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// RFC 3339, UTC.
    pub created_at: String,
    pub updated_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorFields>,
    /// The type of the error, as the program that raised it named it: `ValueError`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// Open questions, where the run ended by asking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupts: Vec<Value>,
    #[serde(default)]
    pub usage: Usage,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<String>,
    /// The last update's number.
    #[serde(default)]
    pub number: u64,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct List<T> {
    pub data: Vec<T>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What calls to models took and cost, in one group: its names stand beside the sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UsageSum {
    /// What it is grouped by: `{"graph": "support", "day": "2026-01-31"}`. Empty where a call has no user or key.
    #[serde(flatten)]
    pub group: BTreeMap<String, String>,
    pub calls: u64,
    /// Calls whose provider didn't say what they took: that is estimated.
    pub calls_missing_usage: u64,
    /// Calls whose price is not known: what they cost is not in the sum.
    pub calls_unpriced: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Of the input: read from the provider's cache.
    pub cached_tokens: u64,
    /// Of the input: written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Of the output.
    pub reasoning_tokens: u64,
    /// In billionths of a dollar.
    pub cost_nano_usd: u64,
}

/// LangGraph's namespace of the assistants that graphs make by themselves.
const ASSISTANTS: Uuid = Uuid::from_u128(0x6ba7b821_9dad_11d1_80b4_00c04fd430c8);

/// The assistant that LangGraph's clients see in a graph's place: uuid5 of its name, as LangGraph's server has it.
pub fn assistant_id(graph: &str) -> Uuid {
    Uuid::new_v5(&ASSISTANTS, graph.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::assistant_id;

    #[test]
    fn an_assistants_id_is_langgraphs() {
        // python: uuid.uuid5(uuid.UUID("6ba7b821-9dad-11d1-80b4-00c04fd430c8"), "agent")
        assert_eq!(assistant_id("agent").to_string(), "fe096781-5601-53d2-b2f6-0d3403f7e9ca");
    }
}
