//! What clients of our own addresses send, and the answers that ingest itself makes.
//!
//! Unknown fields are refused here: a misspelt option that is ignored is a bug that nobody sees.

use std::collections::BTreeMap;

use graph::{
    alias::{Alias, Target},
    envelope::Lane,
    event::Multitask,
    spec::{GraphSpec, Serve},
    task::Usage,
    update::RunStatus,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::stream::Dialect;

/// LangGraph's `durability`. A run is as durable with each: this says which of its checkpoints stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    #[default]
    Async,
    Sync,
    Exit,
}

impl Durability {
    pub fn keeps_last(self) -> bool {
        match self {
            Durability::Async | Durability::Sync => false,
            Durability::Exit => true,
        }
    }
}

/// The body of `POST /graphs/{name}/runs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    /// New input, by channel. Without it and without `command` the thread's last run is continued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Map<String, Value>>,
    /// LangGraph's `Command`: resume, update, goto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Value>,
    /// 1 to 255 characters. A run without one is continued by no later run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Read-only values of this run, as the graph declares them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RequestConfig>,
    #[serde(default)]
    pub mode: Mode,
    /// How `mode: stream` renders the run.
    #[serde(default)]
    pub dialect: Dialect,
    /// What becomes of this run when its thread is busy.
    #[serde(default)]
    pub multitask: Multitask,
    /// `exit` keeps only the run's last checkpoint, once it has ended; the others are the same here.
    #[serde(default)]
    pub durability: Durability,
    /// The end user that this run is for; `x-user-id` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Called when the run ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// Starts from this checkpoint and not from the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_before: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_after: Vec<String>,
    /// Starts the run that much later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_seconds: Option<f64>,
}

/// How the client wants to hear of its run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// 202 at once, with the run's address.
    #[default]
    Background,
    /// The run's end, as JSON.
    Wait,
    /// The run as server-sent events.
    Stream,
}

/// `config` of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestConfig {
    /// At most 64 names, 16 KiB in all; kept with the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, Value>,
    /// At most 32, of 128 characters each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelConfig>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configurable: BTreeMap<String, Value>,
    /// Supersteps that the run may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursion_limit: Option<u32>,
    /// How long the run may take: `30s`, `10m`, `2h`, or seconds. Never beyond the graph's own limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
    /// Higher goes first within a lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
}

/// A span of time: a number of seconds, or a number with `ms`, `s`, `m`, `h` or `d` behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Span {
    Seconds(f64),
    Text(String),
}

impl Span {
    /// None where the text is no span, or the span is negative or above 10 years.
    pub fn millis(&self) -> Option<u64> {
        let millis = match self {
            Span::Seconds(seconds) => seconds * 1_000.0,
            Span::Text(text) => {
                let digits = text.find(|c: char| c.is_ascii_alphabetic())?;
                let unit = match &text[digits..] {
                    "ms" => 1.0,
                    "s" => 1_000.0,
                    "m" => 60_000.0,
                    "h" => 3_600_000.0,
                    "d" => 86_400_000.0,
                    _ => return None,
                };
                text[..digits].trim().parse::<f64>().ok()? * unit
            }
        };
        (0.0..=315_360_000_000.0).contains(&millis).then_some(millis as u64)
    }
}

/// What a request may ask of the models, within what the graph allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
}

/// The body of a path that a graph binds `as: chat`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// What the person says: text, or content blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Value>,
    /// The conversation to go on with; without it a new one is made and named in the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    /// Answers with server-sent events.
    #[serde(default)]
    pub stream: bool,
    /// How `stream: true` renders the run.
    #[serde(default)]
    pub dialect: Dialect,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RequestConfig>,
    #[serde(default)]
    pub multitask: Multitask,
    /// The answer to the one open question of the thread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Answers by interrupt id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<BTreeMap<String, Value>>,
}

/// The body of `POST /graphs/{name}/runs/{id}/resume`: answers to what the run asked. A new run goes on from there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeRun {
    /// The answer to the one open question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Value>,
    /// Answers by interrupt id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<BTreeMap<String, Value>>,
    /// Written to the state before the node that asked runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RequestConfig>,
    #[serde(default)]
    pub mode: Mode,
    /// How `mode: stream` renders the run.
    #[serde(default)]
    pub dialect: Dialect,
    /// What becomes of this run when its thread is busy.
    #[serde(default)]
    pub multitask: Multitask,
    /// `exit` keeps only the run's last checkpoint, once it has ended; the others are the same here.
    #[serde(default)]
    pub durability: Durability,
    /// The end user that this run is for; `x-user-id` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_before: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupt_after: Vec<String>,
}

/// The body of `POST /graphs/{name}/runs/{id}/cancel`; it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelRun {
    /// Kept with the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Answer of a bound path `as: chat`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatAnswer {
    pub run_id: String,
    pub thread_id: String,
    pub status: RunStatus,
    /// The last message that the graph wrote.
    pub message: Option<Value>,
    pub output: Option<Value>,
    pub usage: Usage,
    /// Open questions, where the run ended by asking.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interrupts: Vec<Value>,
}

/// A run was accepted: the answer of `mode: background`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunAccepted {
    pub run_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
    pub graph: String,
    pub hash: String,
    pub status: RunStatus,
}

/// The body of `PUT /models/{alias}`: whom a new version of the alias asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetModelAlias {
    /// `<provider>/<model>`; short for one target.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Several that share the calls by weight.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<ModelTarget>,
    /// Asked in turn where the one that was to answer can't.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<String>,
    /// Tries the version with this share of the threads; without it, it takes all calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_percent: Option<f64>,
    /// The alias as it was when this was decided: 409 where it has changed since. 0: there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// One of several models that share the calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelTarget {
    /// `<provider>/<model>`.
    #[serde(rename = "use")]
    pub model: String,
    /// Its part, beside those of the others.
    #[serde(default = "one")]
    pub weight: u32,
}

fn one() -> u32 {
    1
}

impl From<ModelTarget> for Target {
    fn from(ModelTarget { model, weight }: ModelTarget) -> Self {
        Target { model, weight }
    }
}

/// The body of `POST /models/{alias}/promote` and `/rollback`; it may be left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeModelAlias {
    /// As in [`SetModelAlias`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

/// An alias that was set over the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelAliasView {
    pub name: String,
    #[serde(flatten)]
    pub alias: Alias,
}

/// A graph was published: its topics exist, and new runs of its name begin with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GraphPublished {
    pub name: String,
    pub hash: String,
    /// What runs, and perhaps not as meant: each with its line, as `graph check` prints it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A graph in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GraphSummary {
    pub name: String,
    pub hash: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<Serve>,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// A graph's current version, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GraphView {
    pub name: String,
    pub hash: String,
    pub spec: GraphSpec,
    /// The graph as a Mermaid flowchart.
    pub mermaid: String,
    /// Newest first.
    pub versions: Vec<GraphVersion>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GraphVersion {
    pub hash: String,
    pub created_at: String,
}

/// An error on LangGraph's addresses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::Span;

    #[test]
    fn spans() {
        let check = |span: Span, expect: Option<u64>| assert_eq!(span.millis(), expect, "{span:?}");
        check(Span::Seconds(1.5), Some(1_500));
        check(Span::Text("10m".into()), Some(600_000));
        check(Span::Text("250ms".into()), Some(250));
        check(Span::Text("2 h".into()), Some(7_200_000));
        check(Span::Text("10".into()), None);
        check(Span::Text("m".into()), None);
        check(Span::Text("1w".into()), None);
        check(Span::Seconds(-1.0), None);
        check(Span::Seconds(f64::NAN), None);
    }
}
