//! The one way to a provider's server: a request out, the frames of its answer in, whatever the dialect.
//!
//! An answer that is not whole is an error here: refused, cut off, standing still, or ended without its end.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use reqwest::{RequestBuilder, Response, header::CONTENT_TYPE};
use secrecy::SecretString;
use serde_json::Value;

use super::{Cause, ModelError, ModelEvent, Reach, refusal};
use crate::{
    lines::{SseEvent, SseEvents},
    outgoing::Outgoing,
};

/// Time for the answer to a probe.
const PROBE_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of a refusal that are read for its reason.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// Bytes of an answer that comes in one piece although a stream was asked for.
const WHOLE_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

pub type Event = Result<ModelEvent, ModelError>;

/// Reads one answer of a wire dialect, frame by frame. Frames are server-sent events; those of another framing (Bedrock's)
/// have a name and JSON too.
pub trait Dialect: Default + Send + 'static {
    /// Adds what a frame says. True after the last one: what follows is not read.
    fn take(&mut self, frame: &SseEvent, ready: &mut VecDeque<Event>) -> bool;

    /// The body is over: done where the dialect's terminal marker was seen, else an error.
    fn end_of_body(&self) -> Event;

    /// An answer that came in one piece.
    fn of_whole(whole: &Value) -> Vec<Event>;
}

/// Where a provider's server is, and how long it may take.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// The provider's name in `<provider>/<model>`.
    pub name: String,
    /// Up to and with `/v1`.
    pub base_url: String,
    /// None for servers of one's own that ask for none.
    pub key: Option<SecretString>,
    /// The version of the interface, where the dialect has one.
    pub api_version: Option<String>,
    /// Between the request and the first byte of the answer.
    pub first_byte_ms_max: u64,
    /// Between two pieces of the answer.
    pub idle_ms_max: u64,
}

impl ServerSettings {
    pub fn new(name: impl Into<String>, base_url: impl Into<String>, key: Option<SecretString>) -> Self {
        ServerSettings {
            name: name.into(),
            base_url: base_url.into(),
            key,
            api_version: None,
            first_byte_ms_max: 120_000,
            idle_ms_max: 120_000,
        }
    }
}

/// A provider's server, and what came of the last request to it.
pub struct Server {
    pub settings: ServerSettings,
    pub http: reqwest::Client,
    pub reach: Arc<Reach>,
}

impl Server {
    pub fn new(settings: ServerSettings, http: reqwest::Client) -> Self {
        Server { settings, http, reach: Arc::default() }
    }

    /// Sends the request and reads the answer in the dialect `D`. Dropping the stream ends both.
    pub fn ask<D: Dialect>(&self, outgoing: Outgoing, call: RequestBuilder) -> BoxStream<'static, Event> {
        let first_byte = Duration::from_millis(self.settings.first_byte_ms_max);
        let idle = Duration::from_millis(self.settings.idle_ms_max);
        stream::once(observed(outgoing, Arc::clone(&self.reach), call, first_byte))
            .flat_map(move |opened| match opened {
                Ok(Opened::Stream(body)) => events::<D, _, _>(body, idle),
                Ok(Opened::Whole(whole)) => stream::iter(D::of_whole(&whole)).boxed(),
                Err(error) => stream::iter([Err(error)]).boxed(),
            })
            .boxed()
    }

    /// A server that refuses what costs nothing is there, too.
    pub async fn probe(&self, call: RequestBuilder) {
        let asked = match tokio::time::timeout(PROBE_WITHIN, call.send()).await {
            Err(_) => Err(ModelError::new(Cause::Timeout, format!("no answer within {PROBE_WITHIN:?}"))),
            Ok(Err(error)) => Err(unreachable(error)),
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(refusal::of_status(response.status().as_u16(), response.headers(), b"")),
        };
        self.reach.note(&asked);
    }
}

enum Opened {
    Stream(BoxStream<'static, reqwest::Result<Bytes>>),
    Whole(Value),
}

/// Its span ends with the head of the answer, or with why there is none.
async fn observed(
    mut outgoing: Outgoing,
    reach: Arc<Reach>,
    call: RequestBuilder,
    first_byte: Duration,
) -> Result<Opened, ModelError> {
    let opened = open(call, first_byte, &mut outgoing).await;
    if let Err(error) = &opened {
        outgoing.failed(error.cause.as_str(), &error.message);
    }
    reach.note(&opened);
    opened
}

async fn open(call: RequestBuilder, first_byte: Duration, outgoing: &mut Outgoing) -> Result<Opened, ModelError> {
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
    let whole = serde_json::from_slice(&body)
        .map_err(|_| ModelError::new(Cause::Truncated, "the answer is no JSON, or was cut off"))?;
    Ok(Opened::Whole(whole))
}

/// The body, cut at `limit` bytes.
pub async fn read_bounded(response: Response, limit: usize, wait: Duration) -> Result<Vec<u8>, ModelError> {
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

struct Reading<S, D> {
    body: S,
    frames: SseEvents,
    dialect: D,
    ready: VecDeque<Event>,
    ended: bool,
}

/// Turns the bytes of an event stream into events; ends after the terminal marker or the first error.
pub fn events<D, S, E>(body: S, idle: Duration) -> BoxStream<'static, Event>
where
    D: Dialect,
    S: Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    E: std::error::Error + Send + 'static,
{
    let reading =
        Reading { body, frames: SseEvents::default(), dialect: D::default(), ready: VecDeque::new(), ended: false };
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

impl<S, D, E> Reading<S, D>
where
    D: Dialect,
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: std::error::Error,
{
    async fn read(&mut self, idle: Duration) {
        match tokio::time::timeout(idle, self.body.next()).await {
            Err(_) => self.fail(Cause::Timeout, format!("the answer stood still for {idle:?}")),
            Ok(Some(Err(error))) => self.fail(Cause::Truncated, format!("the answer was cut off: {}", root(&error))),
            Ok(None) => self.finish(),
            Ok(Some(Ok(piece))) => match self.frames.push(&piece) {
                Err(error) => self.fail(Cause::ServerError, error.to_string()),
                Ok(frames) => self.take(&frames),
            },
        }
    }

    fn take(&mut self, frames: &[SseEvent]) {
        for frame in frames {
            if self.dialect.take(frame, &mut self.ready) {
                self.ended = true;
                return;
            }
        }
    }

    fn finish(&mut self) {
        self.ended = true;
        self.ready.push_back(self.dialect.end_of_body());
    }

    fn fail(&mut self, cause: Cause, message: String) {
        self.ended = true;
        self.ready.push_back(Err(ModelError::new(cause, message)));
    }
}

/// What a frame holds; None, and the end of it all in `ready`, where that is no JSON.
pub fn json_of(frame: &SseEvent, ready: &mut VecDeque<Event>) -> Option<Value> {
    let parsed = serde_json::from_str(&frame.data);
    if parsed.is_err() {
        ready.push_back(Err(ModelError::new(Cause::ServerError, "a piece of the answer is no JSON")));
    }
    parsed.ok()
}

/// The body's end came before the dialect's terminal marker.
pub fn without_end() -> ModelError {
    ModelError::new(Cause::Truncated, "the answer ended without its end")
}

pub fn unreachable(error: reqwest::Error) -> ModelError {
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
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::models::openai::Chunks;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_stands_still_times_out() {
        let begun = Bytes::from_static(b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n");
        let body = stream::iter([Ok::<_, Infallible>(begun)]).chain(stream::pending());
        let seen: Vec<Event> = events::<Chunks, _, _>(body, Duration::from_secs(30)).collect().await;
        assert_eq!(seen[0], Ok(ModelEvent::Text("a".to_owned())));
        assert_eq!(seen[1].as_ref().map_err(|error| error.cause), Err(Cause::Timeout));
    }
}
