//! Ways through the graph: every node is reached, and from every node a run can end.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, Subject, sources, targets};
use crate::{
    file::{Code, Diagnostic},
    spec::{END, EdgeSpec, START},
};

pub(super) fn unreachable_node(subject: &Subject<'_>, found: &mut Found) {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in &subject.spec.edges {
        for source in sources(edge) {
            next.entry(source).or_default().extend(targets(edge, "").into_iter().map(|(target, _)| target));
        }
    }
    if !next.contains_key(START) {
        return;
    }
    let reached = closure(START, &next);
    for node in subject.spec.nodes.iter().filter(|node| !reached.contains(node.name.as_str())) {
        let place = subject.places.of(&format!("nodes/{}", node.name));
        let message = format!("nothing reaches the node `{}`", node.name);
        let hint = format!("add an edge to it, such as `START -> {}`, or take it out", node.name);
        found.push(Diagnostic::error(Code::UnreachableNode, place, message).hint(hint));
    }
}

pub(super) fn no_way_to_end(subject: &Subject<'_>, found: &mut Found) {
    let mut before: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in &subject.spec.edges {
        for source in sources(edge) {
            for (target, _) in targets(edge, "") {
                before.entry(target).or_default().insert(source);
            }
            if may_lead_nowhere(edge) {
                before.entry(END).or_default().insert(source);
            }
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
        found.push(Diagnostic::error(Code::NoWayToEnd, place, message).hint(hint));
    }
}

/// Whether an edge may choose no target at all.
fn may_lead_nowhere(edge: &EdgeSpec) -> bool {
    match edge {
        EdgeSpec::When { cases, .. } => cases.iter().all(|case| case.condition.is_some()),
        EdgeSpec::Every { .. } | EdgeSpec::Send { .. } | EdgeSpec::Decide { .. } => true,
        EdgeSpec::Plain { .. } => false,
    }
}

fn closure<'s>(start: &'s str, next: &BTreeMap<&'s str, BTreeSet<&'s str>>) -> BTreeSet<&'s str> {
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
