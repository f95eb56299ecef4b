//! The records of every topic. An unknown field is kept out of the way and ignored; a renamed one is a new version.

use std::{borrow::Cow, sync::Arc};

use graph::{
    envelope::{Envelope, Millis},
    event::Event,
    task::{Task, TaskId},
    update::Update,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    pub node: String,
    pub checkpoint_ns: String,
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
    /// A process serves a partition of `updates` at an address, until another says so.
    Serves { role: String, partition: u32, address: String },
    /// How far an owner of a partition has come; written twice a second.
    Progress(Progress),
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
            ControlFact::Serves { role, partition, .. } => format!("serves/{role}/{partition}"),
            ControlFact::Progress(progress) => format!("progress/{}/{}", progress.consumer, progress.partition),
        }
    }

    fn id(&self) -> String {
        format!("{}.{}", self.key(), self.at)
    }

    fn at(&self) -> Millis {
        self.at
    }
}

/// `dead-letters`: a record that was set aside, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetter {
    pub at: Millis,
    pub topic: String,
    pub partition: u32,
    pub offset: u64,
    /// Who set it aside, and why, in words.
    pub consumer: String,
    pub reason: String,
    /// Base64 of the original bytes, untouched.
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

impl DeadLetter {
    /// Wraps a record's bytes; they are kept even where they are no text.
    pub fn of(
        at: Millis,
        consumer: &str,
        reason: String,
        (topic, partition, offset): (&str, u32, u64),
        (key, payload): (&[u8], &[u8]),
        headers: Vec<(String, Vec<u8>)>,
    ) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
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
