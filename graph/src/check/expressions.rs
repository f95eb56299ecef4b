//! CEL in a graph file: that it parses, names what is there, and gives what its place wants.

use std::collections::BTreeMap;

use super::{
    Found, Subject,
    given::{FAILURE, sends},
    references::channel_hint,
    types::{Inference, Type},
};
use crate::{
    expression::{Expression, ExpressionError, ExpressionErrorKind, FUNCTIONS, channel_of, each_part},
    file::{Code, Diagnostic, nearest},
    spec::{CacheKey, EdgeSpec, NodeKind, NodeSpec, Reducer, RouteStep},
};

/// What an expression may name beside `state` and `context`, and what it must give.
#[derive(Default)]
struct Place<'p> {
    /// The path in the file.
    path: String,
    /// The node that it belongs to, for what that one is given.
    node: Option<&'p NodeSpec>,
    /// Whether the names of the node's `input` are there.
    mapped: bool,
    answer: Option<Type>,
    out: bool,
    /// Names of the place, such as `left`.
    names: Vec<&'p str>,
    /// Who is evaluated where there is no state.
    alone: Option<&'p str>,
    wants: Wants<'p>,
}

#[derive(Default)]
enum Wants<'p> {
    #[default]
    Anything,
    Condition,
    Messages,
    Text,
    /// What an `each` goes over.
    Items,
    Channel(&'p str),
}

pub(super) fn node_expressions(subject: &Subject<'_>, found: &mut Found) {
    for node in &subject.spec.nodes {
        let path = format!("nodes/{}", node.name);
        let at = |field: &str| Place { path: format!("{path}/{field}"), node: Some(node), ..Place::default() };
        let after = |field: &str| Place { mapped: true, answer: answer(node), out: returns(node), ..at(field) };
        for (name, text) in node.input.iter().flatten() {
            check(subject, text, at(&format!("input/{name}")), found);
        }
        for (channel, text) in node.update.iter().flatten() {
            let wants = Wants::Channel(channel);
            check(subject, text, Place { wants, ..after(&format!("update/{channel}")) }, found);
        }
        if let Some(text) = &node.goto {
            check(subject, text, after("goto"), found);
        }
        if let Some(CacheKey::Cel(text)) = node.cache.as_ref().and_then(|cache| cache.key.as_ref()) {
            check(subject, text, Place { mapped: true, ..at("cache/key") }, found);
        }
        if let NodeKind::Model(model) = &node.kind
            && let Some(text) = &model.messages
        {
            check(subject, text, Place { mapped: true, wants: Wants::Messages, ..at("messages") }, found);
        }
        if let NodeKind::Classify(classify) = &node.kind {
            if let Some(text) = &classify.text {
                check(subject, text, Place { mapped: true, wants: Wants::Text, ..at("text") }, found);
            }
            for (index, rule) in classify.rules.iter().enumerate() {
                let place = Place { mapped: true, names: vec!["text"], ..at(&format!("rules/{index}/if")) };
                check(subject, &rule.condition, Place { wants: Wants::Condition, ..place }, found);
            }
        }
    }
}

pub(super) fn edge_expressions(subject: &Subject<'_>, found: &mut Found) {
    for (index, edge) in subject.spec.edges.iter().enumerate() {
        let path = format!("edges/{index}");
        if let EdgeSpec::When { cases, .. } | EdgeSpec::Every { cases, .. } = edge {
            for (position, case) in cases.iter().enumerate() {
                if let Some(text) = &case.condition {
                    let path = format!("{path}/cases/{position}/if");
                    check(subject, text, Place { path, wants: Wants::Condition, ..Place::default() }, found);
                }
            }
        }
        for (send, path) in sends(edge, &path) {
            if let Some(text) = &send.each {
                let path = format!("{path}/each");
                check(subject, text, Place { path, wants: Wants::Items, ..Place::default() }, found);
            }
            let item = send.binding.as_deref().unwrap_or("item");
            for (name, text) in &send.with {
                let names = send.each.iter().map(|_| item).collect();
                check(subject, text, Place { path: format!("{path}/with/{name}"), names, ..Place::default() }, found);
            }
        }
    }
}

/// A reducer of one's own sees what the channel holds, and one write.
pub(super) fn reducers(subject: &Subject<'_>, found: &mut Found) {
    for (name, channel) in &subject.spec.channels {
        if let Reducer::Cel(text) = &channel.reducer {
            let path = format!("channels/{name}/reducer/cel");
            let place = Place { path, names: vec!["left", "right"], alone: Some("a reducer"), ..Place::default() };
            check(subject, text, Place { wants: Wants::Channel(name), ..place }, found);
        }
    }
}

/// What picks an alias sees the call, and the run's context.
pub(super) fn routes(subject: &Subject<'_>, found: &mut Found) {
    for (alias, model) in &subject.spec.models {
        for (index, step) in model.route.iter().enumerate() {
            if let RouteStep::If { condition, .. } = step {
                let path = format!("models/{alias}/route/{index}/if");
                let names = vec!["text", "tools", "messages", "thread_age_seconds"];
                let place = Place { path, names, alone: Some(ROUTE), wants: Wants::Condition, ..Place::default() };
                check(subject, condition, place, found);
            }
        }
    }
}

/// What `answer` is: the object that the file asks for, what a model says in words, a label, or what a person says.
fn answer(node: &NodeSpec) -> Option<Type> {
    let model = match &node.kind {
        NodeKind::Model(model) => model,
        NodeKind::Classify(_) => {
            let fields = [("label", Type::Text), ("score", Type::Double), ("by", Type::Text)];
            return Some(Type::Map(Some(fields.map(|(name, of)| (name.to_owned(), of)).into())));
        }
        NodeKind::Human(human) => return Some(human.answer.as_ref().map_or(Type::Unknown, Type::of_schema)),
        NodeKind::Transform | NodeKind::Http(_) | NodeKind::Rust(_) | NodeKind::Subgraph(_) => return None,
    };
    Some(match &model.answer {
        Some(schema) => Type::of_schema(schema),
        None => Type::Map(Some(BTreeMap::from([
            ("text".to_owned(), Type::Text),
            ("reasoning".to_owned(), Type::Text),
            ("message".to_owned(), Type::Map(None)),
            ("tool_calls".to_owned(), Type::List(Box::new(Type::Unknown))),
        ]))),
    })
}

fn returns(node: &NodeSpec) -> bool {
    matches!(node.kind, NodeKind::Http(_) | NodeKind::Rust(_) | NodeKind::Subgraph(_))
}

fn check(subject: &Subject<'_>, text: &str, place: Place<'_>, found: &mut Found) {
    let expression = match Expression::compile(text) {
        Ok(expression) => expression,
        Err(error) => return found.push(compile_error(subject, &place, &error)),
    };
    let before = found.len();
    unknown_names(subject, &expression, &place, found);
    unknown_channels(subject, &expression, &place, found);
    if found.len() == before {
        types(subject, &expression, &place, found);
    }
}

fn compile_error(subject: &Subject<'_>, place: &Place<'_>, error: &ExpressionError) -> Diagnostic {
    let at = subject.places.within(&place.path, error.line, error.column);
    match &error.kind {
        ExpressionErrorKind::Syntax => {
            let hint = match error.message.contains("`=`") {
                true => "equality is written `==`",
                false => "texts stand in quotes, and the operators are `&&`, `||`, `!`, `==`, `!=`, `<`, `in`, `? :`",
            };
            Diagnostic::error(Code::CelSyntax, at, format!("this is no CEL expression: {}", error.message)).hint(hint)
        }
        ExpressionErrorKind::UnknownFunction { name } => {
            Diagnostic::error(Code::CelUnknownFunction, at, error.message.clone()).hint(
                match nearest(name, FUNCTIONS) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "CEL's own functions are there, and last, has_tool_calls and tokens".to_owned(),
                },
            )
        }
        ExpressionErrorKind::TooCostly => Diagnostic::error(Code::CelTooCostly, at, error.message.clone())
            .hint("do it in steps: write a part of it to a channel first"),
    }
}

fn unknown_names(subject: &Subject<'_>, expression: &Expression, place: &Place<'_>, found: &mut Found) {
    let reads = expression.references();
    let mut report = |name: &str, hint: String| {
        let (line, column) = expression.position_of_name(name).unwrap_or((1, 1));
        let at = subject.places.within(&place.path, line, column);
        found.push(Diagnostic::error(Code::CelUnknownName, at, format!("there is no `{name}` here")).hint(hint));
    };
    let input = place.node.filter(|_| place.mapped).and_then(|node| node.input.as_ref());
    let handles = place.node.is_some_and(|node| subject.given(&node.name).failure);
    let known = |name: &str| {
        let mapped = input.is_some_and(|input| input.contains_key(name));
        mapped || place.names.contains(&name) || (handles && name == FAILURE)
    };
    for name in reads.names.iter().filter(|name| !known(name)) {
        let near = ["state", "answer", "out", "context"].into_iter().chain(place.names.iter().copied());
        report(
            name,
            match nearest(name, near) {
                _ if name == FAILURE => "only a node that another names in `on_error` sees the failure".to_owned(),
                near => match (place.alone, near) {
                    (Some(who), _) => sees(who, place),
                    (None, _) if subject.declares_channel(name) => format!("write `state.{name}`"),
                    (None, Some(near)) => format!("did you mean `{near}`?"),
                    (None, None) => format!("a text stands in quotes: '{name}'"),
                },
            },
        );
    }
    if let Some(who) = place.alone {
        let sees_context = who == ROUTE;
        if reads.reads_state() || (reads.context && !sees_context) {
            let name = if reads.reads_state() { "state" } else { "context" };
            report(name, sees(who, place));
        }
    }
    if reads.answer && place.answer.is_none() {
        let hint = match place.out {
            true => "what this node returns is `out`",
            false => {
                "only the `update` and `goto` of a model, classify or human node see its answer; elsewhere read the channel it was written to"
            }
        };
        report("answer", hint.to_owned());
    }
    if reads.out && !place.out {
        let hint = match place.answer {
            Some(_) => "what this node returns is `answer`",
            None => {
                "only the `update` and `goto` of a node of kind http or rust, and a graph's `output`, see what it returned"
            }
        };
        report("out", hint.to_owned());
    }
}

const ROUTE: &str = "a route";

fn sees(who: &str, place: &Place<'_>) -> String {
    let context = if who == ROUTE { " and context" } else { "" };
    let joined = if who == ROUTE { ", " } else { " and " };
    format!("{who} sees {}{context}", place.names.join(joined))
}

fn unknown_channels(subject: &Subject<'_>, expression: &Expression, place: &Place<'_>, found: &mut Found) {
    if place.alone.is_some() {
        return;
    }
    let given = place.node.map(|node| subject.given(&node.name)).unwrap_or_default();
    for channel in &expression.references().channels {
        if subject.declares_channel(channel) || given.knows(channel) {
            continue;
        }
        let mut at = None;
        walk(expression.tree(), &mut |node| {
            if channel_of(node) == Some(channel) {
                at = at.or(Some(expression.position_of_field(node.id)));
            }
        });
        let (line, column) = at.unwrap_or((1, 1));
        let at = subject.places.within(&place.path, line, column);
        let message = format!("there is no channel `{channel}`");
        found.push(Diagnostic::error(Code::UnknownChannel, at, message).hint(channel_hint(subject, channel)));
    }
}

fn walk<'e>(node: &'e cel::common::ast::IdedExpr, visit: &mut dyn FnMut(&'e cel::common::ast::IdedExpr)) {
    visit(node);
    each_part(&node.expr, &mut |part| walk(part, visit));
}

fn types(subject: &Subject<'_>, expression: &Expression, place: &Place<'_>, found: &mut Found) {
    let channels: BTreeMap<String, Type> = subject
        .spec
        .channels
        .iter()
        .map(|(name, channel)| (name.clone(), channel.schema.as_ref().map_or(Type::Unknown, Type::of_schema)))
        .collect();
    // A send's argument takes the state's place: what the file says of channels needs not hold of it.
    let given = place.node.map(|node| subject.given(&node.name)).unwrap_or_default();
    let known = |name: &str| !given.open && !given.keys.contains(name);
    let seen: BTreeMap<String, Type> = channels
        .iter()
        .map(|(name, of)| (name.clone(), if known(name) { of.clone() } else { Type::Unknown }))
        .collect();
    let mut names = BTreeMap::new();
    if let Some(answer) = &place.answer {
        names.insert("answer".to_owned(), answer.clone());
    }
    if !subject.spec.context.is_empty() {
        let fields = subject.spec.context.iter().map(|(name, schema)| (name.clone(), Type::of_schema(schema)));
        names.insert("context".to_owned(), Type::Map(Some(fields.collect())));
    }
    let mut inference = Inference { channels: &seen, names, wrong: Vec::new() };
    let given = inference.infer(expression.tree());
    if inference.wrong.is_empty()
        && let Some((message, hint)) = misfit(subject, &given, &place.wants, &channels)
    {
        inference.wrong.push((expression.tree().id, message, hint));
        let at = subject.places.within(&place.path, 1, 1);
        for (_, message, hint) in inference.wrong {
            found.push(Diagnostic::error(Code::CelType, at, message).hint_if(hint));
        }
        return;
    }
    for (id, message, hint) in inference.wrong {
        let (line, column) = match message.starts_with("there is no field") {
            true => expression.position_of_field(id),
            false => expression.position_of(id),
        };
        let at = subject.places.within(&place.path, line, column);
        found.push(Diagnostic::error(Code::CelType, at, message).hint_if(hint));
    }
}

/// Why a value can't stand where it is wanted.
fn misfit(
    subject: &Subject<'_>,
    given: &Type,
    wants: &Wants<'_>,
    channels: &BTreeMap<String, Type>,
) -> Option<(String, Option<String>)> {
    match wants {
        Wants::Anything => None,
        Wants::Condition => match given {
            Type::Unknown | Type::Bool => None,
            other => Some((
                format!("a condition must give true or false, and this gives {}", other.name()),
                Some("compare it with something, such as `state.topic == 'billing'`".to_owned()),
            )),
        },
        Wants::Messages => match given {
            Type::Unknown | Type::List(_) => None,
            other => Some((
                format!("`messages` must give a list of messages, and this gives {}", other.name()),
                Some("one question is written as `prompt`".to_owned()),
            )),
        },
        Wants::Text => match given {
            Type::Unknown | Type::Text => None,
            other => Some((
                format!("`text` must give a text, and this gives {}", other.name()),
                Some("turn it into one with string(…), or name a channel of texts".to_owned()),
            )),
        },
        Wants::Items => match given {
            Type::Unknown | Type::List(_) => None,
            other => Some((
                format!("`each` must give a list, and this gives {}", other.name()),
                Some("one task is made for each item; a single one needs no `each`".to_owned()),
            )),
        },
        Wants::Channel(name) => channel_misfit(subject, given, name, channels),
    }
}

fn channel_misfit(
    subject: &Subject<'_>,
    given: &Type,
    name: &str,
    channels: &BTreeMap<String, Type>,
) -> Option<(String, Option<String>)> {
    let reducer = &subject.spec.channels.get(name)?.reducer;
    let wanted = channels.get(name)?;
    // An `__overwrite__` is an object, and goes everywhere.
    if matches!(given, Type::Map(None)) || matches!(reducer, Reducer::Messages | Reducer::Topic) {
        return None;
    }
    if given.fits(wanted) {
        return None;
    }
    let hint = match reducer {
        Reducer::Append => Some("what is appended is a list: put brackets around the value, \"[…]\"".to_owned()),
        _ => Some("turn it into that with string(…), int(…) or double(…), or change the channel's type".to_owned()),
    };
    Some((format!("channel `{name}` takes {}, and this gives {}", wanted.name(), given.name()), hint))
}
