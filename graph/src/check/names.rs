//! Names: what they may hold, and which are taken.

use super::{Found, Subject};
use crate::{
    file::{Code, Diagnostic},
    spec::{END, START},
};

/// Bytes of one name: topics, keys and addresses are made of them.
const NAME_BYTES_MAX: usize = 200;

/// Checkpoint namespaces are `node:task|node:task`, and edges are written with the others.
const NOT_IN_NODES: [&str; 6] = ["|", ":", "&", ",", "->", "\n"];
/// A graph's name is part of its address.
const NOT_IN_GRAPHS: [&str; 8] = ["|", ":", "/", "?", "#", "%", "\\", " "];
const NOT_IN_CHANNELS: [&str; 3] = ["|", ":", "\n"];

pub(super) fn bad_name(subject: &Subject<'_>, found: &mut Found) {
    let mut check = |what: &str, name: &str, path: &str, refused: &[&str]| {
        let why = if name.trim().is_empty() {
            "it is empty".to_owned()
        } else if name.len() > NAME_BYTES_MAX {
            format!("it has more than {NAME_BYTES_MAX} bytes")
        } else if let Some(part) = refused.iter().find(|part| name.contains(**part)) {
            format!("it holds `{}`", part.escape_default())
        } else if name.trim() != name || name.chars().any(char::is_control) {
            "it begins or ends with a space, or holds a control character".to_owned()
        } else {
            return;
        };
        let message = format!("`{}` can't be the name of a {what}: {why}", name.escape_debug());
        let hint = "letters, digits, `-` and `_` always work";
        found.push(Diagnostic::error(Code::BadName, subject.places.of(path), message).hint(hint));
    };
    if subject.places.knows("name") {
        check("graph", &subject.spec.name, "name", &NOT_IN_GRAPHS);
    }
    for node in &subject.spec.nodes {
        check("node", &node.name, &format!("nodes/{}", node.name), &NOT_IN_NODES);
    }
    for name in subject.spec.channels.keys() {
        check("channel", name, &format!("channels/{name}"), &NOT_IN_CHANNELS);
    }
}

pub(super) fn reserved_name(subject: &Subject<'_>, found: &mut Found) {
    let mut report = |what: &str, name: &str, path: &str, why: &str| {
        let message = format!("`{name}` can't be the name of a {what}: {why}");
        found.push(Diagnostic::error(Code::ReservedName, subject.places.of(path), message).hint("choose another name"));
    };
    for node in &subject.spec.nodes {
        let path = format!("nodes/{}", node.name);
        match node.name.as_str() {
            START | END => report("node", &node.name, &path, "it is where a run begins or ends"),
            name if name.starts_with("__") => report("node", name, &path, "names with `__` are the engine's own"),
            _ => {}
        }
    }
    for name in subject.spec.channels.keys() {
        let path = format!("channels/{name}");
        match name.as_str() {
            "state" | "context" => report("channel", name, &path, "prompts use it for something else"),
            name if name.starts_with("__") => report("channel", name, &path, "names with `__` are the engine's own"),
            _ => {}
        }
    }
}
