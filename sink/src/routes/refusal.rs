//! Why a request is not answered with what it asked for.

use axum::{
    Json,
    extract::rejection::QueryRejection,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use run_store::StoreError;
use schemas::{
    error::{Code, ErrorBody},
    stream::{MOVED_STATUS, Waited},
};
use tracing::{error, warn};

use crate::{seek::SeekError, values::Unread};

#[derive(Debug)]
pub enum Refusal {
    /// Another sink serves the partition, or this one can't tell yet what was shown of it: the question is asked again.
    Moved,
    Error(Box<(Code, ErrorBody)>),
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal::Error(Box::new((code, ErrorBody::new(code, message))))
    }

    pub fn invalid(param: &str, message: impl Into<String>) -> Self {
        let code = Code::InvalidValue;
        Refusal::Error(Box::new((code, ErrorBody::new(code, message).param(param))))
    }

    pub fn run_not_found(run_id: impl ToString) -> Self {
        let (code, run_id) = (Code::RunNotFound, run_id.to_string());
        Refusal::Error(Box::new((code, ErrorBody::new(code, format!("there is no run {run_id}")).run_id(run_id))))
    }

    pub fn thread_not_found(thread_id: &str) -> Self {
        Refusal::new(Code::ThreadNotFound, format!("there is no thread {thread_id}"))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::BadCursor) {
            return Refusal::invalid("cursor", error.to_string());
        }
        warn!(error = %error, "the store did not answer a read");
        Refusal::new(Code::StoreUnavailable, "the store can't be read now; try again")
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Store(error) => error.into(),
            Unread::Missing(_) | Unread::Astray(_) => {
                error!(error = &unread as &dyn std::error::Error, "a row's value is gone");
                Refusal::new(Code::ValueMissing, format!("it can't be shown whole: {unread}"))
            }
        }
    }
}

impl From<SeekError> for Refusal {
    fn from(error: SeekError) -> Self {
        match error {
            SeekError::NotFound(run_id) => Refusal::run_not_found(run_id),
            SeekError::Pruned(_) => Refusal::new(Code::HistoryPruned, error.to_string()),
            SeekError::TooManyAwaited => Refusal::new(Code::QueueFull, error.to_string()),
            SeekError::Store(error) => error.into(),
        }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Refusal::new(Code::InvalidValue, rejection.body_text())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Refusal::Moved => (MOVED_STATUS, Json(Waited::Moved).into_response()),
            Refusal::Error(error) => (error.0.status(), Json(error.1).into_response()),
        };
        (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body).into_response()
    }
}
