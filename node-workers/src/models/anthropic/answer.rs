//! The frames of a streamed message, as events.

use std::collections::{BTreeSet, VecDeque};

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

/// What was seen of a message so far.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Blocks that are calls of our tools; the vendor's own tools run over there.
    calls: BTreeSet<u64>,
    stop_reason: Option<StopReason>,
    tokens: Tokens,
}

impl Dialect for Blocks {
    fn take(&mut self, frame: &SseEvent, ready: &mut VecDeque<Event>) -> bool {
        if frame.data.trim().is_empty() {
            return false;
        }
        let Some(data) = json_of(frame, ready) else { return true };
        match data.get("type").and_then(Value::as_str).unwrap_or(&frame.event) {
            "message_start" => self.tokens.take(data.pointer("/message/usage")),
            "content_block_start" => self.begin(index(&data), &data["content_block"], ready),
            "content_block_delta" => self.delta(index(&data), &data["delta"], ready),
            "message_delta" => self.end(&data, ready),
            "message_stop" => {
                ready.push_back(self.done());
                return true;
            }
            "error" => {
                ready.push_back(Err(refusal::in_band(data.get("error").unwrap_or(&data))));
                return true;
            }
            // `ping`, `content_block_stop`, and what later versions add.
            _ => {}
        }
        false
    }

    /// Only `message_stop` says that the message is whole.
    fn end_of_body(&self) -> Event {
        Err(without_end())
    }

    fn of_whole(whole: &Value) -> Vec<Event> {
        if let Some(error) = whole.get("error").filter(|error| !error.is_null()) {
            return vec![Err(refusal::in_band(error))];
        }
        let mut ready = VecDeque::new();
        let mut blocks = Blocks::default();
        for (place, block) in whole.get("content").and_then(Value::as_array).into_iter().flatten().enumerate() {
            blocks.begin(place as u64, block, &mut ready);
        }
        blocks.stop_reason = stop_reason(whole);
        blocks.tokens.take(whole.get("usage"));
        ready.extend(blocks.tokens.usage().map(|usage| Ok(ModelEvent::Usage(usage))));
        ready.push_back(blocks.done());
        ready.into()
    }
}

impl Blocks {
    /// A block begins, as a rule with nothing in it.
    fn begin(&mut self, index: u64, block: &Value, ready: &mut VecDeque<Event>) {
        match block.get("type").and_then(Value::as_str) {
            Some("text") => push_text(block, "text", ModelEvent::Text, ready),
            Some("thinking") => push_text(block, "thinking", ModelEvent::Reasoning, ready),
            Some("tool_use") => {
                self.calls.insert(index);
                let field = |name: &str| block.get(name).and_then(Value::as_str).map(str::to_owned);
                let input =
                    block.get("input").filter(|input| input.as_object().is_some_and(|fields| !fields.is_empty()));
                ready.push_back(Ok(ModelEvent::ToolCall {
                    index: index as u32,
                    id: field("id"),
                    name: field("name"),
                    arguments: input.map(Value::to_string).unwrap_or_default(),
                }));
            }
            Some(_) | None => {}
        }
    }

    fn delta(&self, index: u64, delta: &Value, ready: &mut VecDeque<Event>) {
        let call = |arguments| ModelEvent::ToolCall { index: index as u32, id: None, name: None, arguments };
        match delta.get("type").and_then(Value::as_str) {
            Some("text_delta") => push_text(delta, "text", ModelEvent::Text, ready),
            Some("thinking_delta") => push_text(delta, "thinking", ModelEvent::Reasoning, ready),
            Some("input_json_delta") if self.calls.contains(&index) => push_text(delta, "partial_json", call, ready),
            Some(_) | None => {}
        }
    }

    /// The figures count from here on: those of `message_start` hold a placeholder for what is yet to be made.
    fn end(&mut self, data: &Value, ready: &mut VecDeque<Event>) {
        self.stop_reason = data.get("delta").and_then(stop_reason).or(self.stop_reason);
        self.tokens.take(data.get("usage"));
        ready.extend(self.tokens.usage().map(|usage| Ok(ModelEvent::Usage(usage))));
    }

    fn done(&self) -> Event {
        self.stop_reason.map(|stop_reason| ModelEvent::Done { stop_reason }).ok_or_else(without_end)
    }
}

/// Counts of the whole message so far; one that a frame leaves out stands.
#[derive(Debug, Default)]
struct Tokens {
    fresh: Option<u64>,
    read: Option<u64>,
    written: Option<u64>,
    made: Option<u64>,
    thought: Option<u64>,
}

impl Tokens {
    fn take(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        let count = |pointer: &str| usage.pointer(pointer).and_then(Value::as_u64);
        self.fresh = count("/input_tokens").or(self.fresh);
        self.read = count("/cache_read_input_tokens").or(self.read);
        self.written = count("/cache_creation_input_tokens").or(self.written);
        self.made = count("/output_tokens").or(self.made);
        self.thought = count("/output_tokens_details/thinking_tokens").or(self.thought);
    }

    /// The dialect's `input_tokens` leaves out what the cache had to do with.
    fn usage(&self) -> Option<Usage> {
        if self.fresh.is_none() && self.made.is_none() {
            return None;
        }
        let Tokens { fresh, read, written, made, thought } = self;
        let [fresh, read, written, made, thought] = [fresh, read, written, made, thought].map(|n| n.unwrap_or(0));
        Some(Usage {
            input_tokens: fresh + read + written,
            output_tokens: made,
            cached_tokens: read,
            cache_write_tokens: written,
            reasoning_tokens: thought,
            ..Usage::default()
        })
    }
}

fn index(data: &Value) -> u64 {
    data.get("index").and_then(Value::as_u64).unwrap_or(0)
}

fn push_text(of: &Value, name: &str, event: impl Fn(String) -> ModelEvent, ready: &mut VecDeque<Event>) {
    let text = of.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    ready.extend(text.map(|text| Ok(event(text.to_owned()))));
}

fn stop_reason(of: &Value) -> Option<StopReason> {
    Some(match of.get("stop_reason")?.as_str()? {
        "end_turn" | "stop_sequence" => StopReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => StopReason::Length,
        "tool_use" => StopReason::ToolCalls,
        "refusal" => StopReason::ContentFilter,
        _ => StopReason::Other,
    })
}
