//! Edges, one by one.

use std::collections::BTreeSet;

use super::{Found, Subject, sources, targets};
use crate::{
    file::{Code, Diagnostic},
    spec::{END, EdgeSpec, START},
};

pub(super) fn no_start(subject: &Subject<'_>, found: &mut Found) {
    if !subject.spec.edges.iter().any(|edge| sources(edge).contains(&START)) {
        let message = "no edge leaves START: a run would not know where to begin";
        let hint = match subject.spec.nodes.first() {
            Some(node) => format!("add `START -> {}`", node.name),
            None => "add a node, and an edge from START to it".to_owned(),
        };
        found.push(Diagnostic::error(Code::NoStart, subject.places.of("edges"), message).hint(hint));
    }
}

pub(super) fn edge_direction(subject: &Subject<'_>, found: &mut Found) {
    for (index, edge) in subject.spec.edges.iter().enumerate() {
        let path = format!("edges/{index}");
        let from = sources(edge);
        if from.contains(&END) {
            let message = "an edge leaves END, where a run is over";
            let hint = "take the edge out, or let another node be its source";
            found.push(Diagnostic::error(Code::EdgeDirection, subject.places.of(&path), message).hint(hint));
        }
        if from.len() > 1 && from.contains(&START) {
            let message = "START can't be waited for together with a node";
            let hint = "write an edge from START of its own";
            found.push(Diagnostic::error(Code::EdgeDirection, subject.places.of(&path), message).hint(hint));
        }
        for (target, path) in targets(edge, &path) {
            if target == START {
                let message = "an edge leads to START, where a run only begins";
                let hint = "name the node that the run shall go back to";
                found.push(Diagnostic::error(Code::EdgeDirection, subject.places.of(&path), message).hint(hint));
            }
        }
    }
}

pub(super) fn duplicate_edge(subject: &Subject<'_>, found: &mut Found) {
    let mut seen = BTreeSet::new();
    for (index, edge) in subject.spec.edges.iter().enumerate() {
        let EdgeSpec::Plain { from, to } = edge else { continue };
        let sources: BTreeSet<&String> = from.iter().collect();
        if sources.len() < from.len() {
            let message = "this edge waits for the same node twice";
            let place = subject.places.of(&format!("edges/{index}"));
            found.push(Diagnostic::warning(Code::DuplicateEdge, place, message).hint("name it once"));
        } else if !seen.insert((sources, to)) {
            let message = format!("the edge `{} -> {to}` stands here a second time", from.join(" & "));
            let place = subject.places.of(&format!("edges/{index}"));
            found.push(Diagnostic::warning(Code::DuplicateEdge, place, message).hint("take one of them out"));
        }
    }
}

pub(super) fn else_not_last(subject: &Subject<'_>, found: &mut Found) {
    for (index, edge) in subject.spec.edges.iter().enumerate() {
        let EdgeSpec::When { cases, .. } = edge else { continue };
        let Some(position) = cases.iter().position(|case| case.condition.is_none()) else { continue };
        if position + 1 < cases.len() {
            let place = subject.places.of(&format!("edges/{index}/cases/{position}"));
            let message = "`else` always holds, so the cases after it are never looked at";
            found.push(Diagnostic::error(Code::ElseNotLast, place, message).hint("make it the last case"));
        }
    }
}

/// A run that finds no case ends there, as in LangGraph: seldom what is meant.
pub(super) fn missing_else(subject: &Subject<'_>, found: &mut Found) {
    for (index, edge) in subject.spec.edges.iter().enumerate() {
        let EdgeSpec::When { from, cases } = edge else { continue };
        if !cases.is_empty() && cases.iter().all(|case| case.condition.is_some()) {
            let place = subject.places.of(&format!("edges/{index}"));
            let message = format!("where no case holds after `{from}`, the run ends there");
            let hint = "add `{else: node}`, or `{else: END}` if that is meant";
            found.push(Diagnostic::warning(Code::MissingElse, place, message).hint(hint));
        }
    }
}
