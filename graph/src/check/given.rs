//! What nodes are given besides the state: the arguments of sends, and the failure that a handler handles.

use std::collections::BTreeSet;

use super::Subject;
use crate::spec::{Case, EdgeSpec, SendSpec, Target};

/// The name that a handler's expressions and prompts have for the failure: `{node, message, type}`.
pub(super) const FAILURE: &str = "failure";

#[derive(Default)]
pub(super) struct Given<'s> {
    /// Keys of the sends that reach the node: its state, where one does.
    pub keys: BTreeSet<&'s str>,
    /// A program sends to it, with keys that the file doesn't tell.
    pub open: bool,
    /// It handles failures.
    pub failure: bool,
}

impl Given<'_> {
    pub fn knows(&self, name: &str) -> bool {
        self.open || self.keys.contains(name)
    }
}

/// The sends of an edge, each with its path in the file.
pub(super) fn sends<'e>(edge: &'e EdgeSpec, path: &str) -> Vec<(&'e SendSpec, String)> {
    let of_cases = |cases: &'e [Case]| {
        let mut sends = Vec::new();
        for (index, case) in cases.iter().enumerate() {
            for (position, target) in case.to.iter().enumerate() {
                if let Target::Send(send) = target {
                    sends.push((send, format!("{path}/cases/{index}/to/{position}/send")));
                }
            }
        }
        sends
    };
    match edge {
        EdgeSpec::Send { send, .. } => vec![(send, format!("{path}/send"))],
        EdgeSpec::When { cases, .. } | EdgeSpec::Every { cases, .. } => of_cases(cases),
        EdgeSpec::Plain { .. } | EdgeSpec::Decide { .. } => Vec::new(),
    }
}

impl<'s> Subject<'s> {
    pub(super) fn given(&self, node: &str) -> Given<'s> {
        let mut given = Given::default();
        for edge in &self.spec.edges {
            for (send, _) in sends(edge, "").into_iter().filter(|(send, _)| send.to == node) {
                given.keys.extend(send.with.keys().map(String::as_str));
            }
            if let EdgeSpec::Decide { to, .. } = edge {
                given.open |= to.as_ref().is_none_or(|to| to.iter().any(|name| name == node));
            }
        }
        for other in &self.spec.nodes {
            given.open |= other.destinations.iter().any(|name| name == node)
                || other.goto.as_ref().is_some_and(|goto| goto.contains('{') && goto.contains(node));
            given.failure |= other.on_error.as_deref() == Some(node);
        }
        given
    }
}
