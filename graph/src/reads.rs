//! Which channels a task of a node carries: those that the node, its mappings and its conditions read, and no more, so
//! that a long conversation doesn't travel to a node that only counts.

use std::collections::BTreeSet;

use crate::{
    expression::{Expression, References},
    spec::{CacheKey, CachePolicy, Case, EdgeSpec, GraphSpec, NodeKind, NodeSpec, SendSpec, Target},
    template::Template,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// The whole state: a service's input, or an expression that names `state` itself.
    All,
    Channels(BTreeSet<String>),
}

impl Reads {
    pub fn contains(&self, channel: &str) -> bool {
        match self {
            Reads::All => true,
            Reads::Channels(channels) => channels.contains(channel),
        }
    }
}

/// Compiles what the node says: ask once for each version of a graph. What doesn't compile reads everything, so that
/// the worker meets the error and not a missing channel.
pub fn channels_read(spec: &GraphSpec, node: &NodeSpec) -> Reads {
    let mut reading = Reading { spec, all: false, channels: BTreeSet::new() };
    reading.node(node);
    for edge in &spec.edges {
        reading.edge(edge, &node.name);
    }
    match reading.all {
        true => Reads::All,
        false => Reads::Channels(reading.channels),
    }
}

struct Reading<'s> {
    spec: &'s GraphSpec,
    all: bool,
    channels: BTreeSet<String>,
}

impl Reading<'_> {
    fn node(&mut self, node: &NodeSpec) {
        let mappings = node.input.iter().chain(&node.update).flat_map(|mapping| mapping.values());
        mappings.chain(&node.goto).for_each(|text| self.cel(text));
        match &node.kind {
            NodeKind::Transform => {}
            NodeKind::Model(model) => {
                model.system.iter().chain(&model.prompt).for_each(|text| self.jinja(text));
                model.messages.iter().for_each(|text| self.cel(text));
                if model.prompt.is_none() && model.messages.is_none() {
                    self.channels.insert("messages".to_owned());
                }
            }
            NodeKind::Classify(classify) => {
                classify
                    .text
                    .iter()
                    .chain(classify.rules.iter().map(|rule| &rule.condition))
                    .for_each(|text| self.cel(text));
                if classify.text.is_none() {
                    self.channels.insert("messages".to_owned());
                }
            }
            NodeKind::Human(human) => self.jinja(&human.question),
            // Without an `input` these are given the state.
            NodeKind::Http(_) | NodeKind::Rust(_) | NodeKind::Subgraph(_) => self.all |= node.input.is_none(),
        }
        if let Some(CachePolicy { key: Some(CacheKey::Cel(text)), .. }) = &node.cache {
            self.cel(text);
        }
    }

    fn edge(&mut self, edge: &EdgeSpec, node: &str) {
        match edge {
            EdgeSpec::When { from, cases } | EdgeSpec::Every { from, cases } if from == node => {
                cases.iter().for_each(|case| self.case(case));
            }
            EdgeSpec::Send { from, send } if from == node => self.send(send),
            // The user's own program is given the state.
            EdgeSpec::Decide { from, .. } => self.all |= from == node,
            EdgeSpec::Plain { .. } | EdgeSpec::When { .. } | EdgeSpec::Every { .. } | EdgeSpec::Send { .. } => {}
        }
    }

    fn case(&mut self, case: &Case) {
        case.condition.iter().for_each(|text| self.cel(text));
        for target in &case.to {
            match target {
                Target::Send(send) => self.send(send),
                Target::Node(_) => {}
            }
        }
    }

    fn send(&mut self, send: &SendSpec) {
        send.each.iter().chain(send.with.values()).for_each(|text| self.cel(text));
    }

    fn cel(&mut self, text: &str) {
        match Expression::compile(text) {
            Ok(expression) => self.references(expression.references()),
            Err(_) => self.all = true,
        }
    }

    fn jinja(&mut self, text: &str) {
        match Template::compile(text) {
            Ok(template) => {
                let named = template.references().names.iter();
                self.channels.extend(named.filter(|name| self.spec.channels.contains_key(*name)).cloned());
                self.references(template.references());
            }
            Err(_) => self.all = true,
        }
    }

    fn references(&mut self, references: &References) {
        self.all |= references.whole_state;
        self.channels.extend(references.channels.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, node: &str, expect: Option<&[&str]>) {
        let spec = crate::file::read(file, None).spec.unwrap();
        let expect = match expect {
            None => Reads::All,
            Some(channels) => Reads::Channels(channels.iter().map(|channel| (*channel).to_owned()).collect()),
        };
        assert_eq!(channels_read(&spec, spec.node(node).unwrap()), expect, "{node}");
    }

    #[test]
    fn a_task_carries_what_its_node_reads() {
        let chat = include_str!("../../examples/chat.yaml");
        check(chat, "prepare", Some(&["messages"]));
        check(chat, "answer", Some(&["length", "messages"]));
        check(chat, "finish", Some(&[]));
        let support = include_str!("../../examples/support.yaml");
        check(support, "classify", Some(&["messages", "topic"]));
        check(support, "record", Some(&["topic"]));
    }

    #[test]
    fn a_service_without_an_input_is_given_the_state() {
        let file = |input: &str| {
            format!(
                "version: 1\nname: s\nstate: {{a: string, b: string}}\nnodes:\n  call: {{kind: http, url: 'http://x/'{input}}}\nedges: [START -> call, call -> END]\n"
            )
        };
        check(&file(""), "call", None);
        check(&file(", input: {q: state.a}"), "call", Some(&["a"]));
        check(&file(", input: {q: state}"), "call", None);
    }
}
