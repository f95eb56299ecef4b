//! Models and those who serve them: one file a wire dialect, all behind [`ModelProvider`]. Dialects over HTTP share the way to the
//! server and back (`http`), and what a refusal means (`refusal`).

pub(crate) mod answers;
pub mod anthropic;
mod breaker;
mod breakers;
pub mod content;
pub mod http;
pub mod openai;
pub mod reach;
pub mod refusal;
pub mod registry;
pub mod scripted;
pub mod semantic;

pub mod mock_server;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures_util::{future::BoxFuture, stream::BoxStream};
use graph::{
    message,
    task::{TaskError, Usage},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use traces::TraceContext;

pub use answers::Answers;
pub use breaker::Change;
pub use breakers::Breakers;
pub use reach::{Reach, Reached};
pub use registry::{ModelRegistry, Target};

use crate::failure;

/// Serves models over one wire dialect. Always streams: that is what makes time-outs, cancellation and the usage of
/// half an answer possible.
pub trait ModelProvider: Send + Sync + 'static {
    /// The provider's name in `<provider>/<model>`, in metrics and in calls.
    fn name(&self) -> &str;

    /// Begins a call. Dropping the stream ends it, upstream too.
    ///
    /// A stream that ends without [`ModelEvent::Done`] is an answer cut short, never a success.
    fn stream(&self, request: ModelRequest) -> BoxStream<'static, Result<ModelEvent, ModelError>>;

    /// What is known of the provider's server; None where it has none.
    fn reach(&self) -> Option<&Reach> {
        None
    }

    /// Asks the server for something that costs nothing, and notes the outcome.
    fn probe(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What is asked, in no provider's dialect.
#[derive(Clone, Debug, Default)]
pub struct ModelRequest {
    /// The provider's own name of the model.
    pub model: String,
    /// Messages as they are stored: LangChain's JSON.
    pub messages: Arc<[Arc<Value>]>,
    /// The JSON Schema of a structured answer.
    pub answer: Option<Arc<Value>>,
    pub settings: ModelSettings,
    /// Identifies the call to the provider, so that it can be found in its logs.
    pub call_id: String,
    /// What the provider's requests hang below.
    pub trace: Option<TraceContext>,
}

/// The graph's settings of a model node, with the request's on top.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelSettings {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub max_tokens: Option<u32>,
    pub stop: Option<Vec<String>>,
    pub seed: Option<i64>,
}

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelEvent {
    Text(String),
    Reasoning(String),
    /// Pieces of one call share an index; the id and the name come with the first.
    ToolCall {
        index: u32,
        id: Option<String>,
        name: Option<String>,
        arguments: String,
    },
    /// The figures of the whole call so far; the last one counts.
    Usage(Usage),
    /// The provider said that the answer is whole.
    Done {
        stop_reason: StopReason,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    Other,
}

impl StopReason {
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::Stop => "stop",
            StopReason::Length => "length",
            StopReason::ToolCalls => "tool_calls",
            StopReason::ContentFilter => "content_filter",
            StopReason::Other => "other",
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelError {
    pub cause: Cause,
    pub message: String,
    pub retry_after: Option<Duration>,
}

/// Why, as far as it decides what follows. The words are those of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    RateLimited,
    Timeout,
    ServerError,
    /// The answer was cut off before its end.
    Truncated,
    /// No connection.
    Unreachable,
    BadRequest,
    ContextLength,
    ContentFilter,
    /// Our key is wrong or may not use this model.
    Denied,
    /// The account's money is gone: another try costs time only.
    QuotaExhausted,
    NotFound,
    Cancelled,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::RateLimited => "rate_limited",
            Cause::Timeout => "timeout",
            Cause::ServerError => "server_error",
            Cause::Truncated => "truncated",
            Cause::Unreachable => "unreachable",
            Cause::BadRequest => "bad_request",
            Cause::ContextLength => "context_length_exceeded",
            Cause::ContentFilter => "content_filter",
            Cause::Denied => "denied",
            Cause::QuotaExhausted => "quota_exhausted",
            Cause::NotFound => "model_not_found",
            Cause::Cancelled => "cancelled",
        }
    }

    /// Whether the same call to the same target may succeed later.
    pub fn is_retryable(self) -> bool {
        match self {
            Cause::RateLimited | Cause::Timeout | Cause::ServerError | Cause::Truncated | Cause::Unreachable => true,
            Cause::BadRequest
            | Cause::ContextLength
            | Cause::ContentFilter
            | Cause::Denied
            | Cause::QuotaExhausted
            | Cause::NotFound
            | Cause::Cancelled => false,
        }
    }

    /// Whether another target may answer what this one can't.
    pub fn is_worth_another_target(self) -> bool {
        self.is_retryable() || matches!(self, Cause::Denied | Cause::QuotaExhausted | Cause::NotFound)
    }
}

impl ModelError {
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        ModelError { cause, message: message.into(), retry_after: None }
    }

    pub fn into_task_error(self, provider: &str, model: &str) -> TaskError {
        let ModelError { cause, message, retry_after } = self;
        TaskError {
            retryable: cause.is_retryable(),
            retry_after_ms: retry_after.map(|wait| wait.as_millis() as u64),
            kind: Some(cause.as_str().to_owned()),
            ..failure::node_failed(format!("{provider}/{model}: {message}"))
        }
    }
}

/// A whole answer, put together from its pieces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    pub text: String,
    pub reasoning: String,
    pub tool_calls: Vec<ToolCall>,
    pub usage: Option<Usage>,
    pub stop_reason: Option<StopReason>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    pub index: u32,
    pub id: String,
    pub name: String,
    /// JSON text.
    pub arguments: String,
}

impl Answer {
    pub fn take(&mut self, event: ModelEvent) {
        match event {
            ModelEvent::Text(delta) if self.text.is_empty() => self.text = delta,
            ModelEvent::Text(delta) => self.text.push_str(&delta),
            ModelEvent::Reasoning(delta) => self.reasoning.push_str(&delta),
            ModelEvent::ToolCall { index, id, name, arguments } => self.take_tool_call(index, id, name, &arguments),
            ModelEvent::Usage(usage) => self.usage = Some(usage),
            ModelEvent::Done { stop_reason } => self.stop_reason = Some(stop_reason),
        }
    }

    fn take_tool_call(&mut self, index: u32, id: Option<String>, name: Option<String>, arguments: &str) {
        let at = match self.tool_calls.iter().position(|call| call.index == index) {
            Some(at) => at,
            None => {
                self.tool_calls.push(ToolCall { index, ..ToolCall::default() });
                self.tool_calls.len() - 1
            }
        };
        let call = &mut self.tool_calls[at];
        if let Some(id) = id.filter(|id| !id.is_empty()) {
            call.id = id;
        }
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            call.name = name;
        }
        call.arguments.push_str(arguments);
    }

    /// The message as it is stored: LangChain's JSON of an AI message.
    pub fn message(&self, id: &str) -> Result<Value, TaskError> {
        let mut message = Map::new();
        message.insert("type".to_owned(), "ai".into());
        message.insert("content".to_owned(), self.text.as_str().into());
        message.insert("id".to_owned(), id.into());
        if !self.tool_calls.is_empty() {
            let calls: Result<Vec<Value>, TaskError> = self.tool_calls.iter().map(ToolCall::as_stored).collect();
            message.insert("tool_calls".to_owned(), calls?.into());
        }
        if let Some(cut @ (StopReason::Length | StopReason::ContentFilter)) = self.stop_reason {
            message.insert("response_metadata".to_owned(), serde_json::json!({"finish_reason": cut.as_str()}));
        }
        if let Some(usage) = self.usage {
            message.insert(
                "usage_metadata".to_owned(),
                serde_json::json!({
                    "input_tokens": usage.input_tokens,
                    "output_tokens": usage.output_tokens,
                    "total_tokens": usage.input_tokens + usage.output_tokens,
                }),
            );
        }
        Ok(message.into())
    }
}

impl ToolCall {
    fn as_stored(&self) -> Result<Value, TaskError> {
        let text = if self.arguments.is_empty() { "{}" } else { &self.arguments };
        let args: Value = serde_json::from_str(text).map_err(|_| {
            failure::retryable(format!("the model called {} with arguments that are no JSON", self.name))
        })?;
        Ok(serde_json::json!({"id": self.id, "name": self.name, "args": args, "type": "tool_call"}))
    }
}

/// More tokens than the request can be: each is a byte of text at least, a message has some of its own, and an image may
/// be many behind a short address.
pub fn input_tokens_max(request: &ModelRequest) -> u64 {
    const OF_A_MESSAGE: u64 = 16;
    // The dearest way to count one: gpt-4o-mini's, 2,833 and 5,667 for each of 8 tiles.
    const OF_AN_IMAGE: u64 = 50_000;
    let bytes = |value: &Value| value.to_string().len() as u64;
    let images = |message: &Value| content::blocks_beside_text(message) as u64 * OF_AN_IMAGE;
    let messages: u64 = request.messages.iter().map(|message| bytes(message) + images(message) + OF_A_MESSAGE).sum();
    messages + request.answer.as_deref().map_or(0, bytes)
}

/// A guess where a provider reports nothing: four characters a token.
pub fn estimated_usage(request: &ModelRequest, answer: &Answer) -> Usage {
    let asked: u64 =
        request.messages.iter().map(|message| graph::expression::estimated_tokens(&message::text(message))).sum();
    let made: u64 = answer.tool_calls.iter().map(|call| graph::expression::estimated_tokens(&call.arguments)).sum();
    Usage {
        input_tokens: asked,
        output_tokens: graph::expression::estimated_tokens(&answer.text) + made,
        reasoning_tokens: graph::expression::estimated_tokens(&answer.reasoning),
        ..Usage::default()
    }
}
