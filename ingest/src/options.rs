//! A request's options in the terms of the record: checked, bounded, or refused as not built.

use std::{collections::BTreeMap, sync::Arc};

use graph::{
    envelope::{Lane, Millis},
    event::RunConfig,
};
use schemas::{
    client::{CreateRun, RequestConfig},
    error::Code,
};
use serde_json::Value;

use crate::{config::Config, published::Graph, refusal::Refusal};

const METADATA_NAMES_MAX: usize = 64;
const METADATA_BYTES_MAX: usize = 16 * 1024;
const TAGS_MAX: usize = 32;
const TAG_CHARS_MAX: usize = 128;
const THREAD_CHARS_MAX: usize = 255;
const RECURSION_LIMIT_MAX: u32 = 1_000_000;
const PRIORITY_MAX: i32 = 1_000;
const AFTER_SECONDS_MAX: f64 = 366.0 * 24.0 * 3_600.0;

/// What a request's `config` says of the run as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub metadata: BTreeMap<String, Value>,
    pub tags: Vec<String>,
    pub lane: Lane,
    pub priority: i32,
    /// Milliseconds that the run may take.
    pub deadline_ms: Option<u64>,
    pub run: RunConfig,
}

impl Options {
    pub fn of(config: Option<RequestConfig>) -> Result<Self, Refusal> {
        let Some(config) = config else { return Ok(Options::default()) };
        let RequestConfig { metadata, tags, model, configurable, recursion_limit, deadline, lane, priority } = config;
        check_metadata(&metadata, "config.metadata")?;
        check_metadata(&configurable, "config.configurable")?;
        check_tags(&tags)?;
        if recursion_limit.is_some_and(|limit| !(1..=RECURSION_LIMIT_MAX).contains(&limit)) {
            return Err(invalid("config.recursion_limit", "a recursion limit lies between 1 and 1000000"));
        }
        if priority.is_some_and(|priority| priority.abs() > PRIORITY_MAX) {
            return Err(invalid("config.priority", "a priority lies between -1000 and 1000"));
        }
        let deadline_ms = deadline.map(|span| {
            let bad = || invalid("config.deadline", "a deadline is a span such as `30s`, `10m`, `2h`, or seconds");
            span.millis().filter(|millis| *millis > 0).ok_or_else(bad)
        });
        let model = match model {
            Some(model) => serde_json::to_value(model).expect("numbers have a JSON form"),
            None => Value::Null,
        };
        Ok(Options {
            metadata,
            tags,
            lane: lane.unwrap_or_default(),
            priority: priority.unwrap_or_default(),
            deadline_ms: deadline_ms.transpose()?,
            run: RunConfig { recursion_limit, configurable, model: Arc::new(model) },
        })
    }

    /// The request's own span, never beyond the graph's.
    pub fn deadline(&self, config: &Config, graph: &Graph, now: Millis) -> Millis {
        let limit = graph.spec.limits.deadline_ms.unwrap_or(config.run_deadline.as_millis() as u64);
        now + self.deadline_ms.unwrap_or(limit).min(limit) as Millis
    }
}

/// Options that the API knows and no stage does yet: never ignored.
pub(crate) fn refuse_unbuilt(body: &CreateRun) -> Result<(), Refusal> {
    let CreateRun {
        input: _,
        command: _,
        thread_id: _,
        context: _,
        config: _,
        mode: _,
        dialect: _,
        multitask: _,
        durability: _,
        user: _,
        webhook,
        checkpoint_id: _,
        interrupt_before: _,
        interrupt_after: _,
        after_seconds: _,
    } = body;
    refuse_if(webhook.is_some(), "webhook")
}

/// How much later than now a run is to begin.
pub(crate) fn after_ms(seconds: Option<f64>) -> Result<Option<Millis>, Refusal> {
    let Some(seconds) = seconds.filter(|seconds| *seconds > 0.0) else { return Ok(None) };
    if seconds > AFTER_SECONDS_MAX {
        return Err(invalid("after_seconds", "after_seconds: a run begins within 366 days, 31622400 seconds"));
    }
    Ok(Some((seconds * 1_000.0).ceil() as Millis))
}

pub(crate) fn refuse_if(given: bool, option: &str) -> Result<(), Refusal> {
    if given { Err(Refusal::not_built(format!("the option `{option}`")).param(option)) } else { Ok(()) }
}

pub(crate) fn check_thread_id(thread: &str) -> Result<(), Refusal> {
    let chars = thread.chars().count();
    if (1..=THREAD_CHARS_MAX).contains(&chars) && !thread.chars().any(char::is_control) {
        return Ok(());
    }
    Err(invalid("thread_id", "a thread id has 1 to 255 characters, none of them a control character"))
}

pub(crate) fn check_metadata(metadata: &BTreeMap<String, Value>, path: &str) -> Result<(), Refusal> {
    if metadata.is_empty() {
        return Ok(());
    }
    let bytes = serde_json::to_vec(metadata).map_or(usize::MAX, |bytes| bytes.len());
    if metadata.len() > METADATA_NAMES_MAX || bytes > METADATA_BYTES_MAX {
        return Err(invalid(path, "at most 64 names and 16384 bytes may stand here"));
    }
    Ok(())
}

pub(crate) fn check_tags(tags: &[String]) -> Result<(), Refusal> {
    if tags.len() > TAGS_MAX || tags.iter().any(|tag| tag.chars().count() > TAG_CHARS_MAX) {
        return Err(invalid("config.tags", "at most 32 tags of 128 characters each"));
    }
    Ok(())
}

fn invalid(param: &str, message: &'static str) -> Refusal {
    Refusal::new(Code::InvalidValue, message).param(param)
}
