//! The small language that the nodes of a case are written in. It belongs to the cases, not to Millstream.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Step {
    Write {
        to: String,
        value: Value,
        #[serde(default)]
        overwrite: bool,
    },
    Interrupt {
        value: Value,
        #[serde(rename = "as")]
        name: String,
    },
    Fail {
        first: u32,
        message: String,
    },
    Goto {
        to: Value,
        #[serde(default)]
        parent: bool,
    },
}

/// What a program did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// One dict: a later write to a channel replaces the earlier one in its place.
    pub update: Vec<(String, Value)>,
    /// Targets: names, or {node, argument}.
    pub goto: Vec<(String, Option<Value>)>,
    /// The goto is for the outer graph.
    pub to_parent: bool,
    /// How many of its questions were answered.
    pub answered: usize,
}

/// How a program ended without an outcome.
#[derive(Debug)]
pub enum Stop {
    Asked { question: Value, answered: usize },
    Failed { message: String, answered: usize },
}

/// Runs `program` on a node's input; `execution` counts the runs of the task, from 1.
pub fn run(program: &[Step], input: &Value, execution: u32, answers: &[Value]) -> Result<Outcome, Stop> {
    let mut outcome = Outcome::default();
    let mut names = BTreeMap::new();
    for step in program {
        match step {
            Step::Write { to, value, overwrite } => {
                let value = evaluate(value, input, &names);
                let value = if *overwrite { json!({"__overwrite__": value}) } else { value };
                match outcome.update.iter_mut().find(|(name, _)| name == to) {
                    Some((_, before)) => *before = value,
                    None => outcome.update.push((to.clone(), value)),
                }
            }
            Step::Interrupt { value, name } => match answers.get(outcome.answered) {
                Some(answer) => {
                    outcome.answered += 1;
                    names.insert(name.clone(), answer.clone());
                }
                None => {
                    let question = evaluate(value, input, &names);
                    return Err(Stop::Asked { question, answered: outcome.answered });
                }
            },
            Step::Fail { first, message } if execution <= *first => {
                return Err(Stop::Failed { message: message.clone(), answered: outcome.answered });
            }
            Step::Fail { .. } => {}
            Step::Goto { to, parent } => {
                let single = std::slice::from_ref(to);
                let targets = to.as_array().map_or(single, Vec::as_slice);
                targets.iter().for_each(|target| outcome.goto.extend(destinations(target, input)));
                outcome.to_parent |= parent;
            }
        }
    }
    Ok(outcome)
}

fn destinations(target: &Value, input: &Value) -> Vec<(String, Option<Value>)> {
    let Value::Object(send) = target else {
        let name = target.as_str().expect("a target's name");
        return if name == "END" { Vec::new() } else { vec![(name.to_owned(), None)] };
    };
    let node = send["send"].as_str().expect("a Send's node").to_owned();
    let one = |item: Option<Value>| {
        let names = item.map(|item| ("item".to_owned(), item)).into_iter().collect();
        (node.clone(), Some(evaluate(&send["arg"], input, &names)))
    };
    match send.get("each") {
        None => vec![one(None)],
        Some(each) => match evaluate(each, input, &BTreeMap::new()) {
            Value::Array(items) => items.into_iter().map(|item| one(Some(item))).collect(),
            other => panic!("{other} is no list"),
        },
    }
}

fn evaluate(expression: &Value, input: &Value, names: &BTreeMap<String, Value>) -> Value {
    let parts = expression.as_array().expect("an expression is a list");
    let operator = parts[0].as_str().expect("an expression begins with its operator");
    let at = |place: usize| evaluate(&parts[place], input, names);
    let number = |place: usize| at(place).as_i64().expect("a number");
    match operator {
        "lit" => parts[1].clone(),
        "get" => {
            let value = parts[1].as_str().and_then(|name| input.get(name));
            value.or(parts.get(2)).cloned().unwrap_or_default()
        }
        "item" => names.get("item").cloned().unwrap_or_default(),
        "var" => parts[1].as_str().and_then(|name| names.get(name)).cloned().unwrap_or_default(),
        "obj" => {
            let fields = parts[1].as_object().expect("fields");
            let each = |(name, value): (&String, &Value)| (name.clone(), evaluate(value, input, names));
            Value::Object(fields.iter().map(each).collect::<Map<_, _>>())
        }
        "list" => (1..parts.len()).map(at).collect(),
        "len" => match at(1) {
            Value::Array(items) => json!(items.len()),
            Value::Object(fields) => json!(fields.len()),
            Value::String(text) => json!(text.chars().count()),
            other => panic!("{other} has no length"),
        },
        "range" => (0..number(1)).collect(),
        "str" => Value::String(sorted(&at(1)).to_string()),
        "+" => match (at(1), at(2)) {
            (Value::Array(a), Value::Array(b)) => a.into_iter().chain(b).collect(),
            (Value::String(a), Value::String(b)) => Value::String(a + &b),
            _ => json!(number(1) + number(2)),
        },
        "-" => json!(number(1) - number(2)),
        "*" => json!(number(1) * number(2)),
        "%" => json!(number(1).rem_euclid(number(2))),
        "<" => json!(number(1) < number(2)),
        "==" => json!(at(1) == at(2)),
        other => panic!("unknown operator {other}"),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let ordered: BTreeMap<&String, Value> = fields.iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(ordered.into_iter().map(|(name, value)| (name.clone(), value)).collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The same expression in CEL, for the forms that occur in conditional edges.
pub fn to_cel(expression: &Value) -> String {
    let parts = expression.as_array().expect("an expression is a list");
    match (parts[0].as_str().expect("an operator"), &parts[1..]) {
        ("lit", [value]) => value.to_string(),
        ("item", []) => "item".to_owned(),
        ("get", [Value::String(name), default]) => format!("(has(state.{name}) ? state.{name} : {default})"),
        ("len", [list]) => format!("size({})", to_cel(list)),
        ("list", items) => format!("[{}]", items.iter().map(to_cel).collect::<Vec<_>>().join(", ")),
        ("range", [Value::Array(bound)]) => {
            let bound = bound[1].as_u64().expect("the bound of a range");
            format!("[{}]", (0..bound).map(|n| n.to_string()).collect::<Vec<_>>().join(", "))
        }
        (operator, _) => panic!("{operator} doesn't occur in conditional edges"),
    }
}
