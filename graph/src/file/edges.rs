//! `edges`: arrows and the forms that choose.

use super::{
    Code, Diagnostic,
    places::Style,
    reader::{Fields, Reader},
    tree::{Node, Yaml},
};
use crate::spec::{Case, EdgeSpec, Target};

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
    if form == "send" || form == "decide" {
        not_built(reader, &fields, form);
        return;
    }
    let path = format!("edges/{}", edges.len());
    reader.mark(&path, node);
    let cases = fields.get(form).map(|node| cases(reader, node, form, &path)).unwrap_or_default();
    let Some(from) = from else { return };
    edges.push(match form {
        "when" => EdgeSpec::When { from, cases },
        _ => EdgeSpec::Every { from, cases },
    });
}

fn not_built(reader: &mut Reader, fields: &Fields<'_>, form: &str) {
    if let Some(node) = fields.get(form) {
        let known: &[&str] = if form == "send" { &["to", "each", "as", "with"] } else { &["url", "headers"] };
        reader.fields(node, &format!("`{form}`"), known);
    }
    reader.not_built_yet(fields.key_place(form), &format!("`{form}`"));
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
                targets.push(target(reader, item)?);
            }
            Some(targets)
        }
        _ => target(reader, node).map(|target| vec![target]),
    }
}

fn target(reader: &mut Reader, node: &Node) -> Option<Target> {
    match &node.value {
        Yaml::Text(name) => Some(Target::Node(name.trim().to_owned())),
        Yaml::Map(_) => {
            reader.fields(node, "a send", &["send", "to", "each", "as", "with"]);
            reader.not_built_yet(node.place, "`send`");
            None
        }
        _ => {
            reader.wrong_type(node, "a target", "a node's name, a list of names, or END");
            None
        }
    }
}
