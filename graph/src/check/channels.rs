//! Channels: the reducer against the type, and the default against both.

use std::collections::BTreeSet;

use super::{Found, Subject, given::sends, sources};
use crate::{
    expression::Expression,
    file::{Code, Diagnostic},
    reads::{Reads, channels_read},
    spec::{Case, ChannelSpec, EdgeSpec, GraphSpec, NodeKind, Reducer, START},
};

pub(super) fn reducer_type(subject: &Subject<'_>, found: &mut Found) {
    for (name, channel) in &subject.spec.channels {
        let Some(declared) = declared_type(channel) else { continue };
        let (reducer, fitting): (&str, &[&str]) = match &channel.reducer {
            Reducer::Append => ("append", &["array"]),
            Reducer::Topic => ("topic", &["array"]),
            Reducer::Messages => ("messages", &["array"]),
            Reducer::Sum => ("sum", &["integer", "number"]),
            Reducer::Max => ("max", &["integer", "number", "string"]),
            Reducer::Min => ("min", &["integer", "number", "string"]),
            Reducer::Merge => ("merge", &["object"]),
            Reducer::Last | Reducer::Any | Reducer::Ephemeral | Reducer::Untracked => continue,
            Reducer::Cel(_) | Reducer::Rust(_) | Reducer::Http(_) => continue,
        };
        if !fitting.contains(&declared) {
            let place = subject.places.of(&format!("channels/{name}/reducer"));
            let message = format!("the reducer `{reducer}` can't join values of type {declared}, in channel `{name}`");
            let hint = format!("make the type {}, or take another reducer", fitting.join(" or "));
            found.push(Diagnostic::error(Code::ReducerType, place, message).hint(hint));
        }
    }
}

pub(super) fn default_type(subject: &Subject<'_>, found: &mut Found) {
    for (name, channel) in &subject.spec.channels {
        let (Some(schema), Some(default)) = (&channel.schema, &channel.default) else { continue };
        let Ok(validator) = jsonschema::validator_for(schema) else { continue };
        if !validator.is_valid(default) {
            let place = subject.places.of(&format!("channels/{name}/default"));
            let message = format!("the default of channel `{name}` is not of its type");
            let hint = match declared_type(channel) {
                Some(declared) => format!("write a value of type {declared}, or change the type"),
                None => "write a value that its schema allows".to_owned(),
            };
            found.push(Diagnostic::error(Code::DefaultType, place, message).hint(hint));
        }
    }
}

/// Neither read nor written by any node or condition, and nothing can pass through it either: a request can't write it,
/// or the answer doesn't show it.
pub(super) fn unused_channel(subject: &Subject<'_>, found: &mut Found) {
    let spec = subject.spec;
    let shown = spec.output_channels();
    if !spec.input_channels().iter().chain(&shown).all(|name| spec.channels.contains_key(*name)) {
        return;
    }
    let mut used: BTreeSet<&str> = spec.input_channels().into_iter().filter(|name| shown.contains(name)).collect();
    for node in &spec.nodes {
        used.extend(subject.writes(node));
        match (&node.kind, channels_read(spec, node)) {
            (NodeKind::Subgraph(_), _) if node.input.is_none() => {
                let Some(inner) = subject.inner(node) else { return };
                used.extend(inner.channels.keys().map(String::as_str));
            }
            (
                NodeKind::Transform | NodeKind::Model(_) | NodeKind::Classify(_) | NodeKind::Human(_),
                Reads::Channels(read),
            )
            | (NodeKind::Http(_) | NodeKind::Rust(_) | NodeKind::Subgraph(_), Reads::Channels(read)) => {
                used.extend(spec.channels.keys().map(String::as_str).filter(|name| read.contains(*name)));
            }
            (_, Reads::All) => return,
        }
        // What a program writes, the file doesn't tell.
        if matches!(node.kind, NodeKind::Http(_) | NodeKind::Rust(_)) && node.update.is_none() {
            return;
        }
    }
    let Some(read) = read_by_start(spec) else { return };
    if spec.serve.is_some() {
        used.extend(subject.messages_channel());
    }
    for name in spec.channels.keys().filter(|name| !used.contains(name.as_str()) && !read.contains(*name)) {
        let place = subject.places.of(&format!("channels/{name}"));
        let message = format!("nothing reads or writes the channel `{name}`");
        let hint = "take it out, or name it in `input` and `output` if it only passes through";
        found.push(Diagnostic::warning(Code::UnusedChannel, place, message).hint(hint));
    }
}

/// Channels that the conditions behind START read; None where that is all.
fn read_by_start(spec: &GraphSpec) -> Option<BTreeSet<String>> {
    let mut read = BTreeSet::new();
    for edge in spec.edges.iter().filter(|edge| sources(edge).contains(&START)) {
        let conditions: Vec<&str> = match edge {
            EdgeSpec::When { cases, .. } | EdgeSpec::Every { cases, .. } => {
                cases.iter().filter_map(|case: &Case| case.condition.as_deref()).collect()
            }
            EdgeSpec::Decide { .. } => return None,
            EdgeSpec::Plain { .. } | EdgeSpec::Send { .. } => Vec::new(),
        };
        let sent = sends(edge, "").into_iter().flat_map(|(send, _)| send.each.iter().chain(send.with.values()));
        for text in conditions.into_iter().chain(sent.map(String::as_str)) {
            let references = Expression::compile(text).ok()?.references().clone();
            if references.whole_state {
                return None;
            }
            read.extend(references.channels);
        }
    }
    Some(read)
}

fn declared_type(channel: &ChannelSpec) -> Option<&str> {
    channel.schema.as_ref()?.get("type")?.as_str()
}
