//! Prompts: that they parse, and name what is there.

use std::collections::BTreeSet;

use super::{Found, Subject, given::FAILURE, references::channel_hint};
use crate::{
    file::{Code, Diagnostic, nearest},
    spec::{NodeKind, NodeSpec},
    template::{FUNCTIONS, Template},
};

pub(super) fn prompts(subject: &Subject<'_>, found: &mut Found) {
    for node in &subject.spec.nodes {
        let texts = match &node.kind {
            NodeKind::Model(model) => vec![("system", model.system.as_ref()), ("prompt", model.prompt.as_ref())],
            NodeKind::Human(human) => vec![("question", Some(&human.question))],
            NodeKind::Transform
            | NodeKind::Classify(_)
            | NodeKind::Http(_)
            | NodeKind::Rust(_)
            | NodeKind::Subgraph(_) => Vec::new(),
        };
        for (field, text) in texts {
            if let Some(text) = text {
                check(subject, node, field, text, found);
            }
        }
    }
}

fn check(subject: &Subject<'_>, node: &NodeSpec, field: &str, text: &str, found: &mut Found) {
    let path = format!("nodes/{}/{field}", node.name);
    let template = match Template::compile(text) {
        Ok(template) => template,
        Err(error) => {
            let at = subject.places.within(&path, error.line, 1);
            let message = format!("this is no Jinja template: {}", error.message);
            let hint = "a value is `{{ name }}`, a condition `{% if name %}…{% endif %}`";
            found.push(Diagnostic::error(Code::JinjaSyntax, at, message).hint(hint));
            return;
        }
    };
    let reads = template.references();
    let inputs: BTreeSet<&str> = node.input.iter().flat_map(|input| input.keys()).map(String::as_str).collect();
    let given = subject.given(&node.name);
    let known = |name: &str| {
        let own = inputs.contains(name) || given.knows(name) || (given.failure && name == FAILURE);
        own || subject.declares_channel(name)
    };
    for name in reads.names.iter().chain(&reads.channels) {
        if known(name) || (FUNCTIONS.contains(&name.as_str()) && !reads.channels.contains(name)) {
            continue;
        }
        let (line, column) = position(text, name);
        let at = subject.places.within(&path, line, column);
        let message = format!("`{field}` of node `{}` names `{name}`, which is no channel", node.name);
        let hint = match nearest(name, inputs.iter().copied().chain(given.keys.iter().copied())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => channel_hint(subject, name),
        };
        found.push(Diagnostic::error(Code::PromptUnknownName, at, message).hint(hint));
    }
    let names_something = reads.context
        || reads.whole_state
        || !reads.channels.is_empty()
        || reads.names.iter().any(|name| !FUNCTIONS.contains(&name.as_str()) || known(name));
    if field == "prompt" && !names_something {
        let message = format!("the prompt of node `{}` names no channel: every run would ask the same", node.name);
        let hint = match subject.spec.channels.keys().next() {
            Some(channel) => format!("put a value in with {{{{ {channel} }}}}"),
            None => "declare a channel under `state`, and put its value in with {{ name }}".to_owned(),
        };
        found.push(Diagnostic::error(Code::PromptNamesNothing, subject.places.of(&path), message).hint(hint));
    }
}

/// Line and column of a name's first use as a word.
fn position(text: &str, name: &str) -> (usize, usize) {
    let part_of_word = |char: char| char.is_alphanumeric() || char == '_';
    let offset = text.match_indices(name).find(|(offset, _)| {
        !text[..*offset].ends_with(part_of_word) && !text[offset + name.len()..].starts_with(part_of_word)
    });
    let before = &text[..offset.map_or(0, |(offset, _)| offset)];
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}
