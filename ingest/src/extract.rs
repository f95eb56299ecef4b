//! Parts of a request's address, with refusals in our words.

use axum::extract::{FromRequestParts, Path, Query};
use graph::envelope::{Millis, RunId};
use http::request::Parts;
use schemas::error::Code;
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};

use crate::refusal::Refusal;

/// The named parts of the path.
pub(crate) struct At<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(At(value)),
            Err(_) => Err(Refusal::new(Code::NotFound, "this path can't be read; percent-encode UTF-8 in it")),
        }
    }
}

/// The query; the type decides whether unknown names are refused.
pub(crate) struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Params(value)),
            Err(rejection) => {
                let text = rejection.body_text();
                // Axum's words, then the parameter's name, then serde's.
                let says = text.find("unknown field `").map_or(text.as_str(), |at| &text[at..]);
                Err(crate::body::data_error(says, String::new()))
            }
        }
    }
}

/// Yes or no in a query, as clients in several languages write it.
pub(crate) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "true" | "True" | "1" => Ok(true),
        "false" | "False" | "0" | "" => Ok(false),
        other => Err(de::Error::custom(format!("`{other}` is neither true nor false"))),
    }
}

/// A run's id; anything else names no run.
pub(crate) fn run_id(text: &str) -> Result<RunId, Refusal> {
    RunId::try_parse(text).map_err(|_| Refusal::run_not_found())
}

/// RFC 3339, or milliseconds since the epoch.
pub(crate) fn millis(text: &str, param: &str) -> Result<Millis, Refusal> {
    if let Ok(millis) = text.parse() {
        return Ok(millis);
    }
    let bad = |_| {
        Refusal::new(Code::InvalidValue, "give a time like 2026-01-31T12:00:00Z, or milliseconds since 1970")
            .param(param)
    };
    text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(bad)
}

/// RFC 3339, UTC.
pub(crate) fn rfc3339(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or_default().to_string()
}
