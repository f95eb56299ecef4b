//! The span of a request: below the client's own where it sent a `traceparent`, and above all that its run does.

use std::sync::{Arc, Mutex, PoisonError};

use graph::envelope::RunId;
use http::{Method, Request, StatusCode};
use opentelemetry::KeyValue;
use traces::{Kind, Span, TraceContext, names};

use crate::layers::RequestId;

/// Asked every few seconds by machines: of no use in traces.
const UNTRACED: [&str; 3] = ["/health", "/ready", "/metrics"];

/// Nothing where tracing is off and the client sent no context.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestTrace {
    context: Option<TraceContext>,
    /// Shared with the handler, which knows the run.
    span: Option<Arc<Mutex<Span>>>,
}

impl RequestTrace {
    pub fn begin<B>(request: &Request<B>, id: &RequestId) -> Self {
        let given = request.headers().get("traceparent").and_then(|value| TraceContext::parse(value.to_str().ok()?));
        if !traces::is_on() || UNTRACED.contains(&request.uri().path()) {
            return RequestTrace { context: given, span: None };
        }
        let name = || request.method().as_str().to_owned().into();
        let span = traces::begin(given, Kind::Server, name, || {
            vec![
                KeyValue::new(names::HTTP_METHOD, request.method().as_str().to_owned()),
                KeyValue::new(names::REQUEST, id.0.to_string()),
            ]
        });
        RequestTrace { context: span.context().or(given), span: Some(Arc::new(Mutex::new(span))) }
    }

    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// What a run's envelope says.
    pub fn traceparent(&self) -> Option<String> {
        self.context.map(|context| context.to_string())
    }

    pub fn names_run(&self, run: RunId) {
        self.with(|span| {
            if let Some(span) = span.recorded() {
                span.set(names::RUN, run.to_string());
            }
        });
    }

    /// The head of the answer is there; a stream's body may follow for long.
    pub fn end(&mut self, method: &Method, route: &str, status: StatusCode) {
        self.with(|span| {
            if let Some(span) = span.recorded() {
                span.rename(|| format!("{method} {route}"));
                span.set(names::HTTP_ROUTE, route.to_owned());
                span.set(names::HTTP_STATUS, i64::from(status.as_u16()));
                if status.is_server_error() {
                    span.fail(status.as_str(), "");
                }
            }
            span.end();
        });
    }

    fn with(&self, then: impl FnOnce(&mut Span)) {
        if let Some(span) = &self.span {
            then(&mut span.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
