//! The OpenAI-compatible dialect: chat completions, always streamed. OpenAI, Azure, vLLM, Ollama and many more.
//!
//! Replies are read leniently (as JSON values, not types): what is missing or odd in them is no reason to lose an
//! answer. What is not lenient: an answer without its end is an error.

mod answer;
mod ask;
mod embeddings;
mod refusal;

pub use self::{embeddings::OpenAiEmbeddings, refusal::retry_after};

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream, stream::BoxStream};
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use self::answer::Chunks;
use super::{Cause, ModelError, ModelEvent, ModelProvider, ModelRequest, Reach};
use crate::{
    lines::SseEvents,
    outgoing::{Outgoing, TRACEPARENT},
};

/// Time for the answer to a probe.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a refusal that are read for its reason.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer that comes in one piece although a stream was asked for.
const WHOLE_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A server that speaks chat completions.
pub struct OpenAi {
    settings: OpenAiSettings,
    http: reqwest::Client,
    reach: Arc<Reach>,
}

#[derive(Clone, Debug)]
pub struct OpenAiSettings {
    /// The provider's name in `<provider>/<model>`.
    pub name: String,
    /// Up to and with `/v1`.
    pub base_url: String,
    /// None for servers of one's own that ask for none.
    pub key: Option<SecretString>,
    /// Between the request and the first byte of the answer.
    pub first_byte_ms_max: u64,
    /// Between two pieces of the answer.
    pub idle_ms_max: u64,
}

impl OpenAiSettings {
    pub fn new(name: impl Into<String>, base_url: impl Into<String>, key: Option<SecretString>) -> Self {
        OpenAiSettings {
            name: name.into(),
            base_url: base_url.into(),
            key,
            first_byte_ms_max: 120_000,
            idle_ms_max: 120_000,
        }
    }
}

impl OpenAi {
    pub fn new(settings: OpenAiSettings, http: reqwest::Client) -> Self {
        OpenAi { settings, http, reach: Arc::default() }
    }
}

impl ModelProvider for OpenAi {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>> {
        let settings = &self.settings;
        let url = format!("{}/chat/completions", settings.base_url.trim_end_matches('/'));
        let is_openai = settings.base_url.contains("api.openai.com");
        let outgoing = Outgoing::post(request.trace, &url);
        let mut call =
            self.http.post(url).json(&ask::body(&request, is_openai)).header("x-client-request-id", &request.call_id);
        if let Some(key) = &settings.key {
            call = call.bearer_auth(key.expose_secret());
        }
        // A server of one's own, or a gateway, goes on with the trace; OpenAI has no use for it.
        if let Some(traceparent) = outgoing.traceparent().filter(|_| !is_openai) {
            call = call.header(TRACEPARENT, traceparent);
        }
        let first_byte = Duration::from_millis(settings.first_byte_ms_max);
        let idle = Duration::from_millis(settings.idle_ms_max);
        stream::once(observed(outgoing, Arc::clone(&self.reach), call, first_byte))
            .flat_map(move |opened| match opened {
                Ok(Opened::Stream(body)) => events(body, idle),
                Ok(Opened::Whole(events)) => stream::iter(events).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    fn reach(&self) -> Option<&Reach> {
        Some(&self.reach)
    }

    /// The list of models: a server that has none says so, and is there.
    fn probe(&self) -> BoxFuture<'_, ()> {
        let mut call = self.http.get(format!("{}/models", self.settings.base_url.trim_end_matches('/')));
        if let Some(key) = &self.settings.key {
            call = call.bearer_auth(key.expose_secret());
        }
        async move {
            let asked = match tokio::time::timeout(PROBE_WITHIN, call.send()).await {
                Err(_) => Err(ModelError::new(Cause::Timeout, format!("no answer within {PROBE_WITHIN:?}"))),
                Ok(Err(error)) => Err(unreachable(error)),
                Ok(Ok(response)) if response.status().is_success() => Ok(()),
                Ok(Ok(response)) => {
                    let (status, headers) = (response.status().as_u16(), response.headers().clone());
                    Err(refusal::of_status(status, &headers, b""))
                }
            };
            self.reach.note(&asked);
        }
        .boxed()
    }
}

enum Opened {
    Stream(BoxStream<'static, reqwest::Result<Bytes>>),
    Whole(Vec<Result<ModelEvent, ModelError>>),
}

/// Its span ends with the head of the answer, or with why there is none.
async fn observed(
    mut outgoing: Outgoing,
    reach: Arc<Reach>,
    call: reqwest::RequestBuilder,
    first_byte: Duration,
) -> Result<Opened, ModelError> {
    let opened = open(call, first_byte, &mut outgoing).await;
    if let Err(error) = &opened {
        outgoing.failed(error.cause.as_str(), &error.message);
    }
    reach.note(&opened);
    opened
}

async fn open(
    call: reqwest::RequestBuilder,
    first_byte: Duration,
    outgoing: &mut Outgoing,
) -> Result<Opened, ModelError> {
    let response = tokio::time::timeout(first_byte, call.send())
        .await
        .map_err(|_| ModelError::new(Cause::Timeout, format!("no answer within {first_byte:?}")))?
        .map_err(unreachable)?;
    outgoing.answered(response.status());
    let status = response.status().as_u16();
    if !response.status().is_success() {
        let headers = response.headers().clone();
        let body = read_bounded(response, REFUSAL_BYTES_MAX, first_byte).await.unwrap_or_default();
        return Err(refusal::of_status(status, &headers, &body));
    }
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"));
    if !is_json {
        return Ok(Opened::Stream(response.bytes_stream().boxed()));
    }
    let body = read_bounded(response, WHOLE_ANSWER_BYTES_MAX, first_byte).await?;
    let whole: Value = serde_json::from_slice(&body)
        .map_err(|_| ModelError::new(Cause::Truncated, "the answer is no JSON, or was cut off"))?;
    Ok(Opened::Whole(answer::of_whole(&whole)))
}

/// The body, cut at `limit` bytes.
async fn read_bounded(response: reqwest::Response, limit: usize, wait: Duration) -> Result<Vec<u8>, ModelError> {
    let mut body = response.bytes_stream();
    let mut read = Vec::new();
    while read.len() < limit {
        match tokio::time::timeout(wait, body.next()).await {
            Err(_) => return Err(ModelError::new(Cause::Timeout, format!("the answer stood still for {wait:?}"))),
            Ok(None) => break,
            Ok(Some(piece)) => read.extend_from_slice(&piece.map_err(cut_off)?),
        }
    }
    read.truncate(limit);
    Ok(read)
}

struct Reading<S> {
    body: S,
    sse: SseEvents,
    chunks: Chunks,
    ready: VecDeque<Result<ModelEvent, ModelError>>,
    ended: bool,
}

/// Turns the bytes of an event stream into events; ends after the terminal marker or the first error.
fn events<S, E>(body: S, idle: Duration) -> BoxStream<'static, Result<ModelEvent, ModelError>>
where
    S: futures_util::Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + 'static,
{
    let reading =
        Reading { body, sse: SseEvents::default(), chunks: Chunks::default(), ready: VecDeque::new(), ended: false };
    stream::unfold(reading, move |mut reading| async move {
        loop {
            if let Some(event) = reading.ready.pop_front() {
                reading.ended |= event.is_err();
                return Some((event, reading));
            }
            if reading.ended {
                return None;
            }
            reading.read(idle).await;
        }
    })
    .boxed()
}

impl<S, E> Reading<S>
where
    S: futures_util::Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error,
{
    async fn read(&mut self, idle: Duration) {
        match tokio::time::timeout(idle, self.body.next()).await {
            Err(_) => self.fail(Cause::Timeout, format!("the answer stood still for {idle:?}")),
            Ok(Some(Err(error))) => self.fail(Cause::Truncated, format!("the answer was cut off: {}", root(&error))),
            Ok(None) => self.finish(),
            Ok(Some(Ok(piece))) => match self.sse.push(&piece) {
                Err(error) => self.fail(Cause::ServerError, error.to_string()),
                Ok(events) => {
                    for event in events {
                        self.ended |= self.chunks.take(&event, &mut self.ready);
                    }
                }
            },
        }
    }

    /// The body ended: well, where the model had said why it stopped.
    fn finish(&mut self) {
        self.ended = true;
        self.ready.push_back(self.chunks.end_of_body());
    }

    fn fail(&mut self, cause: Cause, message: String) {
        self.ended = true;
        self.ready.push_back(Err(ModelError::new(cause, message)));
    }
}

fn unreachable(error: reqwest::Error) -> ModelError {
    let cause = if error.is_timeout() { Cause::Timeout } else { Cause::Unreachable };
    ModelError::new(cause, format!("can't be reached: {}", root(&error)))
}

fn cut_off(error: reqwest::Error) -> ModelError {
    ModelError::new(Cause::Truncated, format!("the answer was cut off: {}", root(&error)))
}

/// The innermost cause says what happened; the outer ones say that something did, and may hold the address.
fn root(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests;
