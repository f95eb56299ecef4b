//! Why a request was not done, as the client will read it.
//!
//! A handler returns it; one layer around all routes renders it in the words of the path's family, with the request's
//! id. Nothing else writes error bodies.

use std::{borrow::Cow, fmt::Display, time::Duration};

use axum::response::{IntoResponse, Response};
use event_log::LogError;
use graph::envelope::RunId;
use http::{HeaderName, HeaderValue, StatusCode, header};
use run_store::StoreError;
use schemas::{
    client::Detail,
    error::{BudgetFields, Code, ErrorBody, ErrorFields},
};
use serde_json::{Map, Value};

use crate::deps::SinkUnavailable;

pub(crate) type Answer = Result<Response, Refusal>;

pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
const RETRY_AFTER_S: HeaderValue = HeaderValue::from_static("1");

/// Boxed, since nearly every function can return one.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(Box<Fields>);

#[derive(Clone, Debug)]
struct Fields {
    code: Code,
    message: Cow<'static, str>,
    param: Option<String>,
    run_id: Option<RunId>,
    location: Option<String>,
    /// When it may go better; a second where a retry may help and nothing is said.
    retry_after: Option<Duration>,
    budget: Option<BudgetFields>,
    /// Stands beside `error` in the body: a failed run's state so far.
    beside: Map<String, Value>,
    /// LangGraph's status, where it differs from the code's.
    detail_status: Option<StatusCode>,
}

/// Which family's words an error is rendered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ours,
    LangGraph,
}

impl Family {
    pub fn of(path: &str) -> Self {
        let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
        match first {
            "threads" | "runs" | "assistants" | "store" | "info" | "ok" | "mcp" | "a2a" => Family::LangGraph,
            _ => Family::Ours,
        }
    }
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Refusal(Box::new(Fields {
            code,
            message: message.into(),
            param: None,
            run_id: None,
            location: None,
            retry_after: None,
            budget: None,
            beside: Map::new(),
            detail_status: None,
        }))
    }

    pub fn code(&self) -> Code {
        self.0.code
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    pub fn run_id(mut self, run_id: RunId) -> Self {
        self.0.run_id = Some(run_id);
        self
    }

    pub fn location(mut self, location: String) -> Self {
        self.0.location = Some(location);
        self
    }

    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    pub fn budget(mut self, budget: BudgetFields) -> Self {
        self.0.budget = Some(budget);
        self
    }

    pub fn beside(mut self, name: &str, value: Value) -> Self {
        self.0.beside.insert(name.to_owned(), value);
        self
    }

    pub fn detail_status(mut self, status: StatusCode) -> Self {
        self.0.detail_status = Some(status);
        self
    }

    pub fn not_built(what: impl Display) -> Self {
        Refusal::new(Code::NotImplemented, format!("{what} is not built yet"))
    }

    pub fn run_not_found() -> Self {
        Refusal::new(Code::RunNotFound, "there is no such run")
    }

    pub fn graph_not_found(name: &str) -> Self {
        Refusal::new(
            Code::GraphNotFound,
            format!("there is no graph `{name}`; `GET /graphs` lists them, `PUT /graphs/{name}` publishes one"),
        )
    }

    pub fn store_slow() -> Self {
        Refusal::new(Code::StoreUnavailable, "the store did not answer in time; try again")
    }

    pub fn render(&self, family: Family, request_id: &str) -> Response {
        let fields = &*self.0;
        let status = StatusCode::from_u16(fields.code.status()).expect("codes have valid statuses");
        let (status, body) = match family {
            Family::Ours => (status, self.body(request_id)),
            Family::LangGraph => (
                fields.detail_status.unwrap_or(status),
                serde_json::to_vec(&Detail { detail: fields.message.to_string() }),
            ),
        };
        let body = body.expect("an error has a JSON form");
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
        self.add_headers(status, &mut response);
        response
    }

    pub(crate) fn body(&self, request_id: &str) -> serde_json::Result<Vec<u8>> {
        let fields = &*self.0;
        let mut error = ErrorBody::new(fields.code, fields.message.as_ref()).error;
        error.param = fields.param.clone();
        error.run_id = fields.run_id.map(|id| id.to_string());
        error.request_id = Some(request_id.to_owned());
        error.budget.clone_from(&fields.budget);
        #[derive(serde::Serialize)]
        struct Body<'a> {
            error: ErrorFields,
            #[serde(flatten)]
            beside: &'a Map<String, Value>,
        }
        serde_json::to_vec(&Body { error, beside: &fields.beside })
    }

    /// Clients retry 408, 409, 429 and everything from 500 on by themselves unless told not to.
    fn add_headers(&self, status: StatusCode, response: &mut Response) {
        let retryable = self.0.code.retryable();
        let headers = response.headers_mut();
        let retried_by_default = status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 429);
        if retried_by_default && !retryable {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if retryable && matches!(status.as_u16(), 429 | 503) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_S);
        }
        if let Some(wait) = self.0.retry_after {
            headers.insert(
                header::RETRY_AFTER,
                wait.as_millis().div_ceil(1_000).max(1).to_string().parse().expect("digits"),
            );
            headers.insert(RETRY_AFTER_MS, wait.as_millis().to_string().parse().expect("digits"));
        }
        if let Some(location) = self.0.location.as_ref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(header::LOCATION, location);
        }
        if self.0.code == Code::InvalidApiKey {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
}

/// Carries the refusal to the layer that renders it.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<LogError> for Refusal {
    fn from(error: LogError) -> Self {
        match error {
            LogError::RecordTooLarge { bytes, limit } => Refusal::new(
                Code::RequestTooLarge,
                format!("the request makes a record of {bytes} bytes, and the log takes {limit}; send less input"),
            ),
            LogError::UnknownTopic { .. }
            | LogError::UnknownPartition { .. }
            | LogError::MetadataTooLarge { .. }
            | LogError::StaleOwner { .. }
            | LogError::OutOfRange { .. }
            | LogError::Unavailable { .. }
            | LogError::Misconfigured { .. }
            | LogError::Corrupt { .. }
            | LogError::Closed => {
                tracing::warn!(%error, "the log refused an append");
                Refusal::new(Code::LogUnavailable, "the log can't be written to at the moment; try again")
            }
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BadCursor => {
                Refusal::new(Code::InvalidValue, "that cursor was not made by this list").param("cursor")
            }
            StoreError::TooLarge { bytes, limit } => Refusal::new(
                Code::RequestTooLarge,
                format!("a value of {bytes} bytes is over the limit of {limit} bytes"),
            ),
            StoreError::Unavailable { .. }
            | StoreError::Schema { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Closed => {
                tracing::warn!(%error, "the store refused a call");
                Refusal::new(Code::StoreUnavailable, "the store can't be reached at the moment; try again")
            }
        }
    }
}

impl From<SinkUnavailable> for Refusal {
    fn from(error: SinkUnavailable) -> Self {
        tracing::warn!(%error, "no sink could be asked");
        Refusal::new(Code::StoreUnavailable, "what became of runs can't be read at the moment; try again")
    }
}
