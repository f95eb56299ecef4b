//! `http`: a user's service in any language. POST in, an update or an error out (docs/node-api.md).

mod reply;

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures_util::StreamExt;
use graph::{
    envelope::GraphRef,
    spec::HttpNode,
    task::{TaskError, TaskPath},
};
use reqwest::{
    Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use schemas::record::TokenKind;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use self::reply::{Piece, Pieces};
use super::{Environment, Node, NodeContext, NodeInput, NodeOutput, resolve};
use crate::{
    failure,
    models::openai::retry_after,
    outgoing::{Outgoing, TRACEPARENT},
};

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a refusal that are read for its reason.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
const REFUSAL_CHARS_MAX: usize = 500;

pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

pub struct Http {
    spec: HttpNode,
    http: reqwest::Client,
    environment: Environment,
}

/// What is posted.
#[derive(Serialize)]
struct Ask<'a> {
    task_id: Uuid,
    issue: u32,
    attempt: u32,
    execution: Uuid,
    idempotency_key: &'a str,
    node: &'a str,
    graph: &'a GraphRef,
    run_id: Uuid,
    thread_id: Option<&'a str>,
    tenant: &'a str,
    step: i64,
    checkpoint_ns: &'a str,
    path: &'a TaskPath,
    triggers: &'a [String],
    input: NodeInput<'a>,
    context: &'a Value,
    configurable: &'a BTreeMap<String, Value>,
    metadata: &'a BTreeMap<String, Value>,
    tags: &'a [String],
    answers: &'a [Arc<Value>],
}

impl Http {
    pub fn new(spec: &HttpNode, http: reqwest::Client, environment: Environment) -> Self {
        Http { spec: spec.clone(), http, environment }
    }

    fn ask(
        &self,
        input: NodeInput<'_>,
        context: &NodeContext,
    ) -> Result<(reqwest::RequestBuilder, Outgoing), TaskError> {
        let (envelope, task) = (context.envelope(), context.task());
        let idempotency_key = context.idempotency_key();
        let ask = Ask {
            task_id: task.id,
            issue: task.issue,
            attempt: context.attempt(),
            execution: context.execution(),
            idempotency_key: &idempotency_key,
            node: &task.node,
            graph: &envelope.graph,
            run_id: envelope.run_id,
            thread_id: envelope.thread_id.as_deref(),
            tenant: &envelope.tenant,
            step: task.step,
            checkpoint_ns: &task.checkpoint_ns,
            path: &task.path,
            triggers: &task.triggers,
            input,
            context: &task.context,
            configurable: &task.configurable,
            metadata: &envelope.metadata,
            tags: &envelope.tags,
            answers: &task.answers,
        };
        let accepted = if self.spec.stream {
            "application/x-ndjson, text/event-stream, application/json"
        } else {
            "application/json"
        };
        let url = resolve(&self.spec.url, &self.environment)?;
        let outgoing = Outgoing::post(context.trace, &url);
        let mut request = self.http.post(url);
        if let Some(traceparent) = outgoing.traceparent() {
            request = request.header(TRACEPARENT, traceparent);
        }
        let request = request
            .headers(self.headers()?)
            .header(ACCEPT, accepted)
            .header(IDEMPOTENCY_KEY, &idempotency_key)
            .json(&ask);
        Ok((request, outgoing))
    }

    fn headers(&self) -> Result<HeaderMap, TaskError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.spec.headers {
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

#[async_trait]
impl Node for Http {
    async fn run(&self, input: NodeInput<'_>, context: &NodeContext) -> Result<NodeOutput, TaskError> {
        let (request, mut outgoing) = self.ask(input, context)?;
        let response = request.send().await.map_err(|error| {
            // The address may hold a secret.
            let message = format!("the node's service can't be reached: {}", root(error));
            outgoing.failed("unreachable", &message);
            failure::of_kind(failure::retryable(message), "unreachable")
        })?;
        outgoing.answered(response.status());
        drop(outgoing);
        if !response.status().is_success() {
            return Err(refused(response).await);
        }
        let media = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut pieces = Pieces::of(media);
        let mut body = response.bytes_stream();
        let mut read = 0;
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(|error| reply::cut_off(&root(error)))?;
            read += bytes.len();
            if read > ANSWER_BYTES_MAX {
                return Err(failure::node_failed(format!("the node's answer is over {ANSWER_BYTES_MAX} bytes")));
            }
            for piece in pieces.push(&bytes)? {
                if let Some(output) = take(piece, context)? {
                    return Ok(output);
                }
            }
        }
        take(pieces.finish()?, context)?.ok_or_else(|| reply::cut_off("it ended without an update or an error"))
    }
}

/// Puts a delta out, or ends the answer.
fn take(piece: Piece, context: &NodeContext) -> Result<Option<NodeOutput>, TaskError> {
    match piece {
        Piece::Token { text, message_id } => {
            let made = message_id.is_none().then(|| context.message_id(0));
            let id = message_id.or(made).unwrap_or_default();
            context.tokens().emit(TokenKind::Text, &id, &text);
            Ok(None)
        }
        Piece::Custom(value) => {
            context.tokens().emit(TokenKind::Custom, "", &value.to_string());
            Ok(None)
        }
        Piece::Update(update) => Ok(Some(NodeOutput::update(update))),
        Piece::Error(error) => Err(error),
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
