//! OpenAI's chat completions, as its clients send and read them: <https://platform.openai.com/docs/api-reference/chat>.

use std::collections::BTreeMap;

use graph::{message, task::Usage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::error::ErrorBody;

/// The body of `POST /v1/chat/completions`. What it doesn't name is ignored, as OpenAI's newest fields would be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CompletionRequest {
    /// A graph's name.
    pub model: String,
    /// The whole conversation; with `thread_id` only what is new.
    pub messages: Vec<Value>,
    pub stream: bool,
    pub stream_options: Option<StreamOptions>,
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub max_completion_tokens: Option<u32>,
    /// The former name of `max_completion_tokens`.
    pub max_tokens: Option<u32>,
    /// At most 1: a graph runs once.
    pub n: Option<u32>,
    /// None: a graph has tools of its own.
    pub tools: Option<Vec<Value>>,
    pub functions: Option<Vec<Value>>,
    /// `{"type": "text"}`: what a graph answers, it decides.
    pub response_format: Option<Value>,
    pub logprobs: Option<bool>,
    /// Kept with the run.
    pub metadata: Option<BTreeMap<String, Value>>,
    pub user: Option<String>,
    pub safety_identifier: Option<String>,
    /// Beyond OpenAI's: a conversation that is kept here.
    pub thread_id: Option<String>,
    /// Beyond OpenAI's: the graph's context.
    pub context: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct StreamOptions {
    /// The last chunk before `[DONE]` has the tokens of the whole run.
    pub include_usage: bool,
}

/// A run's answer, whole or in chunks: `object` says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Completion {
    /// `chatcmpl-` and the run's id.
    pub id: String,
    pub object: String,
    /// Seconds since 1970; the same in all chunks.
    pub created: u64,
    /// The graph's name.
    pub model: String,
    /// One, but in the chunk that has the usage.
    pub choices: Vec<Choice>,
    /// Of a stream only where it was asked for, and null in all chunks but the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<CompletionUsage>>,
    /// Beyond OpenAI's, where the run ended by asking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupts: Option<Value>,
    /// Beyond OpenAI's: the conversation that is kept here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread_id: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    pub index: u32,
    /// Of a whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Said>,
    /// Of a chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delta: Option<Said>,
    pub logprobs: Option<Value>,
    pub finish_reason: Option<FinishReason>,
}

/// A message of the assistant's, or a piece of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Said {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Option<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Option<String>>,
    /// As vLLM and DeepSeek name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// Of a chunk: which call this is a piece of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub function: CalledFunction,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CalledFunction {
    pub name: String,
    /// JSON as text.
    pub arguments: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompletionUsage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
    pub prompt_tokens_details: PromptTokens,
    pub completion_tokens_details: CompletionTokens,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PromptTokens {
    pub cached_tokens: u64,
    pub cache_write_tokens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CompletionTokens {
    pub reasoning_tokens: u64,
}

/// A graph that chats, as a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    pub id: String,
    pub object: String,
    /// Seconds since 1970.
    pub created: u64,
    pub owned_by: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Models {
    pub object: String,
    pub data: Vec<Model>,
}

impl Completion {
    /// An answer of the run with nothing in it yet. `object` is `chat.completion` or `chat.completion.chunk`.
    pub fn of(run: Uuid, model: &str, object: &str) -> Self {
        let created = run.get_timestamp().map_or(0, |made| made.to_unix().0);
        Completion {
            id: format!("chatcmpl-{}", run.simple()),
            object: object.to_owned(),
            created,
            model: model.to_owned(),
            choices: Vec::new(),
            usage: None,
            interrupts: None,
            thread_id: None,
        }
    }
}

impl From<Usage> for CompletionUsage {
    fn from(usage: Usage) -> Self {
        let Usage {
            input_tokens,
            output_tokens,
            cached_tokens,
            cache_write_tokens,
            reasoning_tokens,
            cost_nano_usd: _,
            calls_unpriced: _,
        } = usage;
        CompletionUsage {
            prompt_tokens: input_tokens,
            completion_tokens: output_tokens,
            total_tokens: input_tokens + output_tokens,
            prompt_tokens_details: PromptTokens { cached_tokens, cache_write_tokens },
            completion_tokens_details: CompletionTokens { reasoning_tokens },
        }
    }
}

impl Said {
    /// What the last message of a run says, and why it ends there. The message is LangChain's JSON of an `ai` message.
    pub fn of(message: &Value) -> (Self, FinishReason) {
        let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        let tool_calls: Vec<ToolCall> = calls.iter().map(ToolCall::of).collect();
        let text = message::text(message);
        let reason = match message["response_metadata"]["finish_reason"].as_str() {
            Some("length") => FinishReason::Length,
            Some("content_filter") => FinishReason::ContentFilter,
            _ if !tool_calls.is_empty() => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        let content = Some(text).filter(|text| !text.is_empty() || tool_calls.is_empty());
        let said = Said {
            role: Some("assistant".to_owned()),
            content: Some(content),
            refusal: Some(None),
            reasoning_content: None,
            tool_calls,
        };
        (said, reason)
    }
}

impl ToolCall {
    /// Of LangChain's `{id, name, args}`.
    fn of(call: &Value) -> Self {
        let arguments = match &call["args"] {
            Value::String(text) => text.clone(),
            args => args.to_string(),
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        ToolCall {
            index: None,
            id: text(&call["id"]),
            kind: "function".to_owned(),
            function: CalledFunction { name: text(&call["name"]), arguments },
        }
    }
}

/// What a person is asked, in words: a text as it is, all else as JSON.
pub fn question(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The frame that ends a stream in the place of `[DONE]` where it broke off: clients raise it.
pub fn error_frame(error: &ErrorBody) -> Vec<u8> {
    format!("data: {}\n\n", json!(error)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_says_why_it_ends() {
        let check = |message: Value, expect: Value, reason: FinishReason| {
            let (said, why) = Said::of(&message);
            assert_eq!((serde_json::to_value(said).unwrap(), why), (expect, reason), "{message}");
        };
        check(
            json!({"type": "ai", "content": "hi"}),
            json!({"role": "assistant", "content": "hi", "refusal": null}),
            FinishReason::Stop,
        );
        check(
            json!({"content": [{"type": "text", "text": "a"}, {"type": "image"}, "b"], "response_metadata": {"finish_reason": "length"}}),
            json!({"role": "assistant", "content": "ab", "refusal": null}),
            FinishReason::Length,
        );
        check(
            json!({"content": "", "tool_calls": [{"id": "c", "name": "f", "args": {"n": 1}}, {"id": "d", "name": "g", "args": "{"}]}),
            json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"n\":1}"}},
                {"id": "d", "type": "function", "function": {"name": "g", "arguments": "{"}},
            ]}),
            FinishReason::ToolCalls,
        );
        check(
            json!({"content": "", "response_metadata": {"finish_reason": "content_filter"}}),
            json!({"role": "assistant", "content": "", "refusal": null}),
            FinishReason::ContentFilter,
        );
    }
}
