//! A request to somebody else's server: its span, and the header by which they can go on with the trace.

use std::borrow::Cow;

use opentelemetry::KeyValue;
use reqwest::{StatusCode, Url};
use traces::{Kind, Span, TraceContext, names};

pub const TRACEPARENT: &str = "traceparent";

pub struct Outgoing {
    span: Span,
    below: Option<TraceContext>,
}

impl Outgoing {
    /// Begins a POST. Of the address only the host is told: the rest may hold a secret.
    pub fn post(parent: Option<TraceContext>, url: &str) -> Self {
        let Some(parent) = parent else { return Outgoing { span: Span::default(), below: None } };
        let name = || Cow::Borrowed("POST");
        let span = traces::begin(Some(parent), Kind::Client, name, || {
            let url = Url::parse(url).ok();
            let host = url.as_ref().and_then(Url::host_str).unwrap_or_default().to_owned();
            let port = url.as_ref().and_then(Url::port_or_known_default).unwrap_or_default();
            vec![
                KeyValue::new(names::HTTP_METHOD, "POST"),
                KeyValue::new(names::SERVER_ADDRESS, host),
                KeyValue::new(names::SERVER_PORT, i64::from(port)),
            ]
        });
        Outgoing { below: span.context().or(Some(parent)), span }
    }

    /// What the other side is told.
    pub fn traceparent(&self) -> Option<String> {
        self.below.map(|context| context.to_string())
    }

    pub fn answered(&mut self, status: StatusCode) {
        self.span.set(names::HTTP_STATUS, i64::from(status.as_u16()));
        if !status.is_success() {
            self.span.fail(status.as_str(), status.canonical_reason().unwrap_or_default());
        }
    }

    pub fn failed(&mut self, kind: &str, message: &str) {
        self.span.fail(kind, message);
    }
}
