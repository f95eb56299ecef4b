//! The run's own span, `invoke_workflow`: from the request to the end, whoever saw either.
//!
//! Its id is derived from the run's, so that every process can hang its spans below it long before it is made.

use graph::envelope::{Envelope, Millis, RunId};
use opentelemetry::{
    KeyValue,
    trace::{SpanId, SpanKind},
};

use crate::{
    TraceContext, names,
    span::{Birth, begin_as},
};

/// What all spans of a run hang below; None where its request belonged to no trace.
pub fn context_of(envelope: &Envelope) -> Option<TraceContext> {
    let request = TraceContext::parse(envelope.traceparent.as_deref()?)?;
    Some(TraceContext { span: span_id(envelope.run_id), ..request })
}

/// What each span of a run says of it.
pub fn attributes_of(envelope: &Envelope) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(names::RUN, envelope.run_id.to_string()),
        KeyValue::new(names::GRAPH, envelope.graph.name.clone()),
        KeyValue::new(names::TENANT, envelope.tenant.clone()),
    ];
    if let Some(thread) = &envelope.thread_id {
        attributes.push(KeyValue::new(names::CONVERSATION, thread.clone()));
    }
    attributes
}

/// How a run ended.
pub struct Ended<'a> {
    pub at: Millis,
    pub status: &'static str,
    /// Code and message.
    pub error: Option<(&'a str, &'a str)>,
}

/// Makes the run's span, now that it is over.
pub fn ended(envelope: &Envelope, ended: Ended<'_>) {
    if !crate::is_on() {
        return;
    }
    let Some(request) = envelope.traceparent.as_deref().and_then(TraceContext::parse) else { return };
    let birth = || Birth {
        kind: Some(SpanKind::Internal),
        started_ms: Some(began(envelope.run_id)),
        id: Some(span_id(envelope.run_id)),
        ..Birth::default()
    };
    let graph = &envelope.graph;
    let mut span = begin_as(
        Some(request),
        birth,
        || format!("invoke_workflow {}", graph.name).into(),
        || {
            let mut attributes = attributes_of(envelope);
            attributes.extend([
                KeyValue::new(names::OPERATION, "invoke_workflow"),
                KeyValue::new(names::WORKFLOW, graph.name.clone()),
                KeyValue::new(names::GRAPH_HASH, graph.hash.clone()),
                KeyValue::new(names::OPENINFERENCE_KIND, "CHAIN"),
                KeyValue::new(names::STATUS, ended.status),
            ]);
            attributes
        },
    );
    if let Some((code, message)) = ended.error {
        span.fail(code, message);
    }
    span.end_at(ended.at);
}

/// A run's id begins with when it was accepted.
fn began(run: RunId) -> Millis {
    let bytes = run.as_bytes();
    bytes[..6].iter().fold(0, |ms, byte| ms << 8 | Millis::from(*byte))
}

/// Spreads the run's id, whose first half is time, over 64 bits.
fn span_id(run: RunId) -> SpanId {
    let (high, low) = run.as_u64_pair();
    let mut mixed = high.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ low;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // No id is zero.
    SpanId::from_bytes((mixed ^ (mixed >> 31)).max(1).to_be_bytes())
}
