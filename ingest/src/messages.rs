//! Messages at the door: checked where the client can still be told, in LangChain's form from here on. Ids are given
//! by the fold, from the run's.

use graph::{channel::overwrite, message};
use schemas::error::Code;
use serde_json::{Value, json};

use crate::refusal::Refusal;

/// A list of messages in LangChain's form; OpenAI's `{role, content}`, pairs and plain text are turned into it.
pub(crate) fn normalized(value: Value, path: &str) -> Result<Value, Refusal> {
    if let Some(inner) = overwrite(&value) {
        return Ok(json!({"__overwrite__": normalized(inner.clone(), path)?}));
    }
    match value {
        Value::Array(items) => {
            let items = items.iter().enumerate().map(|(n, item)| one(item, &format!("{path}.{n}")));
            items.collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        single => Ok(Value::Array(vec![one(&single, path)?])),
    }
}

pub(crate) fn human(content: Value) -> Value {
    json!({"type": "human", "content": content})
}

fn one(value: &Value, path: &str) -> Result<Value, Refusal> {
    let message = message::coerce(value)
        .map_err(|error| Refusal::new(Code::SchemaViolation, format!("{path}: no message: {error}")).param(path))?;
    let fits = matches!(message.get("content"), Some(Value::String(_) | Value::Array(_)));
    if !fits && message["type"] != "remove" {
        let says = format!("{path}: a message's content is text or a list of blocks");
        return Err(Refusal::new(Code::SchemaViolation, says).param(format!("{path}.content")));
    }
    Ok(message)
}

/// What a channel's schema sees: an overwrite's inner value.
pub(crate) fn bare(value: &Value) -> &Value {
    overwrite(value).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_becomes_langchains() {
        let check = |given: Value, expect: Value| assert_eq!(normalized(given, "input.messages").unwrap(), expect);
        check(json!("hi"), json!([{"type": "human", "content": "hi"}]));
        check(json!([{"role": "user", "content": "hi"}]), json!([{"type": "human", "content": "hi"}]));
        check(json!([["assistant", "yes"]]), json!([{"type": "ai", "content": "yes"}]));
        check(json!({"type": "ai", "content": [], "id": "1"}), json!([{"type": "ai", "content": [], "id": "1"}]));
        check(json!({"__overwrite__": ["a"]}), json!({"__overwrite__": [{"type": "human", "content": "a"}]}));
    }

    #[test]
    fn what_is_no_message_is_named() {
        let refused = |bad: Value| normalized(bad, "m").unwrap_err();
        for bad in [json!([5]), json!([{"content": "x"}]), json!([{"role": "boss", "content": "x"}]), json!([["user"]])]
        {
            assert_eq!(refused(bad.clone()).code(), Code::SchemaViolation, "{bad}");
        }
        assert!(refused(json!(["ok", {"role": "user", "content": 5}])).message().starts_with("m.1: "));
    }
}
