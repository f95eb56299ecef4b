//! A record's way over the log: `send {topic}` where it is written, `process {topic}` where it is read.
//!
//! What is sent names its `send` in the header `traceparent`, as the standard has it. Who processes it hangs below the
//! run, so that a run of a thousand steps is as deep as one of three, and links the `send`.

use graph::envelope::Envelope;
use opentelemetry::{KeyValue, trace::SpanKind};

use crate::{
    TraceContext, names,
    run::{attributes_of, context_of},
    span::{Birth, Span, begin_as},
};

/// Where a record was read.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub offset: u64,
    pub group: &'a str,
    /// The record's own `traceparent`.
    pub sent: Option<&'a str>,
}

/// Begins the span of a record being written, and says what goes into its header `traceparent`. A record of a run
/// without a trace has neither.
pub fn send(envelope: &Envelope, parent: Option<TraceContext>, topic: &str) -> (Span, Option<String>) {
    let Some(given) = envelope.traceparent.as_deref() else { return (Span::default(), None) };
    if !crate::is_on() {
        return (Span::default(), Some(given.to_owned()));
    }
    let Some(parent) = parent.or_else(|| context_of(envelope)) else { return (Span::default(), None) };
    let birth = || Birth { kind: Some(SpanKind::Producer), ..Birth::default() };
    let span = begin_as(
        Some(parent),
        birth,
        || format!("send {topic}").into(),
        || {
            let mut attributes = attributes_of(envelope);
            attributes.extend(messaging("send", "send", topic));
            attributes
        },
    );
    let header = span.context().unwrap_or(parent).to_string();
    (span, Some(header))
}

/// Begins the span of a record's work.
pub fn process(envelope: &Envelope, read: Read<'_>) -> Span {
    if !crate::is_on() {
        return Span::default();
    }
    let Some(run) = context_of(envelope) else { return Span::default() };
    let birth =
        || Birth { kind: Some(SpanKind::Consumer), link: read.sent.and_then(TraceContext::parse), ..Birth::default() };
    begin_as(
        Some(run),
        birth,
        || format!("process {}", read.topic).into(),
        || {
            let mut attributes = attributes_of(envelope);
            attributes.extend(messaging("process", "process", read.topic));
            attributes.extend([
                KeyValue::new(names::PARTITION, read.partition.to_string()),
                KeyValue::new(names::OFFSET, read.offset as i64),
                KeyValue::new(names::CONSUMER_GROUP, read.group.to_owned()),
            ]);
            attributes
        },
    )
}

/// `kafka` is also what the embedded log is to those who look: its records, partitions and groups are Kafka's.
fn messaging(name: &'static str, kind: &'static str, topic: &str) -> [KeyValue; 4] {
    [
        KeyValue::new(names::MESSAGING_SYSTEM, "kafka"),
        KeyValue::new(names::MESSAGING_OPERATION, name),
        KeyValue::new(names::MESSAGING_OPERATION_TYPE, kind),
        KeyValue::new(names::DESTINATION, topic.to_owned()),
    ]
}
