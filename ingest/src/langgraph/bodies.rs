//! LangGraph's bodies, as far as they are served.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator};
use schemas::error::Code;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    options::{self, refuse_if},
    refusal::Refusal,
};

pub(crate) fn register(generator: &mut SchemaGenerator) {
    generator.subschema_for::<ThreadCreate>();
    generator.subschema_for::<Thread>();
    generator.subschema_for::<History>();
    generator.subschema_for::<RunCreate>();
    generator.subschema_for::<Run>();
    generator.subschema_for::<AssistantSearch>();
    generator.subschema_for::<Assistant>();
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
    pub ttl: Option<Value>,
    pub supersteps: Option<Vec<Value>>,
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
    pub interrupt_before: Option<Value>,
    pub interrupt_after: Option<Value>,
    /// enqueue, reject, interrupt or rollback.
    pub multitask_strategy: Option<graph::event::Multitask>,
    /// `reject` (404) or `create`, where the thread doesn't exist.
    pub if_not_exists: Option<IfNotExists>,
    pub after_seconds: Option<f64>,
    pub on_disconnect: Option<OnDisconnect>,
    pub on_completion: Option<OnCompletion>,
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

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnDisconnect {
    #[default]
    Continue,
    Cancel,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnCompletion {
    Delete,
    #[default]
    Keep,
}

impl RunCreate {
    pub fn refuse_unbuilt(&self) -> Result<(), Refusal> {
        let given = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
        let nodes = |value: &Option<Value>| given(value) && *value != Some(Value::Array(Vec::new()));
        refuse_if(given(&self.command), "command")?;
        refuse_if(given(&self.checkpoint), "checkpoint")?;
        refuse_if(self.checkpoint_id.is_some(), "checkpoint_id")?;
        refuse_if(self.webhook.is_some(), "webhook")?;
        refuse_if(nodes(&self.interrupt_before), "interrupt_before")?;
        refuse_if(nodes(&self.interrupt_after), "interrupt_after")?;
        refuse_if(self.after_seconds.is_some_and(|seconds| seconds > 0.0), "after_seconds")?;
        refuse_if(self.on_disconnect == Some(OnDisconnect::Cancel), "on_disconnect: cancel")?;
        refuse_if(self.on_completion == Some(OnCompletion::Delete), "on_completion: delete")?;
        refuse_if(self.feedback_keys.as_ref().is_some_and(|keys| !keys.is_empty()), "feedback_keys")?;
        let configurable = self.config.as_ref().and_then(|config| config.configurable.as_ref());
        refuse_if(
            configurable.is_some_and(|values| values.contains_key("checkpoint_id")),
            "configurable.checkpoint_id",
        )?;
        options::check_multitask(self.multitask_strategy.unwrap_or_default(), "multitask_strategy")
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
