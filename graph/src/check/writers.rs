//! Two nodes that write one channel in one superstep, where the channel takes one value a step.

use std::collections::BTreeMap;

use super::{Found, Subject, given::sends, supersteps};
use crate::{
    file::{Code, Diagnostic},
    spec::Reducer,
};

pub(super) fn two_writers(subject: &Subject<'_>, found: &mut Found) {
    let mut clashes: BTreeMap<(&str, &str, &str), bool> = BTreeMap::new();
    for step in supersteps::reachable(subject) {
        let mut writer_of: BTreeMap<&str, &str> = BTreeMap::new();
        for node in subject.spec.nodes.iter().filter(|node| step.nodes.contains(node.name.as_str())) {
            for channel in subject.writes(node) {
                if !takes_one_value(subject, channel) {
                    continue;
                }
                if let Some(first) = writer_of.insert(channel, &node.name) {
                    *clashes.entry((channel, first, &node.name)).or_default() |= step.certain;
                }
            }
        }
    }
    for ((channel, one, other), certain) in clashes {
        let place = subject.places.of(&format!("nodes/{other}/update/{channel}/@key"));
        let hint = format!(
            "give `{channel}` a reducer that joins values, such as append, or let one of the nodes run after the other"
        );
        found.push(match certain {
            true => {
                let message =
                    format!("`{one}` and `{other}` write `{channel}` in the same step, and it takes one value");
                Diagnostic::error(Code::TwoWriters, place, message).hint(hint)
            }
            false => {
                let message =
                    format!("`{one}` and `{other}` may write `{channel}` in the same step, and it takes one value");
                Diagnostic::warning(Code::TwoWriters, place, message).hint(hint)
            }
        });
    }
}

/// Many tasks of one node, where the channel takes one value a step.
pub(super) fn many_writers(subject: &Subject<'_>, found: &mut Found) {
    for node in &subject.spec.nodes {
        let edges = subject.spec.edges.iter();
        let many = edges.flat_map(|edge| sends(edge, "")).any(|(send, _)| send.to == node.name && send.each.is_some());
        for channel in subject.writes(node).into_iter().filter(|_| many) {
            if takes_one_value(subject, channel) {
                let place = subject.places.of(&format!("nodes/{}/update/{channel}/@key", node.name));
                let message = format!(
                    "many tasks of `{}` may write `{channel}` in the same step, and it takes one value",
                    node.name
                );
                let hint = format!("give `{channel}` a reducer that joins values, such as append");
                found.push(Diagnostic::warning(Code::TwoWriters, place, message).hint(hint));
            }
        }
    }
}

fn takes_one_value(subject: &Subject<'_>, channel: &str) -> bool {
    subject
        .spec
        .channels
        .get(channel)
        .is_some_and(|channel| matches!(channel.reducer, Reducer::Last | Reducer::Ephemeral | Reducer::Untracked))
}
