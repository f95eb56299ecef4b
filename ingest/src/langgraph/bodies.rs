//! LangGraph's bodies, as far as they are served.

use std::collections::{BTreeMap, BTreeSet};

use graph::spec::OnDisconnect;
use http::StatusCode;
use schemars::{JsonSchema, SchemaGenerator};
use schemas::{
    client::Durability,
    error::Code,
    stream::{LangGraph, StreamMode},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    command,
    options::{self, refuse_if},
    refusal::Refusal,
};

pub(crate) fn register(generator: &mut SchemaGenerator) {
    generator.subschema_for::<ThreadSearch>();
    generator.subschema_for::<ThreadPatch>();
    generator.subschema_for::<StateEdit>();
    generator.subschema_for::<StateAsked>();
    generator.subschema_for::<ThreadCreate>();
    generator.subschema_for::<ThreadsPrune>();
    generator.subschema_for::<Pruned>();
    generator.subschema_for::<Thread>();
    generator.subschema_for::<History>();
    generator.subschema_for::<RunCreate>();
    generator.subschema_for::<Run>();
    generator.subschema_for::<AssistantSearch>();
    generator.subschema_for::<Assistant>();
    super::store::register(generator);
    generator.subschema_for::<Info>();
    generator.subschema_for::<Alive>();
}

/// Body of `POST /threads`.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct ThreadCreate {
    pub thread_id: Option<String>,
    #[serde(default)]
    pub metadata: Option<BTreeMap<String, Value>>,
    /// `raise` (409) or `do_nothing` (the thread that exists).
    pub if_exists: Option<IfExists>,
    /// Minutes that the thread lives after its last use, or {ttl: minutes, strategy: delete or keep_latest}.
    pub ttl: Option<Value>,
    /// Edits that the thread begins with; `metadata.graph_id` names its graph.
    pub supersteps: Option<Vec<Superstep>>,
    pub graph_id: Option<String>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IfExists {
    #[default]
    Raise,
    DoNothing,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Thread {
    pub thread_id: String,
    pub created_at: String,
    pub updated_at: String,
    pub state_updated_at: String,
    pub metadata: BTreeMap<String, Value>,
    /// idle, busy, interrupted or error.
    pub status: String,
    pub config: Map<String, Value>,
    pub values: Option<Value>,
    pub interrupts: Map<String, Value>,
    /// {strategy, ttl_minutes, expires_at}, where it was asked for and the thread ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Value>,
}

/// Body of `POST /threads/prune`.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct ThreadsPrune {
    /// At most 1,000; those that don't exist are passed over.
    #[serde(default)]
    pub thread_ids: BTreeSet<String>,
    #[serde(default)]
    pub strategy: PruneStrategy,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PruneStrategy {
    /// As `DELETE /threads/{thread_id}` for each.
    #[default]
    Delete,
    /// The thread goes on from its latest state, and its runs stay listed; its earlier checkpoints go. A thread that has a run
    /// which isn't done is refused.
    KeepLatest,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Pruned {
    pub pruned_count: usize,
}

/// Body of `POST /threads/{thread_id}/history`.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct History {
    pub limit: Option<u32>,
    /// A checkpoint's id, or an object that names it.
    pub before: Option<Value>,
    pub metadata: Option<Map<String, Value>>,
    pub checkpoint: Option<Value>,
}

/// Body of `POST /threads/search` and `/threads/count`.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct ThreadSearch {
    pub metadata: Option<Map<String, Value>>,
    /// Only threads whose state has these values.
    pub values: Option<Map<String, Value>>,
    /// idle, busy, interrupted or error.
    pub status: Option<String>,
    pub ids: Option<Vec<String>>,
    /// 10 unless told, 1000 at most.
    pub limit: Option<usize>,
    pub offset: Option<usize>,
    /// `created_at` alone.
    pub sort_by: Option<String>,
    /// `desc` alone.
    pub sort_order: Option<String>,
}

/// Body of `PATCH /threads/{thread_id}`.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct ThreadPatch {
    /// Added to what is there.
    pub metadata: Option<BTreeMap<String, Value>>,
    /// As when it is made: its time begins anew.
    pub ttl: Option<Value>,
}

/// Body of `POST /threads/{thread_id}/state`.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct StateEdit {
    /// An object, or a list of [channel, value].
    pub values: Option<Value>,
    /// The node that is taken for the writer: its edges decide what is next.
    pub as_node: Option<String>,
    /// {checkpoint_id}: edits there, and not the newest.
    pub checkpoint: Option<Value>,
    pub checkpoint_id: Option<String>,
    /// Several edits, each of which makes a checkpoint, in place of `values`.
    pub supersteps: Option<Vec<Superstep>>,
}

/// Updates that are applied together.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct Superstep {
    #[serde(default)]
    pub updates: Vec<SuperstepUpdate>,
}

#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct SuperstepUpdate {
    pub values: Option<Value>,
    pub as_node: Option<String>,
    pub command: Option<Value>,
}

/// Body of `POST /threads/{thread_id}/state/checkpoint`.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct StateAsked {
    /// {checkpoint_id, checkpoint_ns}
    pub checkpoint: Option<Value>,
    #[serde(default)]
    pub subgraphs: bool,
}

/// Body of every run creation.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct RunCreate {
    /// A graph's name, or an assistant's id.
    pub assistant_id: Option<String>,
    pub input: Option<Value>,
    pub command: Option<Value>,
    pub checkpoint: Option<Value>,
    pub checkpoint_id: Option<String>,
    pub metadata: Option<BTreeMap<String, Value>>,
    pub config: Option<Config>,
    pub context: Option<Map<String, Value>>,
    pub webhook: Option<String>,
    /// `*` or a list of nodes.
    pub interrupt_before: Option<OneOrMore>,
    pub interrupt_after: Option<OneOrMore>,
    /// enqueue, reject, interrupt or rollback.
    pub multitask_strategy: Option<graph::event::Multitask>,
    /// `reject` (404) or `create`, where the thread doesn't exist.
    pub if_not_exists: Option<IfNotExists>,
    /// The run is pending until then.
    pub after_seconds: Option<f64>,
    pub on_disconnect: Option<OnDisconnect>,
    pub on_completion: Option<OnCompletion>,
    /// `sync` and `async` are the same here; `exit` keeps only the run's last checkpoint.
    pub durability: Option<Durability>,
    /// What `durability` was once: `false` for `exit`.
    pub checkpoint_during: Option<bool>,
    /// How a stream shows the run: one of LangGraph's modes or several; `values` unless told.
    pub stream_mode: Option<OneOrMore>,
    pub stream_subgraphs: Option<bool>,
    /// A client that comes back gets what it missed.
    pub stream_resumable: Option<bool>,
    pub feedback_keys: Option<Vec<String>>,
}

#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct Config {
    pub tags: Option<Vec<String>>,
    pub recursion_limit: Option<u32>,
    pub configurable: Option<BTreeMap<String, Value>>,
    pub metadata: Option<BTreeMap<String, Value>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum IfNotExists {
    #[default]
    Reject,
    Create,
}

/// A word, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    pub fn all(given: Option<OneOrMore>) -> Vec<String> {
        match given {
            None => Vec::new(),
            Some(OneOrMore::One(one)) => vec![one],
            Some(OneOrMore::More(all)) => all,
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnCompletion {
    Delete,
    #[default]
    Keep,
}

/// How a run's stream is to look, and what becomes of the run when its client goes away.
pub(crate) struct Streamed {
    pub rendering: LangGraph,
    /// As the graph says where it is None.
    pub on_disconnect: Option<OnDisconnect>,
}

/// The modes of a stream; LangGraph's default where none is given.
pub(crate) fn modes(given: Vec<String>) -> Result<BTreeSet<StreamMode>, Refusal> {
    if given.is_empty() {
        return Ok([StreamMode::Values].into());
    }
    let mode = |name: &String| {
        if name == "events" {
            return Err(Refusal::not_built("`stream_mode: events`").param("stream_mode"));
        }
        StreamMode::parse(name).ok_or_else(|| {
            let known = StreamMode::ALL.map(StreamMode::as_str).join(", ");
            let says = format!("stream_mode: there is no mode `{name}`; there are {known}");
            Refusal::new(Code::InvalidValue, says).detail_status(StatusCode::UNPROCESSABLE_ENTITY)
        })
    };
    given.iter().map(mode).collect()
}

impl RunCreate {
    pub fn streamed(&mut self) -> Result<Streamed, Refusal> {
        Ok(Streamed {
            rendering: LangGraph {
                modes: modes(OneOrMore::all(self.stream_mode.take()))?,
                subgraphs: self.stream_subgraphs.unwrap_or_default(),
                ids: self.stream_resumable.unwrap_or_default(),
            },
            on_disconnect: self.on_disconnect,
        })
    }

    pub fn refuse_unbuilt(&self) -> Result<(), Refusal> {
        refuse_if(self.webhook.is_some(), "webhook")?;
        refuse_if(self.feedback_keys.as_ref().is_some_and(|keys| !keys.is_empty()), "feedback_keys")?;
        let ns = self.checkpoint.as_ref().and_then(|checkpoint| checkpoint.get("checkpoint_ns"));
        refuse_if(ns.and_then(Value::as_str).is_some_and(|ns| !ns.is_empty()), "checkpoint.checkpoint_ns")
    }

    pub fn durability(&self) -> Durability {
        let during = self.checkpoint_during.map(|during| if during { Durability::Async } else { Durability::Exit });
        self.durability.or(during).unwrap_or_default()
    }

    pub fn options(&mut self) -> Result<options::Options, Refusal> {
        let config = self.config.take().unwrap_or_default();
        let mut metadata = config.metadata.unwrap_or_default();
        metadata.extend(self.metadata.take().unwrap_or_default());
        options::Options::of(Some(schemas::client::RequestConfig {
            metadata,
            tags: config.tags.unwrap_or_default(),
            configurable: config.configurable.unwrap_or_default(),
            recursion_limit: config.recursion_limit,
            ..Default::default()
        }))
    }

    /// The checkpoint that the run begins at, wherever the client said it.
    pub fn checkpoint(&mut self) -> Result<Option<Uuid>, Refusal> {
        let configurable = self.config.as_mut().and_then(|config| config.configurable.as_mut());
        let configured = configurable.and_then(|values| values.remove("checkpoint_id"));
        let checkpoint = self.checkpoint.take().and_then(|mut given| given.get_mut("checkpoint_id").map(Value::take));
        let given = self.checkpoint_id.take().map(Value::String).or(checkpoint).or(configured);
        match given {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(id)) => command::checkpoint_id(&id).map(Some),
            Some(_) => Err(Refusal::new(Code::InvalidValue, "checkpoint_id: must be a UUID")),
        }
    }

    /// Channels by name; None to go on where the thread stands.
    pub fn channels(&mut self) -> Result<Option<Map<String, Value>>, Refusal> {
        match self.input.take() {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(channels)) => Ok(Some(channels)),
            Some(_) => {
                Err(Refusal::new(Code::SchemaViolation, "input: expected an object with a value for each channel"))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Run {
    pub run_id: String,
    pub thread_id: Option<String>,
    pub assistant_id: String,
    pub created_at: String,
    pub updated_at: String,
    /// pending, running, error, success, timeout or interrupted.
    pub status: String,
    pub metadata: BTreeMap<String, Value>,
    pub kwargs: Map<String, Value>,
    pub multitask_strategy: String,
}

/// Body of `POST /assistants/search`.
#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct AssistantSearch {
    pub graph_id: Option<String>,
    pub name: Option<String>,
    pub metadata: Option<Map<String, Value>>,
    pub limit: Option<usize>,
    pub offset: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Assistant {
    pub assistant_id: String,
    pub graph_id: String,
    pub config: Map<String, Value>,
    pub context: Map<String, Value>,
    pub created_at: String,
    pub updated_at: String,
    pub metadata: BTreeMap<String, Value>,
    pub version: u32,
    pub name: String,
    pub description: Option<String>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Info {
    pub version: &'static str,
    pub flags: BTreeMap<&'static str, bool>,
    pub host: BTreeMap<&'static str, &'static str>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Alive {
    pub ok: bool,
}
