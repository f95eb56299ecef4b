//! The chunks of a streamed answer, as events.

use std::collections::VecDeque;

use graph::task::Usage;
use serde_json::Value;

use crate::{
    lines::SseEvent,
    models::{
        ModelEvent, StopReason,
        http::{Dialect, Event, json_of, without_end},
        refusal,
    },
};

/// What was seen of an answer so far.
#[derive(Debug, Default)]
pub struct Chunks {
    stop_reason: Option<StopReason>,
}

impl Dialect for Chunks {
    fn take(&mut self, frame: &SseEvent, ready: &mut VecDeque<Event>) -> bool {
        let data = frame.data.trim();
        if data.starts_with("[DONE]") {
            ready.push_back(self.end_of_body());
            return true;
        }
        if data.is_empty() {
            return false;
        }
        let Some(chunk) = json_of(frame, ready) else { return true };
        if let Some(error) = chunk.get("error").filter(|error| is_truthy(error)) {
            ready.push_back(Err(refusal::in_band(error)));
            return true;
        }
        if frame.event == "error" {
            ready.push_back(Err(refusal::in_band(&chunk)));
            return true;
        }
        for choice in chunk.get("choices").and_then(Value::as_array).into_iter().flatten() {
            self.choice(choice, ready);
        }
        ready.extend(usage_in(&chunk).map(|usage| Ok(ModelEvent::Usage(usage))));
        false
    }

    /// The stream said `[DONE]`, or just ended, for some servers never say it: a success only where the model had said
    /// why it stopped.
    fn end_of_body(&self) -> Event {
        self.stop_reason.map(|stop_reason| ModelEvent::Done { stop_reason }).ok_or_else(without_end)
    }

    fn of_whole(whole: &Value) -> Vec<Event> {
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
        ready.extend(usage_in(whole).map(|usage| Ok(ModelEvent::Usage(usage))));
        ready.push_back(chunks.end_of_body());
        ready.into()
    }
}

impl Chunks {
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
        let blocks = delta.get("content").and_then(Value::as_array);
        ready.extend(blocks.into_iter().flatten().flat_map(block).map(Ok));
        let calls = delta.get("tool_calls").and_then(Value::as_array);
        ready.extend(calls.into_iter().flatten().enumerate().map(|(place, call)| Ok(tool_call(place, call))));
    }
}

fn text(delta: &Value, name: &str) -> Option<String> {
    delta.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Mistral's models that think send blocks in place of text.
fn block(block: &Value) -> Vec<ModelEvent> {
    let thoughts = block.get("thinking").and_then(Value::as_array);
    let thoughts = thoughts.into_iter().flatten().filter_map(|thought| text(thought, "text"));
    thoughts.map(ModelEvent::Reasoning).chain(text(block, "text").map(ModelEvent::Text)).collect()
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

/// In its own place, or in Groq's.
fn usage_in(chunk: &Value) -> Option<Usage> {
    ["/usage", "/x_groq/usage"].iter().find_map(|place| usage(chunk.pointer(place)?))
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
        // The second is DeepSeek's name.
        cached_tokens: count("/prompt_tokens_details/cached_tokens")
            .or_else(|| count("/prompt_cache_hit_tokens"))
            .unwrap_or(0),
        cache_write_tokens: count("/prompt_tokens_details/cache_write_tokens").unwrap_or(0),
        reasoning_tokens: count("/completion_tokens_details/reasoning_tokens").unwrap_or(0),
        ..Usage::default()
    })
}

fn is_truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}
