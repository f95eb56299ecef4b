//! A program of the user's own behind an address: one POST, its refusal, and the body that comes back piece by piece.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use graph::{spec::HttpCall, task::TaskError};
use reqwest::{
    Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use traces::TraceContext;

use super::{super::resolve, reply};
use crate::{
    failure,
    models::refusal::retry_after,
    nodes::Environment,
    outgoing::{Outgoing, TRACEPARENT},
};

/// Bytes of an answer.
pub const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a refusal that are read for its reason.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
const REFUSAL_CHARS_MAX: usize = 500;

pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What posts to users' programs.
#[derive(Clone)]
pub struct Services {
    pub http: reqwest::Client,
    pub environment: Environment,
}

/// How a request is sent along with what it says.
#[derive(Clone, Copy)]
pub struct Post<'a> {
    pub idempotency_key: &'a str,
    /// Media types that the answer may have.
    pub accept: &'static str,
    pub trace: Option<TraceContext>,
}

pub const JSON: &str = "application/json";

/// A successful answer, as it comes.
pub struct Body {
    pub media: String,
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    read: usize,
}

impl Services {
    pub async fn post(&self, call: &HttpCall, ask: &impl Serialize, post: Post<'_>) -> Result<Body, TaskError> {
        let url = resolve(&call.url, &self.environment)?;
        let mut outgoing = Outgoing::post(post.trace, &url);
        let mut request = self.http.post(url);
        if let Some(traceparent) = outgoing.traceparent() {
            request = request.header(TRACEPARENT, traceparent);
        }
        let request = request
            .headers(self.headers(call)?)
            .header(ACCEPT, post.accept)
            .header(IDEMPOTENCY_KEY, post.idempotency_key)
            .json(ask);
        let response = request.send().await.map_err(|error| {
            // The address may hold a secret.
            let message = format!("the node's service can't be reached: {}", root(error));
            outgoing.failed("unreachable", &message);
            failure::of_kind(failure::retryable(message), "unreachable")
        })?;
        outgoing.answered(response.status());
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        Ok(Body { media: media.to_owned(), bytes: Box::pin(response.bytes_stream()), read: 0 })
    }

    /// The whole answer as one value.
    pub async fn post_for<T: DeserializeOwned>(
        &self,
        call: &HttpCall,
        ask: &impl Serialize,
        post: Post<'_>,
    ) -> Result<T, TaskError> {
        let mut body = self.post(call, ask, post).await?;
        let mut whole = Vec::new();
        while let Some(bytes) = body.next().await? {
            whole.extend_from_slice(&bytes);
        }
        serde_json::from_slice(&whole).map_err(|error| reply::bad(&error.to_string()))
    }

    fn headers(&self, call: &HttpCall) -> Result<HeaderMap, TaskError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            let parsed = HeaderName::try_from(name)
                .map_err(|_| failure::node_failed(format!("{name:?} is no name of an HTTP header")))?;
            let mut value = HeaderValue::try_from(resolve(value, &self.environment)?)
                .map_err(|_| failure::node_failed(format!("the value of header {name} is no HTTP header value")))?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(headers)
    }
}

impl Body {
    /// The next piece; None at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, TaskError> {
        let Some(bytes) = self.bytes.next().await else { return Ok(None) };
        let bytes = bytes.map_err(|error| reply::cut_off(&root(error)))?;
        self.read += bytes.len();
        if self.read > ANSWER_BYTES_MAX {
            return Err(failure::node_failed(format!("the node's answer is over {ANSWER_BYTES_MAX} bytes")));
        }
        Ok(Some(bytes))
    }
}

/// A status that is no success: 408, 425, 429 and 5xx may succeed later. The body may say more.
async fn refused(response: Response) -> TaskError {
    let status = response.status().as_u16();
    let wait = retry_after(response.headers());
    let body = read_refusal(response).await;
    let mut error = serde_json::from_slice::<Value>(&body)
        .ok()
        .and_then(|body| reply::error_of(body.get("error")?))
        .unwrap_or_else(|| {
            let said: String = String::from_utf8_lossy(&body).chars().take(REFUSAL_CHARS_MAX).collect();
            failure::node_failed(format!("the node's service answered {status}: {said}"))
        });
    error.retryable |= matches!(status, 408 | 425 | 429 | 500..);
    error.retry_after_ms = error.retry_after_ms.or(wait.map(|wait| wait.as_millis() as u64));
    if error.kind.is_none() {
        error.kind = Some(format!("http_{status}"));
    }
    error
}

async fn read_refusal(response: Response) -> Vec<u8> {
    let mut body = response.bytes_stream();
    let mut read = Vec::new();
    while let Some(Ok(bytes)) = body.next().await {
        read.extend_from_slice(&bytes);
        if read.len() >= REFUSAL_BYTES_MAX {
            break;
        }
    }
    read
}

/// The innermost cause, without the address.
fn root(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
