//! Spans of work: `invoke_agent {node}` for an attempt, `chat {model}` for a call.

use graph::{
    envelope::Envelope,
    task::{Usage, UsageSource},
};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use schemas::record::TaskRecord;
use traces::{Kind, Span, TraceContext, names};

use crate::models::{Answer, ModelSettings, Target};

/// One attempt of a task. Attempts of a task are siblings.
pub fn attempt(record: &TaskRecord, parent: Option<TraceContext>, attempt: u32) -> Span {
    let Some(parent) = parent else { return Span::default() };
    let TaskRecord { envelope, task, .. } = record;
    traces::begin(
        Some(parent),
        Kind::Internal,
        || format!("invoke_agent {}", task.node).into(),
        || {
            let mut attributes = traces::attributes_of(envelope);
            attributes.extend([
                KeyValue::new(names::OPERATION, "invoke_agent"),
                KeyValue::new(names::AGENT, task.node.clone()),
                KeyValue::new(names::OPENINFERENCE_KIND, "AGENT"),
                KeyValue::new(names::GRAPH_NODE, task.node.clone()),
                KeyValue::new(names::NODE, task.node.clone()),
                KeyValue::new(names::TASK, task.id.to_string()),
                KeyValue::new(names::ISSUE, i64::from(task.issue)),
                KeyValue::new(names::ATTEMPT, i64::from(attempt)),
                KeyValue::new(names::STEP, task.step),
            ]);
            attributes
        },
    )
}

/// What calls of an attempt hang below: its span; without one, what the client said, which is passed on.
pub fn below(span: &Span, envelope: &Envelope) -> Option<TraceContext> {
    span.context().or_else(|| TraceContext::parse(envelope.traceparent.as_deref()?))
}

/// One call of a model, begun.
pub fn chat(
    envelope: &Envelope,
    parent: Option<TraceContext>,
    target: &Target,
    settings: &ModelSettings,
    call_id: &str,
) -> Span {
    let Some(parent) = parent else { return Span::default() };
    let (provider, model) = (target.provider.name(), target.name());
    let mut span = traces::begin(
        Some(parent),
        Kind::Client,
        || format!("chat {model}").into(),
        || {
            let mut attributes = traces::attributes_of(envelope);
            attributes.extend([
                KeyValue::new(names::OPERATION, "chat"),
                KeyValue::new(names::PROVIDER, provider.to_owned()),
                KeyValue::new(names::SYSTEM, provider.to_owned()),
                KeyValue::new(names::REQUEST_MODEL, model.to_owned()),
                KeyValue::new(names::REQUEST_STREAM, true),
                KeyValue::new(names::OPENINFERENCE_KIND, "LLM"),
                KeyValue::new(names::CALL, call_id.to_owned()),
            ]);
            attributes
        },
    );
    if let Some(span) = span.recorded() {
        for (name, value) in
            [(names::REQUEST_TEMPERATURE, settings.temperature), (names::REQUEST_TOP_P, settings.top_p)]
        {
            if let Some(value) = value {
                span.set(name, value);
            }
        }
        if let Some(tokens) = settings.max_tokens {
            span.set(names::REQUEST_MAX_TOKENS, i64::from(tokens));
        }
    }
    span
}

/// What came of the call: `outcome` is `ok` or why it failed.
pub fn chat_ended(span: &mut Span, answer: &Answer, usage: &Usage, source: UsageSource, outcome: &str, why: &str) {
    let Some(span) = span.recorded() else { return };
    let Usage {
        input_tokens,
        output_tokens,
        cached_tokens,
        cache_write_tokens,
        reasoning_tokens,
        cost_nano_usd: _,
        calls_unpriced: _,
    } = *usage;
    span.set(names::INPUT_TOKENS, input_tokens as i64);
    span.set(names::OUTPUT_TOKENS, output_tokens as i64);
    for (name, tokens) in [
        (names::CACHED_TOKENS, cached_tokens),
        (names::CACHE_WRITE_TOKENS, cache_write_tokens),
        (names::REASONING_TOKENS, reasoning_tokens),
    ] {
        if tokens > 0 {
            span.set(name, tokens as i64);
        }
    }
    span.set(names::USAGE_SOURCE, source_label(source));
    if let Some(reason) = answer.stop_reason {
        span.set(names::FINISH_REASONS, Value::Array(Array::String(vec![StringValue::from(reason.as_str())])));
    }
    if outcome != "ok" {
        span.fail(outcome, why);
    }
}

fn source_label(source: UsageSource) -> &'static str {
    match source {
        UsageSource::Reported => "reported",
        UsageSource::Estimated => "estimated",
        UsageSource::Missing => "missing",
    }
}
