//! Ways through the graph: every node is reached, and from every node a run can end.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Found, Subject,
    jumps::{any_open, jumps},
    sources, targets,
};
use crate::{
    file::{Code, Diagnostic, Place},
    spec::{END, EdgeSpec, NodeKind, START},
};

pub(super) fn unreachable_node(subject: &Subject<'_>, found: &mut Found) {
    let mut next: Ways = Ways::new();
    for edge in &subject.spec.edges {
        for source in sources(edge) {
            next.entry(source.to_owned()).or_default().extend(ways(subject, edge));
        }
    }
    if !next.contains_key(START) {
        return;
    }
    for node in &subject.spec.nodes {
        let beside = jumps(node).into_iter().map(|jump| jump.to).chain(node.on_error.clone());
        next.entry(node.name.clone()).or_default().extend(beside);
    }
    let reached = closure(START, &next);
    for node in subject.spec.nodes.iter().filter(|node| !reached.contains(node.name.as_str())) {
        let place = subject.places.of(&format!("nodes/{}", node.name));
        let message = format!("nothing reaches the node `{}`", node.name);
        let hint = match any_open(subject) {
            true => "add an edge to it, or name it in the `destinations` of the node that goes there".to_owned(),
            false => format!("add an edge to it, such as `START -> {}`, or take it out", node.name),
        };
        found.push(perhaps(subject, Code::UnreachableNode, place, message).hint(hint));
    }
}

/// A mistake, but where a node may go where the file doesn't say.
fn perhaps(subject: &Subject<'_>, code: Code, place: Place, message: String) -> Diagnostic {
    match any_open(subject) {
        true => Diagnostic::warning(code, place, message),
        false => Diagnostic::error(code, place, message),
    }
}

type Ways = BTreeMap<String, BTreeSet<String>>;

/// Where an edge may lead: a program that decides may name any node, unless the file says which.
fn ways(subject: &Subject<'_>, edge: &EdgeSpec) -> Vec<String> {
    match edge {
        EdgeSpec::Decide { to: None, .. } => subject.spec.nodes.iter().map(|node| node.name.clone()).collect(),
        edge => targets(edge, "").into_iter().map(|(target, _)| target.to_owned()).collect(),
    }
}

pub(super) fn no_way_to_end(subject: &Subject<'_>, found: &mut Found) {
    let mut before = Ways::new();
    for edge in &subject.spec.edges {
        for source in sources(edge) {
            for target in ways(subject, edge) {
                before.entry(target).or_default().insert(source.to_owned());
            }
            if may_lead_nowhere(edge) {
                before.entry(END.to_owned()).or_default().insert(source.to_owned());
            }
        }
    }
    for node in &subject.spec.nodes {
        let beside = jumps(node).into_iter().map(|jump| jump.to);
        for target in beside {
            before.entry(target).or_default().insert(node.name.clone());
        }
        if ends_by_itself(subject, &node.name) {
            before.entry(END.to_owned()).or_default().insert(node.name.clone());
        }
    }
    let ends = closure(END, &before);
    for node in subject.spec.nodes.iter().filter(|node| !ends.contains(node.name.as_str())) {
        let place = subject.places.of(&format!("nodes/{}", node.name));
        let leaves = subject.spec.edges.iter().any(|edge| sources(edge).contains(&node.name.as_str()));
        let (message, hint) = match leaves {
            true => (
                format!("from the node `{}` a run can never end", node.name),
                "give one of the edges of the cycle a condition that leads out of it".to_owned(),
            ),
            false => (format!("no edge leaves the node `{}`", node.name), format!("add `{} -> END`", node.name)),
        };
        found.push(perhaps(subject, Code::NoWayToEnd, place, message).hint(hint));
    }
}

/// A node without edges that says by itself where to go, if anywhere: a handler, one with a `goto`, or a program.
fn ends_by_itself(subject: &Subject<'_>, name: &str) -> bool {
    let leaves = subject.spec.edges.iter().any(|edge| sources(edge).contains(&name));
    let handles = subject.spec.nodes.iter().any(|node| node.on_error.as_deref() == Some(name));
    let says = subject.spec.node(name).is_some_and(|node| {
        node.goto.is_some()
            || (!node.destinations.is_empty() && matches!(node.kind, NodeKind::Http(_) | NodeKind::Rust(_)))
    });
    !leaves && (handles || says)
}

/// Whether an edge may choose no target at all.
fn may_lead_nowhere(edge: &EdgeSpec) -> bool {
    match edge {
        EdgeSpec::When { cases, .. } => cases.iter().all(|case| case.condition.is_some()),
        EdgeSpec::Every { .. } | EdgeSpec::Send { .. } | EdgeSpec::Decide { .. } => true,
        EdgeSpec::Plain { .. } => false,
    }
}

fn closure<'w>(start: &'w str, next: &'w Ways) -> BTreeSet<&'w str> {
    let mut reached = BTreeSet::from([start]);
    let mut open = vec![start];
    while let Some(name) = open.pop() {
        for target in next.get(name).into_iter().flatten() {
            if reached.insert(target) {
                open.push(target);
            }
        }
    }
    reached
}
