//! Input and context against what the graph declares.

use schemas::error::Code;
use serde_json::{Map, Value};

use crate::{
    body::unknown,
    messages,
    published::{Graph, Property},
    refusal::Refusal,
};

/// What happens to a name that the graph doesn't declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// On our addresses: a misspelt channel that is ignored is a bug that nobody sees.
    Refuse,
    /// On compatible ones, as their server does.
    Ignore,
}

/// The input as the run will see it: known channels, checked, with messages in LangChain's form.
pub(crate) fn checked(graph: &Graph, input: Map<String, Value>, mode: Unknown) -> Result<Value, Refusal> {
    let mut checked = Map::new();
    for (name, value) in input {
        let Some(channel) = graph.inputs.get(&name) else {
            match mode {
                Unknown::Ignore => continue,
                Unknown::Refuse => return Err(unknown(&name, "input", graph.inputs.keys().map(String::as_str))),
            }
        };
        let path = format!("input.{name}");
        let value = if channel.holds_messages { messages::normalized(value, &path)? } else { value };
        check(&channel.property, messages::bare(&value), &path)?;
        checked.insert(name, value);
    }
    Ok(Value::Object(checked))
}

/// The context with the defaults of what was not given.
pub(crate) fn context(graph: &Graph, given: Option<Map<String, Value>>, mode: Unknown) -> Result<Value, Refusal> {
    let mut given = given.unwrap_or_default();
    for (name, value) in &given {
        match graph.context.get(name) {
            Some(property) => check(property, value, &format!("context.{name}"))?,
            None if mode == Unknown::Ignore || graph.context.is_empty() => {}
            None => return Err(unknown(name, "context", graph.context.keys().map(String::as_str))),
        }
    }
    for (name, property) in &graph.context {
        if let (false, Some(default)) = (given.contains_key(name), &property.default) {
            given.insert(name.clone(), default.clone());
        }
    }
    Ok(if given.is_empty() { Value::Null } else { Value::Object(given) })
}

fn check(property: &Property, value: &Value, path: &str) -> Result<(), Refusal> {
    let Some(validator) = &property.validator else { return Ok(()) };
    let Err(error) = validator.validate(value) else { return Ok(()) };
    let place = error.instance_path().to_string().replace('/', ".");
    Err(Refusal::new(Code::SchemaViolation, format!("{path}{place}: {error}")).param(format!("{path}{place}")))
}
