//! Names that must lead somewhere: nodes, channels, models, addresses.

use std::collections::BTreeMap;

use super::{Found, Subject, jumps::jumps, sources, targets};
use crate::{
    file::{Code, Diagnostic, nearest},
    spec::{CacheKey, END, EdgeSpec, HttpCall, NodeKind, Reducer, START, Speaks},
};

pub(super) fn unknown_node(subject: &Subject<'_>, found: &mut Found) {
    let mut check = |name: &str, path: &str| {
        if name == START || name == END || subject.declares_node(name) {
            return;
        }
        let known = subject.spec.nodes.iter().map(|node| node.name.as_str()).chain([START, END]);
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "add it under `nodes`".to_owned(),
        };
        let message = format!("there is no node `{name}`");
        found.push(Diagnostic::error(Code::UnknownNode, subject.places.of(path), message).hint(hint));
    };
    for (index, edge) in subject.spec.edges.iter().enumerate() {
        let path = format!("edges/{index}");
        for source in sources(edge) {
            check(source, &path);
        }
        for (target, path) in targets(edge, &path) {
            check(target, &path);
        }
    }
    for node in &subject.spec.nodes {
        for jump in jumps(node) {
            check(&jump.to, &jump.path);
        }
        if let Some(handler) = &node.on_error {
            check(handler, &format!("nodes/{}/on_error", node.name));
        }
    }
    for (field, names) in
        [("interrupt_before", &subject.spec.interrupt_before), ("interrupt_after", &subject.spec.interrupt_after)]
    {
        // `*` is every node.
        for name in names.iter().filter(|name| *name != "*") {
            check(name, &format!("{field}/{name}"));
        }
    }
}

/// In `input`, `output` and `update`; those in CEL and prompts are found where these are read.
pub(super) fn unknown_channel(subject: &Subject<'_>, found: &mut Found) {
    for (field, names) in [("input", &subject.spec.input), ("output", &subject.spec.output)] {
        for name in names.iter().flatten() {
            if !subject.declares_channel(name) {
                found.push(no_channel(subject, name, &format!("{field}/{name}")));
            }
        }
    }
    for node in &subject.spec.nodes {
        for name in node.update.iter().flat_map(|update| update.keys()) {
            if !subject.declares_channel(name) {
                found.push(no_channel(subject, name, &format!("nodes/{}/update/{name}/@key", node.name)));
            }
        }
    }
}

fn no_channel(subject: &Subject<'_>, name: &str, path: &str) -> Diagnostic {
    Diagnostic::error(Code::UnknownChannel, subject.places.of(path), format!("there is no channel `{name}`"))
        .hint(channel_hint(subject, name))
}

pub(super) fn channel_hint(subject: &Subject<'_>, name: &str) -> String {
    match nearest(name, subject.spec.channels.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "add it under `state`".to_owned(),
    }
}

/// Only where the configuration is known: it may declare any alias.
pub(super) fn unknown_model(subject: &Subject<'_>, found: &mut Found) {
    for node in &subject.spec.nodes {
        if let NodeKind::Model(model) = &node.kind {
            unknown_alias(subject, &model.model, &format!("nodes/{}/model", node.name), found);
        }
    }
}

pub(super) fn unknown_alias(subject: &Subject<'_>, alias: &str, path: &str, found: &mut Found) {
    let Some(configured) = subject.models else { return };
    let declared = subject.places.knows(&format!("models/{alias}")) || subject.spec.models.contains_key(alias);
    if alias.is_empty() || declared || configured.iter().any(|known| known == alias) {
        return;
    }
    let known = subject.spec.models.keys().chain(configured).map(String::as_str);
    let hint = match nearest(alias, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "declare it under `models`, or as [models.<alias>] in millstream.toml".to_owned(),
    };
    let message = format!("there is no model `{alias}`");
    found.push(Diagnostic::error(Code::UnknownModel, subject.places.of(path), message).hint(hint));
}

pub(super) fn bad_model_target(subject: &Subject<'_>, found: &mut Found) {
    for (alias, model) in subject.spec.models.iter().filter(|(_, model)| model.route.is_empty()) {
        let fallbacks = model.fallback.iter().enumerate();
        let targets = fallbacks.map(|(index, target)| (target, format!("models/{alias}/fallback/{index}")));
        for (target, path) in targets.chain([(&model.target, format!("models/{alias}/use"))]) {
            let good = target.split_once('/').is_some_and(|(provider, name)| {
                !provider.is_empty() && !name.is_empty() && !target.contains(char::is_whitespace)
            });
            if !good {
                let message = format!("`{target}` names no provider and model");
                let hint = "write provider/model, such as openai/gpt-4o-mini";
                found.push(Diagnostic::error(Code::BadModelTarget, subject.places.of(&path), message).hint(hint));
            }
        }
    }
}

/// The addresses that a run may call, and the headers that go along, each with its path in the file.
fn calls<'s>(subject: &Subject<'s>) -> Vec<(&'s str, &'s BTreeMap<String, String>, String)> {
    let mut calls = Vec::new();
    let of = |call: &'s HttpCall, path: String| (call.url.as_str(), &call.headers, path);
    for node in &subject.spec.nodes {
        if let NodeKind::Http(http) = &node.kind {
            calls.push((http.url.as_str(), &http.headers, format!("nodes/{}", node.name)));
        }
        if let Some(CacheKey::Http(call)) = node.cache.as_ref().and_then(|cache| cache.key.as_ref()) {
            calls.push(of(call, format!("nodes/{}/cache/key", node.name)));
        }
    }
    for (name, channel) in &subject.spec.channels {
        if let Reducer::Http(call) = &channel.reducer {
            calls.push(of(call, format!("channels/{name}/reducer")));
        }
    }
    for (index, edge) in subject.spec.edges.iter().enumerate() {
        if let EdgeSpec::Decide { decide, .. } = edge {
            calls.push(of(decide, format!("edges/{index}/decide")));
        }
    }
    calls
}

pub(super) fn bad_url(subject: &Subject<'_>, found: &mut Found) {
    for (url, _, path) in calls(subject) {
        let begins = ["http://", "https://", "${env."].iter().any(|scheme| url.starts_with(scheme));
        if !begins || url.contains(char::is_whitespace) {
            let place = subject.places.of(&format!("{path}/url"));
            let message = format!("`{url}` is no address of a service");
            let hint = "begin it with http://, https:// or ${env.NAME}";
            found.push(Diagnostic::error(Code::BadUrl, place, message).hint(hint));
        }
    }
}

/// `${env.NAME}` is all that the worker puts in; anything else would be sent as it stands.
pub(super) fn bad_environment_name(subject: &Subject<'_>, found: &mut Found) {
    for (url, headers, path) in calls(subject) {
        let texts = headers.iter().map(|(name, value)| (value.as_str(), format!("{path}/headers/{name}")));
        for (text, path) in texts.chain([(url, format!("{path}/url"))]) {
            if let Some(odd) = odd_reference(text) {
                let message = format!("`{odd}` names no value of the environment");
                let hint = "write ${env.NAME}, with letters, digits and `_` in the name";
                let place = subject.places.of(&path);
                found.push(Diagnostic::error(Code::BadEnvironmentName, place, message).hint(hint));
            }
        }
    }
}

/// The first `${…}` that isn't `${env.NAME}`.
fn odd_reference(text: &str) -> Option<&str> {
    text.match_indices("${").find_map(|(offset, _)| {
        let reference = text[offset..].split_inclusive('}').next().unwrap_or_default();
        let name = reference.strip_prefix("${env.").and_then(|rest| rest.strip_suffix('}'));
        let good = name.is_some_and(|name| {
            !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
        });
        (!good).then_some(reference)
    })
}

pub(super) fn bad_path(subject: &Subject<'_>, found: &mut Found) {
    /// First parts of the server's own addresses.
    const TAKEN: [&str; 18] = [
        "threads",
        "runs",
        "assistants",
        "store",
        "info",
        "ok",
        "v1",
        "graphs",
        "health",
        "ready",
        "metrics",
        "docs",
        "redoc",
        "openapi.json",
        "schemas",
        "collections",
        "usage",
        "batches",
    ];
    let Some(serve) = &subject.spec.serve else { return };
    let place = subject.places.of("serve/path");
    let odd = |char: char| char.is_whitespace() || char.is_control() || "?#%{}*\\".contains(char);
    let first = serve.path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let message = if !serve.path.starts_with('/') || serve.path.contains("//") || serve.path.contains(odd) {
        format!("`{}` is no path", serve.path)
    } else if first.is_empty() || TAKEN.contains(&first) {
        format!("the path `{}` is the server's own", serve.path)
    } else {
        return;
    };
    found.push(Diagnostic::error(Code::BadPath, place, message).hint("write a path of your own, such as /support"));
}

/// `as: chat` appends the question to `messages`.
pub(super) fn serve_needs_messages(subject: &Subject<'_>, found: &mut Found) {
    let chats = subject.spec.serve.as_ref().is_some_and(|serve| serve.speaks == Speaks::Chat);
    let takes_messages = subject.messages_channel().is_some_and(|name| subject.spec.input_channels().contains(&name));
    if chats && !takes_messages {
        let message = "a graph that is served as chat needs the channel `messages` in its input";
        let hint = "add `messages: {type: messages}` under `state`, and to `input` if that is given";
        found.push(Diagnostic::error(Code::ServeNeedsMessages, subject.places.of("serve"), message).hint(hint));
    }
}
