//! One span, or nothing where no tracer is installed.

use std::{
    borrow::Cow,
    cell::Cell,
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    Context, KeyValue, Value,
    global::{BoxedSpan, BoxedTracer},
    trace::{Link, Span as _, SpanBuilder, SpanId, SpanKind, Status, TraceContextExt, Tracer},
};

use crate::{TraceContext, names};

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

thread_local! {
    static NEXT_ID: Cell<Option<SpanId>> = const { Cell::new(None) };
}

/// Once, at the start of the process. Without it nothing is traced.
pub fn install(tracer: BoxedTracer) {
    let _ = TRACER.set(tracer);
}

/// Whether spans are made. For what must be prepared before one begins.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// The id that the span being made must have. For the tracer's generator of ids, which draws one where there is none.
pub fn next_span_id() -> Option<SpanId> {
    NEXT_ID.take()
}

pub type Kind = SpanKind;

/// A span under way; it ends when it is dropped. Most are nothing.
#[derive(Debug, Default)]
pub struct Span(Option<BoxedSpan>);

/// What a span is when it begins, beside its attributes.
#[derive(Default)]
pub(crate) struct Birth {
    pub kind: Option<Kind>,
    pub link: Option<TraceContext>,
    pub started_ms: Option<i64>,
    /// Derived, where others must know it before the span is made.
    pub id: Option<SpanId>,
}

/// Begins a span below `parent`; without one it is a trace's first. Neither closure is called while tracing is off, and
/// the second only for a span that is recorded.
pub fn begin(
    parent: Option<TraceContext>,
    kind: Kind,
    name: impl FnOnce() -> Cow<'static, str>,
    attributes: impl FnOnce() -> Vec<KeyValue>,
) -> Span {
    begin_as(parent, || Birth { kind: Some(kind), ..Birth::default() }, name, attributes)
}

pub(crate) fn begin_as(
    parent: Option<TraceContext>,
    birth: impl FnOnce() -> Birth,
    name: impl FnOnce() -> Cow<'static, str>,
    attributes: impl FnOnce() -> Vec<KeyValue>,
) -> Span {
    let Some(tracer) = TRACER.get() else { return Span::default() };
    let Birth { kind, link, started_ms, id } = birth();
    let mut builder = SpanBuilder::from_name(name());
    builder.span_kind = kind;
    builder.links = link.map(|link| vec![Link::with_context(link.remote())]);
    builder.start_time = started_ms.map(time_of);
    let context = match parent {
        Some(parent) => Context::new().with_remote_span_context(parent.remote()),
        None => Context::new(),
    };
    NEXT_ID.set(id);
    let mut span = tracer.build_with_context(builder, &context);
    NEXT_ID.set(None);
    if span.is_recording() {
        span.set_attributes(attributes());
    }
    Span(Some(span))
}

impl Span {
    /// What hangs below this span; None where it is nothing.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|span| TraceContext::of(span.span_context()))
    }

    /// For work that only a span that somebody will see is worth.
    pub fn recorded(&mut self) -> Option<&mut Self> {
        self.0.as_ref().is_some_and(BoxedSpan::is_recording).then_some(self)
    }

    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(span) = &mut self.0 {
            span.update_name(name());
        }
    }

    /// `kind` is one of a closed set; `message` is for people.
    pub fn fail(&mut self, kind: &str, message: &str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(names::ERROR_TYPE, kind.to_owned()));
            span.set_status(Status::error(message.to_owned()));
        }
    }

    /// Ends it now, and not when it is dropped.
    pub fn end(&mut self) {
        if let Some(span) = &mut self.0 {
            span.end();
        }
    }

    pub(crate) fn end_at(&mut self, ms: i64) {
        if let Some(span) = &mut self.0 {
            span.end_with_timestamp(time_of(ms));
        }
    }
}

fn time_of(ms: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(ms.max(0).unsigned_abs())
}
