//! Commands, answers and where a run begins, in the terms of the record. Shared by all doors.

use std::{collections::BTreeMap, sync::Arc};

use graph::{event::CommandInput, spec::END, task::Destination};
use schemas::error::Code;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{body, published::Graph, refusal::Refusal};

const FIELDS: [&str; 4] = ["resume", "answers", "update", "goto"];
/// Digits of an interrupt's id.
const INTERRUPT_ID_CHARS: usize = 32;

/// LangGraph's `Command`: `resume` (one answer, or a map of interrupt ids and answers), `update`, `goto`. `strict`: a
/// field that it doesn't have is a mistake.
pub(crate) fn command(given: Value, strict: bool) -> Result<Option<CommandInput>, Refusal> {
    let mut given = match given {
        Value::Null => return Ok(None),
        Value::Object(given) => given,
        _ => return Err(invalid("command", "a command is an object with `resume`, `update` or `goto`")),
    };
    if let Some(field) = given.keys().find(|field| strict && !FIELDS.contains(&field.as_str())) {
        return Err(body::unknown(field, &format!("command.{field}"), FIELDS.into_iter()));
    }
    let mut take = |name: &str| given.remove(name).filter(|value| !value.is_null());
    let (resume, answers) = match take("resume") {
        None => (None, None),
        Some(Value::Object(map)) if map.keys().all(|id| is_interrupt_id(id)) => (None, Some(shared(map))),
        Some(answer) => (Some(Arc::new(answer)), None),
    };
    let by_id = match take("answers") {
        None => None,
        Some(Value::Object(map)) => Some(shared(map)),
        Some(_) => return Err(invalid("command.answers", "answers are an object of interrupt ids and answers")),
    };
    let goto = match take("goto") {
        None => Vec::new(),
        Some(Value::Array(all)) => all.into_iter().map(destination).collect::<Result<Vec<_>, _>>()?,
        Some(one) => vec![destination(one)?],
    };
    let goto = goto.into_iter().flatten().collect();
    let update = take("update");
    let fits = |pair: &Value| matches!(pair.as_array().map(Vec::as_slice), Some([Value::String(_), _]));
    if update
        .as_ref()
        .is_some_and(|update| !update.is_object() && !update.as_array().is_some_and(|all| all.iter().all(fits)))
    {
        return Err(invalid("command.update", "command.update: give an object, or a list of [channel, value]"));
    }
    Ok(Some(CommandInput { resume, answers: answers.or(by_id), update: update.map(Arc::new), goto }))
}

/// The answers of our own addresses: one, or several by interrupt id. None where there is none.
pub(crate) fn answers(
    answer: Option<Value>,
    answers: Option<BTreeMap<String, Value>>,
) -> Result<Option<CommandInput>, Refusal> {
    match (answer, answers) {
        (None, None) => Ok(None),
        (Some(answer), None) => Ok(Some(CommandInput { resume: Some(Arc::new(answer)), ..CommandInput::default() })),
        (None, Some(answers)) => {
            if let Some(id) = answers.keys().find(|id| !is_interrupt_id(id)) {
                let says = format!("`{id}` is no id of a question; a run's `interrupts` have them");
                return Err(Refusal::new(Code::InvalidValue, says).param(format!("answers.{id}")));
            }
            let answers = answers.into_iter().map(|(id, answer)| (id, Arc::new(answer))).collect();
            Ok(Some(CommandInput { answers: Some(answers), ..CommandInput::default() }))
        }
        (Some(_), Some(_)) => Err(invalid("answers", "give `answer` or `answers`, not both")),
    }
}

/// Names of nodes that a run stops at; `*` alone, or in the list, is every node.
pub(crate) fn breakpoints(graph: &Graph, given: &[String], field: &str) -> Result<(), Refusal> {
    let known = |name: &&String| *name == "*" || graph.spec.node(name).is_some();
    let Some(name) = given.iter().find(|name| !known(name)) else { return Ok(()) };
    let nearest = body::nearest(name, graph.spec.nodes.iter().map(|node| node.name.as_str()));
    let hint = nearest.map_or_else(String::new, |name| format!("; did you mean `{name}`?"));
    Err(Refusal::new(Code::InvalidValue, format!("the graph has no node `{name}`{hint}")).param(field))
}

pub(crate) fn checkpoint_id(text: &str) -> Result<Uuid, Refusal> {
    Uuid::try_parse(text).map_err(|_| invalid("checkpoint_id", "checkpoint_id: must be a UUID, as `history` has them"))
}

fn is_interrupt_id(text: &str) -> bool {
    text.len() == INTERRUPT_ID_CHARS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn shared(map: Map<String, Value>) -> BTreeMap<String, Arc<Value>> {
    map.into_iter().map(|(name, value)| (name, Arc::new(value))).collect()
}

/// A node's name, or a Send as `{node, input}`. `END` leads nowhere.
fn destination(given: Value) -> Result<Option<Destination>, Refusal> {
    match given {
        Value::String(name) if name == END || name == "__end__" => Ok(None),
        Value::String(name) => Ok(Some(Destination::Node(name))),
        Value::Object(mut send) => {
            let Some(Value::String(node)) = send.remove("node") else {
                return Err(invalid(
                    "command.goto",
                    "command.goto: a send is {node, input}, and this one names no node",
                ));
            };
            let argument = send.remove("input").or_else(|| send.remove("arg")).unwrap_or_default();
            Ok(Some(Destination::Send { node, argument: Arc::new(argument) }))
        }
        _ => Err(invalid("command.goto", "command.goto: give a node's name, a send {node, input}, or a list of these")),
    }
}

fn invalid(param: &str, message: &'static str) -> Refusal {
    Refusal::new(Code::InvalidValue, message).param(param)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(given: Value, expect: Value) {
        let command = command(given.clone(), true).unwrap();
        assert_eq!(serde_json::to_value(command).unwrap(), expect, "{given}");
    }

    #[test]
    fn commands_are_read_as_langgraph_reads_them() {
        let id = "c1d2e3f4a5b60718293a4b5c6d7e8f90";
        check(Value::Null, Value::Null);
        check(json!({"resume": false}), json!({"resume": false}));
        check(json!({"resume": {"a": 1}}), json!({"resume": {"a": 1}}));
        check(json!({"resume": {id: 1}}), json!({"answers": {id: 1}}));
        check(json!({"resume": {}}), json!({"answers": {}}));
        check(json!({"resume": {id: 1, "a": 2}}), json!({"resume": {id: 1, "a": 2}}));
        check(json!({"update": {"x": 1}, "goto": "b"}), json!({"update": {"x": 1}, "goto": [{"node": "b"}]}));
        check(json!({"update": [["x", 1], ["x", 2]]}), json!({"update": [["x", 1], ["x", 2]]}));
        check(
            json!({"goto": ["b", "__end__", {"node": "w", "input": 5}]}),
            json!({"goto": [{"node": "b"}, {"send": {"node": "w", "argument": 5}}]}),
        );
    }

    #[test]
    fn mistakes_are_named() {
        let refused = |given: Value| command(given, true).unwrap_err();
        assert_eq!(refused(json!({"resum": 1})).code(), Code::UnknownField);
        for bad in
            [json!(5), json!({"goto": 5}), json!({"goto": {"input": 1}}), json!({"update": 5}), json!({"answers": 1})]
        {
            assert_eq!(refused(bad.clone()).code(), Code::InvalidValue, "{bad}");
        }
        assert!(command(json!({"resum": 1}), false).is_ok(), "compatible doors ignore what they don't know");
        assert!(answers(None, Some([("x".to_owned(), json!(1))].into())).is_err());
        assert!(answers(Some(json!(1)), Some(BTreeMap::new())).is_err());
    }
}
