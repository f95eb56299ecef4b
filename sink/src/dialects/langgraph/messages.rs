//! `messages-tuple` and `messages`: tokens of model calls as they come, and whole messages that nodes wrote otherwise.

use graph::update::TaskDone;
use schemas::record::{Token, TokenKind};
use serde_json::{Value, json};

use super::{Event, known::Known, outer};
use crate::{answer, facts::Fact};

/// `messages`: [chunk, metadata].
pub fn tuples(fact: &Fact, known: &Known) -> Vec<Event> {
    match fact {
        Fact::Token(record) => {
            let token = &record.token;
            let Some(chunk) = chunk_of(token) else { return Vec::new() };
            vec![Event::new("messages", outer(&token.checkpoint_ns), json!([chunk, known.about(token.task_id)]))]
        }
        Fact::WholeText(whole) => {
            let chunk = chunk(&whole.message_id, json!(whole.text), json!([]), None);
            vec![Event::new("messages", outer(&whole.ns), json!([chunk, known.about(whole.task_id)]))]
        }
        Fact::NodeFinished(of) => {
            let Some(done) = of.get() else { return Vec::new() };
            let ns = outer(&done.ns);
            let about = known.about(done.task_id);
            let last = known.message_by(done.task_id).map(|id| {
                let mut last = chunk(id, json!(""), json!([]), Some("last"));
                last["usage_metadata"] = usage(done);
                Event::new("messages", ns, json!([last, about]))
            });
            let whole =
                known.new_messages(done).map(|message| Event::new("messages", ns, json!([full(message), about])));
            last.into_iter().chain(whole).collect()
        }
        Fact::Metadata { .. }
        | Fact::Happened(_)
        | Fact::NodeStarted(_)
        | Fact::AttemptReset { .. }
        | Fact::Interrupt(_)
        | Fact::Error(_)
        | Fact::Final(_) => Vec::new(),
    }
}

/// `messages/metadata` once, then the message so far with each token; `messages/complete` for one that came whole.
pub fn whole(fact: &Fact, known: &Known) -> Vec<Event> {
    let partial = |task, ns: &str, id: &str, text: &str| {
        let mut events = Vec::new();
        if !known.has_begun(id) {
            events.push(Event::new("messages/metadata", ns, json!({id: {"metadata": known.about(task)}})));
        }
        let message = full(&json!({"type": "ai", "id": id, "content": text}));
        events.push(Event::new("messages/partial", ns, json!([message])));
        events
    };
    match fact {
        Fact::Token(record) if record.token.kind == TokenKind::Text => {
            let token = &record.token;
            let id = token.message_id.as_str();
            partial(token.task_id, outer(&token.checkpoint_ns), id, known.text(id))
        }
        Fact::WholeText(whole) => partial(whole.task_id, outer(&whole.ns), &whole.message_id, &whole.text),
        Fact::NodeFinished(of) => {
            let Some(done) = of.get() else { return Vec::new() };
            let ns = outer(&done.ns);
            let told = |message: &Value| {
                let id = message["id"].as_str().unwrap_or_default();
                let metadata = json!({id: {"metadata": known.about(done.task_id)}});
                let complete = Event::new("messages/complete", ns, json!([full(message)]));
                [Event::new("messages/metadata", ns, metadata), complete]
            };
            known.new_messages(done).flat_map(told).collect()
        }
        Fact::Token(_)
        | Fact::Metadata { .. }
        | Fact::Happened(_)
        | Fact::NodeStarted(_)
        | Fact::AttemptReset { .. }
        | Fact::Interrupt(_)
        | Fact::Error(_)
        | Fact::Final(_) => Vec::new(),
    }
}

fn chunk_of(token: &Token) -> Option<Value> {
    let id = token.message_id.as_str();
    match token.kind {
        TokenKind::Text => Some(chunk(id, json!(token.delta), json!([]), None)),
        TokenKind::Reasoning => {
            let block = json!([{"type": "reasoning", "reasoning": token.delta, "index": 0}]);
            Some(chunk(id, block, json!([]), None))
        }
        TokenKind::ToolCall => {
            let call = json!([{"name": null, "args": token.delta, "id": null, "index": 0, "type": "tool_call_chunk"}]);
            Some(chunk(id, json!(""), call, None))
        }
        TokenKind::Custom => None,
    }
}

fn chunk(id: &str, content: Value, tool_call_chunks: Value, position: Option<&str>) -> Value {
    json!({
        "content": content, "additional_kwargs": {}, "response_metadata": {}, "type": "AIMessageChunk", "name": null,
        "id": id, "tool_calls": [], "invalid_tool_calls": [], "usage_metadata": null,
        "tool_call_chunks": tool_call_chunks, "chunk_position": position,
    })
}

/// A message with every field that LangChain's have.
fn full(message: &Value) -> Value {
    let mut full = json!({"content": "", "additional_kwargs": {}, "response_metadata": {}, "type": "ai", "name": null, "id": null});
    if message["type"] == "ai" {
        full["tool_calls"] = json!([]);
        full["invalid_tool_calls"] = json!([]);
        full["usage_metadata"] = Value::Null;
    }
    if let (Some(full), Some(given)) = (full.as_object_mut(), message.as_object()) {
        full.extend(given.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    full
}

fn usage(done: &TaskDone) -> Value {
    let Some(usage) = answer::usage(done) else { return Value::Null };
    json!({
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    })
}
