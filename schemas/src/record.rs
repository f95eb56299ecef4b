//! The records of every topic. An unknown field is kept out of the way and ignored; a renamed one is a new version.

use std::{borrow::Cow, sync::Arc};

use graph::{
    alias::Alias,
    envelope::{Envelope, GraphRef, Millis},
    event::Event,
    task::{Task, TaskId},
    update::Update,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::reference::References;

/// What all records have: a key, and the headers of CloudEvents in binary mode.
pub trait Wire: Serialize + Send + Sync + 'static {
    /// `ce_type`, frozen.
    const TYPE: &'static str;

    fn key(&self) -> String;

    /// Unique within the topic, and the same when the same record is written again.
    fn id(&self) -> String;

    fn at(&self) -> Millis;

    /// `ce_*`, `content-type` and, where the caller is in a trace, `traceparent`.
    fn headers(&self, source: &str, traceparent: Option<&str>) -> Vec<(&'static str, Cow<'static, str>)> {
        let mut headers = Vec::with_capacity(6);
        headers.extend([
            ("ce_specversion", "1.0".into()),
            ("ce_type", Self::TYPE.into()),
            ("ce_source", source.to_owned().into()),
            ("ce_id", self.id().into()),
            ("content-type", "application/json".into()),
        ]);
        if let Some(traceparent) = traceparent {
            headers.push(("traceparent", traceparent.to_owned().into()));
        }
        headers
    }
}

/// `runs`: one event of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunsRecord {
    pub envelope: Arc<Envelope>,
    /// When it was written: the only time that the fold knows.
    pub at: Millis,
    pub event: Event,
    /// Values of it that stand in the store. None where it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<References>,
}

impl Wire for RunsRecord {
    const TYPE: &'static str = "millstream.runs.v1";

    fn key(&self) -> String {
        self.envelope.key().0
    }

    fn id(&self) -> String {
        let run = self.envelope.run_id;
        match &self.event {
            Event::Requested(_) => format!("{run}.requested"),
            Event::TaskFinished(result) => format!("{}.{}.{}.finished", result.task_id, result.issue, result.execution),
            Event::TaskKept { task_id, issue, .. } => format!("{task_id}.{issue}.kept"),
            Event::TaskGivenBack { task_id, issue, .. } => format!("{task_id}.{issue}.given-back"),
            Event::StateEdited(_) => format!("{run}.edited"),
            Event::ThreadDeleted => format!("{run}.thread-deleted"),
            Event::ThreadPruned => format!("{run}.thread-pruned"),
            Event::ThreadCopied { .. } => format!("{run}.thread-copied"),
            Event::CopyBegun(_) => format!("{run}.copy-begun"),
            Event::ThreadTimed(_) => format!("{run}.thread-timed"),
            Event::Cancelled { .. } => format!("{run}.cancelled"),
            Event::TimerDue { timer } => format!("{}.{:?}.{}", timer.run_id, timer.kind, timer.generation),
            Event::RunFailed { .. } => format!("{run}.failed"),
        }
    }

    fn at(&self) -> Millis {
        self.at
    }
}

/// `node.<graph>.<node>`: a task to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRecord {
    pub envelope: Arc<Envelope>,
    pub at: Millis,
    pub task: Task,
    /// Values of it that stand in the store. None where it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<References>,
}

impl Wire for TaskRecord {
    const TYPE: &'static str = "millstream.task.v1";

    /// The task id: a repeat finds the worker that has the first copy, and a fan-out spreads.
    fn key(&self) -> String {
        self.task.id.to_string()
    }

    fn id(&self) -> String {
        format!("{}.{}", self.task.id, self.task.issue)
    }

    fn at(&self) -> Millis {
        self.at
    }
}

/// Header of a [`TaskRecord`] that a worker reads back without parsing: `<task id>.<issue>` is `ce_id`.
pub const TASK_ID_HEADER: &str = "ce_id";

/// `updates`: what one record of `runs` caused in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateRecord {
    pub envelope: Arc<Envelope>,
    pub position: RunsPosition,
    pub update: Update,
    /// Values of it that stand in the store. None where it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub references: Option<References>,
}

/// Where the record of `runs` stands that caused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunsPosition {
    pub generation: u32,
    pub partition: u32,
    pub offset: u64,
}

impl Wire for UpdateRecord {
    const TYPE: &'static str = "millstream.update.v1";

    fn key(&self) -> String {
        self.envelope.key().0
    }

    fn id(&self) -> String {
        match self.update.number {
            Some(number) => format!("{}.{number}", self.envelope.run_id),
            None => format!("{}.{}.{}.spent", self.position.generation, self.position.partition, self.position.offset),
        }
    }

    fn at(&self) -> Millis {
        self.update.at
    }
}

/// `tokens`: a delta of an answer being made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenRecord {
    pub envelope: Arc<Envelope>,
    pub at: Millis,
    pub token: Token,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    pub task_id: TaskId,
    pub issue: u32,
    pub execution: Uuid,
    pub attempt: u32,
    /// Counts from 0 within the execution.
    pub n: u64,
    pub node: Arc<str>,
    pub checkpoint_ns: Arc<str>,
    pub message_id: String,
    pub kind: TokenKind,
    /// Text; a piece of JSON for `tool_call`; any JSON value for `custom`.
    pub delta: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    Text,
    Reasoning,
    ToolCall,
    Custom,
}

impl Wire for TokenRecord {
    const TYPE: &'static str = "millstream.token.v1";

    fn key(&self) -> String {
        self.envelope.key().0
    }

    fn id(&self) -> String {
        format!("{}.{}.{}", self.token.execution, self.token.attempt, self.token.n)
    }

    fn at(&self) -> Millis {
        self.at
    }
}

/// `signals`: a hint after the fact. Losing one costs time, never correctness.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignalRecord {
    pub envelope: Arc<Envelope>,
    pub at: Millis,
    /// Tasks of a run that ended: nobody wants their results.
    pub cancelled: Vec<TaskId>,
    pub node: String,
    /// The subgraph that declares the node; None where the run's own graph does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<GraphRef>,
}

impl Wire for SignalRecord {
    const TYPE: &'static str = "millstream.signal.v1";

    fn key(&self) -> String {
        self.node.clone()
    }

    fn id(&self) -> String {
        format!("{}.{}", self.envelope.run_id, self.node)
    }

    fn at(&self) -> Millis {
        self.at
    }
}

/// `control`: the newest of each name counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ControlRecord {
    pub at: Millis,
    pub fact: ControlFact,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum ControlFact {
    /// New runs of `graph` begin with `hash`; its nodes' topics exist.
    GraphPublished { graph: String, hash: String },
    /// An API key was made or rotated: the store says how it stands.
    KeyChanged { key: String },
    /// An API key is gone: nobody who reads this takes it any more.
    KeyRevoked { key: String },
    /// A process serves a partition of `updates` at an address, until another says so.
    Serves { role: String, partition: u32, address: String },
    /// How far an owner of a partition has come; written twice a second.
    Progress(Progress),
    /// Whom calls of a model's alias ask, above what graphs and configuration say; None: what those say holds again.
    ModelAlias { name: String, alias: Option<Alias> },
    /// A worker has found that a model fails too often, or answers again.
    Breaker(BreakerState),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BreakerState {
    /// `<provider>/<model>`.
    pub target: String,
    /// Nobody asks it before then; None where it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_until: Option<Millis>,
    /// How often it was given up since it last answered.
    pub times: u32,
    /// The process that found it, which does not hear itself.
    pub by: Uuid,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// `orchestrator`, `sink` or a node's group.
    pub consumer: String,
    pub partition: u32,
    /// The next offset to apply, and the tail.
    pub applied: u64,
    pub tail: u64,
    pub open_runs: u64,
    /// Age of the oldest record that is not done.
    pub oldest_ms: u64,
    pub bytes: u64,
}

impl Wire for ControlRecord {
    const TYPE: &'static str = "millstream.control.v1";

    fn key(&self) -> String {
        match &self.fact {
            ControlFact::GraphPublished { graph, .. } => format!("graph/{graph}"),
            ControlFact::KeyChanged { key } | ControlFact::KeyRevoked { key } => format!("key/{key}"),
            ControlFact::Serves { role, partition, .. } => format!("serves/{role}/{partition}"),
            ControlFact::Progress(progress) => format!("progress/{}/{}", progress.consumer, progress.partition),
            ControlFact::ModelAlias { name, .. } => format!("model/{name}"),
            ControlFact::Breaker(state) => format!("breaker/{}", state.target),
        }
    }

    fn id(&self) -> String {
        format!("{}.{}", self.key(), self.at)
    }

    fn at(&self) -> Millis {
        self.at
    }
}

/// `dead-letters`: a record that was set aside: whole, but for one that is too large to be wrapped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    pub at: Millis,
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    /// Who set it aside, and why, in words.
    pub consumer: String,
    pub reason: String,
    /// Base64 of the original bytes, untouched; where some are missing `reason` says so.
    pub key: String,
    pub payload: String,
    pub headers: Vec<(String, String)>,
}

impl Wire for DeadLetter {
    const TYPE: &'static str = "millstream.dead-letter.v1";

    fn key(&self) -> String {
        self.key.clone()
    }

    fn id(&self) -> String {
        format!("{}.{}.{}", self.topic, self.partition, self.offset)
    }

    fn at(&self) -> Millis {
        self.at
    }
}

/// What a letter keeps, so that it fits where the record that it wraps did: base64 makes four bytes of three, and the
/// key is written twice.
const KEPT_PAYLOAD_BYTES_MAX: usize = 512 * 1024;
const KEPT_KEY_BYTES_MAX: usize = 32 * 1024;
const KEPT_HEADERS_BYTES_MAX: usize = 64 * 1024;
/// A parser's sentence may quote what it could not read.
const REASON_CHARS_MAX: usize = 1_000;

impl DeadLetter {
    /// Wraps a record's bytes; they are kept even where they are no text.
    pub fn of(
        at: Millis,
        consumer: &str,
        reason: String,
        (topic, partition, offset): (&str, u32, u64),
        (key, payload): (&[u8], &[u8]),
        mut headers: Vec<(String, Vec<u8>)>,
    ) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let mut reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
        let headers_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let whole = (key.len(), payload.len(), headers_bytes);
        let (key, payload) =
            (&key[..key.len().min(KEPT_KEY_BYTES_MAX)], &payload[..payload.len().min(KEPT_PAYLOAD_BYTES_MAX)]);
        if headers_bytes > KEPT_HEADERS_BYTES_MAX {
            headers.clear();
        }
        if (key.len(), payload.len()) != (whole.0, whole.1) || headers.is_empty() && headers_bytes > 0 {
            reason.push_str(&format!(
                "; too large to be kept here whole (key, value and headers of {}, {} and {} bytes): the rest stands only \
                 at its offset",
                whole.0, whole.1, whole.2
            ));
        }
        DeadLetter {
            at,
            topic: topic.to_owned(),
            partition,
            offset,
            consumer: consumer.to_owned(),
            reason,
            key: STANDARD.encode(key),
            payload: STANDARD.encode(payload),
            headers: headers.into_iter().map(|(name, value)| (name, STANDARD.encode(value))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every log takes.
    const RECORD_BYTES_MAX: usize = 1024 * 1024;

    fn check(key: usize, payload: usize, header: usize, reason: usize, expect_cut: bool) {
        let (key, payload) = (vec![b'k'; key], vec![b'p'; payload]);
        let headers = vec![("h".to_owned(), vec![b'h'; header])];
        let letter = DeadLetter::of(1, "sink", "r".repeat(reason), ("runs", 0, 1), (&key, &payload), headers);
        let wrapped = serde_json::to_vec(&letter).unwrap().len() + letter.key().len();
        let headers: usize =
            letter.headers("sink", None).into_iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(wrapped + headers <= RECORD_BYTES_MAX, "{wrapped} bytes");
        assert_eq!(letter.reason.contains("too large to be kept here whole"), expect_cut);
    }

    #[test]
    fn a_letter_fits_wherever_the_record_did() {
        check(10, 1_000, 10, 10, false);
        check(10, 500_000, 10, 10, false);
        check(10, RECORD_BYTES_MAX - 11, 0, 10, true);
        check(RECORD_BYTES_MAX - 11, 10, 0, 10, true);
        check(10, 10, RECORD_BYTES_MAX - 30, 10, true);
        check(10, 500_000, 10, 500_000, false);
        check(300_000, 400_000, 300_000, 500_000, true);
    }
}
