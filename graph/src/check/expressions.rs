//! CEL in a graph file: that it parses, names what is there, and gives what its place wants.

use std::collections::BTreeMap;

use super::{
    Found, Subject,
    references::channel_hint,
    types::{Inference, Type},
};
use crate::{
    expression::{Expression, ExpressionError, ExpressionErrorKind, FUNCTIONS, channel_of, each_part},
    file::{Code, Diagnostic, nearest},
    spec::{EdgeSpec, NodeKind, NodeSpec, Reducer},
};

/// What an expression may name beside `state` and `context`, and what it must give.
struct Place<'p> {
    /// The path in the file.
    path: &'p str,
    /// The node whose `input` adds names.
    node: Option<&'p NodeSpec>,
    answer: Option<Type>,
    out: bool,
    wants: Wants<'p>,
}

enum Wants<'p> {
    Anything,
    Condition,
    Messages,
    Channel(&'p str),
}

pub(super) fn node_expressions(subject: &Subject<'_>, found: &mut Found) {
    for node in &subject.spec.nodes {
        let path = format!("nodes/{}", node.name);
        for (name, text) in node.input.iter().flatten() {
            let path = format!("{path}/input/{name}");
            let place = Place { path: &path, node: None, answer: None, out: false, wants: Wants::Anything };
            check(subject, text, place, found);
        }
        for (channel, text) in node.update.iter().flatten() {
            let path = format!("{path}/update/{channel}");
            let wants = Wants::Channel(channel);
            let place = Place { path: &path, node: Some(node), answer: answer(node), out: returns(node), wants };
            check(subject, text, place, found);
        }
        if let NodeKind::Model(model) = &node.kind
            && let Some(text) = &model.messages
        {
            let path = format!("{path}/messages");
            let place = Place { path: &path, node: Some(node), answer: None, out: false, wants: Wants::Messages };
            check(subject, text, place, found);
        }
    }
}

pub(super) fn conditions(subject: &Subject<'_>, found: &mut Found) {
    for (index, edge) in subject.spec.edges.iter().enumerate() {
        let (EdgeSpec::When { cases, .. } | EdgeSpec::Every { cases, .. }) = edge else { continue };
        for (position, case) in cases.iter().enumerate() {
            if let Some(text) = &case.condition {
                let path = format!("edges/{index}/cases/{position}/if");
                let place = Place { path: &path, node: None, answer: None, out: false, wants: Wants::Condition };
                check(subject, text, place, found);
            }
        }
    }
}

/// What `answer` is: the object that the file asks for, or what a model says in words.
fn answer(node: &NodeSpec) -> Option<Type> {
    let NodeKind::Model(model) = &node.kind else { return None };
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
    matches!(node.kind, NodeKind::Http(_) | NodeKind::Rust(_))
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
    let at = subject.places.within(place.path, error.line, error.column);
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
        let at = subject.places.within(place.path, line, column);
        found.push(Diagnostic::error(Code::CelUnknownName, at, format!("there is no `{name}` here")).hint(hint));
    };
    let input = place.node.and_then(|node| node.input.as_ref());
    for name in reads.names.iter().filter(|name| !input.is_some_and(|input| input.contains_key(*name))) {
        report(
            name,
            match nearest(name, ["state", "answer", "out", "context"]) {
                _ if subject.declares_channel(name) => format!("write `state.{name}`"),
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("a text stands in quotes: '{name}'"),
            },
        );
    }
    if reads.answer && place.answer.is_none() {
        let hint = match place.out {
            true => "what this node returns is `out`",
            false => "only the `update` of a model node sees its answer; elsewhere read the channel it was written to",
        };
        report("answer", hint.to_owned());
    }
    if reads.out && !place.out {
        let hint = match place.answer {
            Some(_) => "what a model returns is `answer`",
            None => "only the `update` of a node of kind http or rust sees what it returned",
        };
        report("out", hint.to_owned());
    }
}

fn unknown_channels(subject: &Subject<'_>, expression: &Expression, place: &Place<'_>, found: &mut Found) {
    for channel in &expression.references().channels {
        if subject.declares_channel(channel) {
            continue;
        }
        let mut at = None;
        walk(expression.tree(), &mut |node| {
            if channel_of(node) == Some(channel) {
                at = at.or(Some(expression.position_of_field(node.id)));
            }
        });
        let (line, column) = at.unwrap_or((1, 1));
        let at = subject.places.within(place.path, line, column);
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
    let mut names = BTreeMap::new();
    if let Some(answer) = &place.answer {
        names.insert("answer".to_owned(), answer.clone());
    }
    if !subject.spec.context.is_empty() {
        let fields = subject.spec.context.iter().map(|(name, schema)| (name.clone(), Type::of_schema(schema)));
        names.insert("context".to_owned(), Type::Map(Some(fields.collect())));
    }
    let mut inference = Inference { channels: &channels, names, wrong: Vec::new() };
    let given = inference.infer(expression.tree());
    if inference.wrong.is_empty()
        && let Some((message, hint)) = misfit(subject, &given, &place.wants, &channels)
    {
        inference.wrong.push((expression.tree().id, message, hint));
        let at = subject.places.within(place.path, 1, 1);
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
        let at = subject.places.within(place.path, line, column);
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
