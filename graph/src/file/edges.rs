//! `edges`: arrows and the forms that choose.

use std::collections::BTreeMap;

use super::{
    Code, Diagnostic,
    places::Style,
    reader::Reader,
    tree::{Node, Yaml},
};
use crate::spec::{Case, EdgeSpec, HttpCall, SendSpec, Target};

const FIELDS: [&str; 5] = ["from", "when", "every", "send", "decide"];
const ARROW: &str = "->";

pub(super) fn read(reader: &mut Reader, node: &Node) -> Vec<EdgeSpec> {
    let mut edges = Vec::new();
    for item in reader.list(node, "`edges`").unwrap_or_default() {
        match &item.value {
            Yaml::Text(text) => arrow(reader, item, text, &mut edges),
            Yaml::Map(_) => choice(reader, item, &mut edges),
            _ => reader.wrong_type(item, "an edge", "an arrow like `a -> b`, or a mapping with `from`"),
        }
    }
    edges
}

/// `a -> b`, `a -> b, c`, `a & b -> c`.
fn arrow(reader: &mut Reader, node: &Node, text: &str, edges: &mut Vec<EdgeSpec>) {
    let bad = |why: &str| {
        Diagnostic::error(Code::BadEdge, node.place, format!("`{text}` is no edge: {why}"))
            .hint("write `a -> b`, `a -> b, c` or `a & b -> c`")
    };
    let parts: Vec<&str> = text.split(ARROW).map(str::trim).collect();
    let [from, to] = parts[..] else {
        let why = if parts.len() < 2 { "it has no arrow" } else { "it has more than one arrow" };
        return reader.report(bad(why));
    };
    let from: Vec<String> = from.split('&').map(|name| name.trim().to_owned()).collect();
    let to: Vec<String> = to.split(',').map(|name| name.trim().to_owned()).collect();
    if from.iter().chain(&to).any(String::is_empty) {
        return reader.report(bad("a name is missing"));
    }
    if from.iter().any(|name| name.contains(',')) {
        return reader.report(bad("before the arrow stands one name, or several with `&`"));
    }
    if to.iter().any(|name| name.contains('&')) {
        return reader.report(bad("`&` stands before the arrow only"));
    }
    for to in to {
        reader.mark(format!("edges/{}", edges.len()), node);
        edges.push(EdgeSpec::Plain { from: from.clone(), to });
    }
}

fn choice(reader: &mut Reader, node: &Node, edges: &mut Vec<EdgeSpec>) {
    let Some(fields) = reader.fields(node, "an edge", &FIELDS) else { return };
    let from = match fields.get("from") {
        Some(from) => reader.text(from, "`from`"),
        None => {
            reader.missing(node.place, "this edge", "from", "name the node that the edge leaves, or START");
            None
        }
    };
    let forms: Vec<&str> = FIELDS[1..].iter().copied().filter(|form| fields.get(form).is_some()).collect();
    let [form] = forms[..] else {
        let (message, hint) = match forms.is_empty() {
            true => ("the edge doesn't say where it leads", "add `when` or `every`; a plain edge is written `a -> b`"),
            false => ("the edge has more than one of `when`, `every`, `send` and `decide`", "make an edge of each"),
        };
        return reader.report(Diagnostic::error(Code::BadEdge, node.place, message).hint(hint));
    };
    let path = format!("edges/{}", edges.len());
    reader.mark(&path, node);
    let Some(value) = fields.get(form) else { return };
    let leads = match form {
        "send" => send(reader, value, &path).map(Leads::Send),
        "decide" => decide(reader, value, &path),
        form => Some(Leads::Cases(cases(reader, value, form, &path))),
    };
    let (Some(from), Some(leads)) = (from, leads) else { return };
    edges.push(match leads {
        Leads::Send(send) => EdgeSpec::Send { from, send },
        Leads::Decide(decide, to) => EdgeSpec::Decide { from, decide, to },
        Leads::Cases(cases) if form == "when" => EdgeSpec::When { from, cases },
        Leads::Cases(cases) => EdgeSpec::Every { from, cases },
    });
}

enum Leads {
    Cases(Vec<Case>),
    Send(SendSpec),
    Decide(HttpCall, Option<Vec<String>>),
}

/// `{url, headers, to}`.
fn decide(reader: &mut Reader, node: &Node, path: &str) -> Option<Leads> {
    let fields = reader.fields(node, "`decide`", &["url", "headers", "to"])?;
    let call = reader.call(&fields, "`decide`", node.place, &format!("{path}/decide"))?;
    let to = match fields.get("to") {
        None => None,
        Some(to) => {
            let names = reader.texts(to, "`to` of `decide`")?;
            for (index, item) in reader.list(to, "`to` of `decide`")?.iter().enumerate() {
                reader.mark(format!("{path}/to/{index}"), item);
            }
            Some(names)
        }
    };
    Some(Leads::Decide(call, to))
}

/// `{to, each, as, with}`: without `with` a task is given its item, under the item's name.
fn send(reader: &mut Reader, node: &Node, path: &str) -> Option<SendSpec> {
    let fields = reader.fields(node, "`send`", &["to", "each", "as", "with"])?;
    let Some(to) = fields.get("to") else {
        reader.missing(node.place, "`send`", "to", "name the node that each task is for");
        return None;
    };
    reader.mark(format!("{path}/send/to"), to);
    let to = reader.text(to, "`to` of `send`")?;
    let each = match fields.get("each") {
        None => None,
        Some(each) => {
            reader.mark(format!("{path}/send/each"), each);
            Some(reader.cel(each, "`each` of `send`")?)
        }
    };
    let binding = match fields.get("as") {
        None => None,
        Some(name) => Some(reader.text(name, "`as` of `send`")?),
    };
    let item = binding.clone().unwrap_or_else(|| "item".to_owned());
    let with = match fields.get("with") {
        Some(with) => reader.cel_map(with, "`with` of `send`", &format!("{path}/send/with"))?,
        None if each.is_some() => BTreeMap::from([(item.clone(), item)]),
        None => BTreeMap::new(),
    };
    Some(SendSpec { to, each, binding, with })
}

fn cases(reader: &mut Reader, node: &Node, form: &str, path: &str) -> Vec<Case> {
    let items = reader.list(node, &format!("`{form}`")).unwrap_or_default();
    if items.is_empty() && matches!(node.value, Yaml::List(_)) {
        let message = format!("`{form}` has no case");
        let hint = "add `{if: CEL, to: node}`";
        reader.report(Diagnostic::error(Code::MissingField, node.place, message).hint(hint));
    }
    let mut cases = Vec::new();
    for item in items {
        let at = format!("{path}/cases/{}", cases.len());
        if let Some(case) = case(reader, item, form, &at) {
            cases.push(case);
        }
    }
    cases
}

fn case(reader: &mut Reader, node: &Node, form: &str, path: &str) -> Option<Case> {
    let fields = reader.fields(node, "a case", &["if", "to", "else"])?;
    reader.mark(path, node);
    match (fields.get("if"), fields.get("to"), fields.get("else")) {
        (Some(condition), Some(to), None) => {
            let text = reader.cel(condition, "`if`")?;
            reader.mark(format!("{path}/if"), condition);
            Some(Case { condition: Some(text), to: targets(reader, to, &format!("{path}/to"))? })
        }
        (None, None, Some(to)) if form == "when" => {
            Some(Case { condition: None, to: targets(reader, to, &format!("{path}/to"))? })
        }
        (None, None, Some(_)) => {
            let message = "`every` has no `else`: where no case holds, the run ends there";
            let hint = "take `else` out, or write `when`, which takes the first case that holds";
            reader.report(Diagnostic::error(Code::BadEdge, node.place, message).hint(hint));
            None
        }
        (condition, to, _) => {
            let message = match (condition, to) {
                (Some(_), None) => "this case has no `to`",
                (None, Some(_)) => "this case has no `if`",
                _ => "a case is `{if: …, to: …}` or `{else: …}`",
            };
            let hint = "write `{if: CEL, to: node}`, and last `{else: node}`";
            reader.report(Diagnostic::error(Code::BadEdge, node.place, message).hint(hint));
            None
        }
    }
}

fn targets(reader: &mut Reader, node: &Node, path: &str) -> Option<Vec<Target>> {
    reader.mark(path, node);
    match &node.value {
        Yaml::List(items) => {
            let mut targets = Vec::new();
            for (index, item) in items.iter().enumerate() {
                reader.places.insert(format!("{path}/{index}"), item.place, Style::Plain);
                targets.push(target(reader, item, &format!("{path}/{index}"))?);
            }
            Some(targets)
        }
        _ => target(reader, node, &format!("{path}/0")).map(|target| vec![target]),
    }
}

fn target(reader: &mut Reader, node: &Node, path: &str) -> Option<Target> {
    match &node.value {
        Yaml::Text(name) => Some(Target::Node(name.trim().to_owned())),
        Yaml::Map(_) => {
            let fields = reader.fields(node, "a target", &["send"])?;
            let Some(sent) = fields.get("send") else {
                reader.missing(
                    node.place,
                    "a target",
                    "send",
                    "write a node's name, or `{send: {to: node, with: {...}}}`",
                );
                return None;
            };
            send(reader, sent, path).map(Target::Send)
        }
        _ => {
            reader.wrong_type(node, "a target", "a node's name, a list of names, or END");
            None
        }
    }
}
