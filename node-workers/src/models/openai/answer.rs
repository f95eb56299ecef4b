//! The chunks of a streamed answer, as events.

use std::collections::VecDeque;

use graph::task::Usage;
use serde_json::Value;

use super::refusal;
use crate::{
    lines::SseEvent,
    models::{Cause, ModelError, ModelEvent, StopReason},
};

type Event = Result<ModelEvent, ModelError>;

/// What was seen of an answer so far.
#[derive(Debug, Default)]
pub struct Chunks {
    stop_reason: Option<StopReason>,
}

impl Chunks {
    /// Adds the events of one chunk; true after the last one.
    pub fn take(&mut self, event: &SseEvent, ready: &mut VecDeque<Event>) -> bool {
        let data = event.data.trim();
        if data.starts_with("[DONE]") {
            ready.push_back(self.end_of_body());
            return true;
        }
        if data.is_empty() {
            return false;
        }
        let Ok(chunk) = serde_json::from_str::<Value>(data) else {
            ready.push_back(Err(ModelError::new(Cause::ServerError, "a piece of the answer is no JSON")));
            return true;
        };
        if let Some(error) = chunk.get("error").filter(|error| is_truthy(error)) {
            ready.push_back(Err(refusal::in_band(error)));
            return true;
        }
        if event.event == "error" {
            ready.push_back(Err(refusal::in_band(&chunk)));
            return true;
        }
        for choice in chunk.get("choices").and_then(Value::as_array).into_iter().flatten() {
            self.choice(choice, ready);
        }
        if let Some(usage) = chunk.get("usage").and_then(usage) {
            ready.push_back(Ok(ModelEvent::Usage(usage)));
        }
        false
    }

    /// The stream said `[DONE]`, or just ended: success only where the model had said why it stopped, or the server
    /// that it is done.
    pub fn end_of_body(&self) -> Event {
        match self.stop_reason {
            Some(stop_reason) => Ok(ModelEvent::Done { stop_reason }),
            None => Err(ModelError::new(Cause::Truncated, "the answer ended without its end")),
        }
    }

    fn choice(&mut self, choice: &Value, ready: &mut VecDeque<Event>) {
        if choice.get("index").and_then(Value::as_u64).unwrap_or(0) != 0 {
            return;
        }
        if let Some(delta) = choice.get("delta") {
            self.delta(delta, ready);
        }
        if let Some(reason) = choice.get("finish_reason").and_then(Value::as_str).filter(|reason| !reason.is_empty()) {
            self.stop_reason = Some(stop_reason(reason));
        }
    }

    fn delta(&self, delta: &Value, ready: &mut VecDeque<Event>) {
        for name in ["reasoning_content", "reasoning"] {
            if let Some(text) = text(delta, name) {
                ready.push_back(Ok(ModelEvent::Reasoning(text)));
                break;
            }
        }
        for name in ["content", "refusal"] {
            if let Some(text) = text(delta, name) {
                ready.push_back(Ok(ModelEvent::Text(text)));
            }
        }
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        ready.extend(calls.into_iter().flatten().enumerate().map(|(place, call)| Ok(tool_call(place, call))));
    }
}

/// A completion that came in one piece.
pub fn of_whole(whole: &Value) -> Vec<Event> {
    if let Some(error) = whole.get("error").filter(|error| is_truthy(error)) {
        return vec![Err(refusal::in_band(error))];
    }
    let mut ready = VecDeque::new();
    let mut chunks = Chunks::default();
    if let Some(choice) = whole.pointer("/choices/0") {
        if let Some(message) = choice.get("message") {
            chunks.delta(message, &mut ready);
        }
        chunks.choice(choice, &mut ready);
    }
    ready.extend(whole.get("usage").and_then(usage).map(|usage| Ok(ModelEvent::Usage(usage))));
    ready.push_back(chunks.end_of_body());
    ready.into()
}

fn text(delta: &Value, name: &str) -> Option<String> {
    delta.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Servers that leave the index out send each call whole, in its place.
fn tool_call(place: usize, call: &Value) -> ModelEvent {
    let field = |pointer: &str| call.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let arguments = match call.pointer("/function/arguments") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(parsed) => parsed.to_string(),
    };
    ModelEvent::ToolCall {
        index: call.get("index").and_then(Value::as_u64).unwrap_or(place as u64) as u32,
        id: field("/id"),
        name: field("/function/name"),
        arguments,
    }
}

fn stop_reason(reason: &str) -> StopReason {
    match reason {
        "stop" => StopReason::Stop,
        "length" => StopReason::Length,
        "tool_calls" | "function_call" => StopReason::ToolCalls,
        "content_filter" => StopReason::ContentFilter,
        _ => StopReason::Other,
    }
}

/// None for `null` and `{}`: nothing was reported, which isn't zero.
fn usage(usage: &Value) -> Option<Usage> {
    let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64);
    let (asked, made) = (count("/prompt_tokens"), count("/completion_tokens"));
    if asked.is_none() && made.is_none() {
        return None;
    }
    Some(Usage {
        input_tokens: asked.unwrap_or(0),
        output_tokens: made.unwrap_or(0),
        cached_tokens: count("/prompt_tokens_details/cached_tokens").unwrap_or(0),
        cache_write_tokens: count("/prompt_tokens_details/cache_write_tokens").unwrap_or(0),
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens").unwrap_or(0),
    })
}

fn is_truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}
