//! Finds the answer in what a node wrote: messages in LangChain's JSON.

use graph::{
    by_name::ChannelValues,
    message,
    task::{Call, Usage},
    update::TaskDone,
    writes::NodeUpdate,
};
use serde_json::Value;

/// The last `ai` message of `output.messages`.
pub fn final_message(output: &ChannelValues) -> Option<&Value> {
    last_ai(output.get("messages")?)
}

/// The last message of `output.messages`, where it is an `ai` message.
pub fn last_message(output: &ChannelValues) -> Option<&Value> {
    last_ai(output.get("messages")?.as_array()?.last()?)
}

/// Text and message id of the answer that a task's result carries, for who has not seen its tokens.
pub fn whole_text(done: &TaskDone) -> Option<(String, String)> {
    let mut written = done.update.iter().flat_map(NodeUpdate::iter).rev();
    if let Some(message) = written.find_map(|(_, value)| last_ai(value)) {
        let id = message.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
        return Some((message::text(message), id)).filter(|(text, _)| !text.is_empty());
    }
    let answer = done.calls.iter().rev().find(|call| call.outcome == "ok").and_then(call_text)?;
    Some((answer, String::new())).filter(|(text, _)| !text.is_empty())
}

/// What the calls of a task took, where it made any.
pub fn usage(done: &TaskDone) -> Option<Usage> {
    let mut usage = Usage::default();
    done.calls.iter().for_each(|call| usage += call.usage);
    (!done.calls.is_empty()).then_some(usage)
}

fn call_text(call: &Call) -> Option<String> {
    match call.answer.as_deref()? {
        Value::String(text) => Some(text.clone()),
        message => last_ai(message).map(message::text),
    }
}

/// The message itself, or the last one of a list.
fn last_ai(value: &Value) -> Option<&Value> {
    match value {
        Value::Array(items) => items.iter().rev().find_map(last_ai),
        Value::Object(object) if object.get("type").and_then(Value::as_str) == Some("ai") => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(update: Value, expect: Option<(&str, &str)>) {
        let done = TaskDone {
            task_id: uuid::Uuid::nil(),
            issue: 0,
            execution: uuid::Uuid::nil(),
            attempt: 1,
            node: "answer".into(),
            ns: "".into(),
            update: serde_json::from_value(update).expect("what a node wrote"),
            error: None,
            interrupts: Vec::new(),
            last_token: None,
            calls: Vec::new(),
            restored: false,
            to_parent: false,
            answered: false,
        };
        let expect = expect.map(|(text, id)| (text.to_owned(), id.to_owned()));
        assert_eq!(whole_text(&done), expect);
    }

    #[test]
    fn finds_the_answer() {
        check(json!({"messages": {"type": "ai", "id": "m", "content": "hi"}}), Some(("hi", "m")));
        check(
            json!({"messages": [{"type": "ai", "content": "a"}, {"type": "ai", "id": "m", "content": "b"}]}),
            Some(("b", "m")),
        );
        check(
            json!({"messages": [{"type": "ai", "content": [{"type": "text", "text": "a"}, {"type": "image"}, "b"]}]}),
            Some(("ab", "")),
        );
        check(json!({"messages": [{"type": "human", "content": "a"}]}), None);
        check(json!({"topic": "other"}), None);
        check(json!({"messages": {"type": "ai", "content": ""}}), None);
    }
}
