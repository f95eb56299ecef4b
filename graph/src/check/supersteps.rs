//! Which nodes can run in one superstep: every way that a run may take, walked with its choices left open.

use std::collections::{BTreeMap, BTreeSet};

use super::{Subject, jumps::jumps, sources, target_name};
use crate::spec::{Case, EdgeSpec, START};

/// States that are looked at; a graph with more is left alone.
const STATES_MAX: usize = 2_000;
/// Outcomes of one superstep.
const OUTCOMES_MAX: usize = 256;

/// Nodes that run together, and whether they always do, whatever the conditions say.
pub(super) struct Superstep<'s> {
    pub nodes: BTreeSet<&'s str>,
    pub certain: bool,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct State<'s> {
    running: BTreeSet<&'s str>,
    /// Deferred nodes that wait until nothing else runs.
    parked: BTreeSet<&'s str>,
    /// Sources that each join has seen.
    joins: BTreeMap<usize, BTreeSet<&'s str>>,
}

/// Where a superstep leads: nodes, and (join, source) pairs.
#[derive(Clone, Default)]
struct Outcome<'s> {
    nodes: BTreeSet<&'s str>,
    arrivals: BTreeSet<(usize, &'s str)>,
}

pub(super) fn reachable<'s>(subject: &Subject<'s>) -> Vec<Superstep<'s>> {
    let first = State { running: BTreeSet::from([START]), parked: BTreeSet::new(), joins: BTreeMap::new() };
    let mut seen: BTreeSet<(State<'s>, bool)> = BTreeSet::new();
    let mut open = vec![(first, true)];
    let mut steps = Vec::new();
    while let Some((state, certain)) = open.pop() {
        if seen.len() >= STATES_MAX {
            break;
        }
        if state.running.is_empty() || !seen.insert((state.clone(), certain)) {
            continue;
        }
        steps.push(Superstep { nodes: state.running.clone(), certain });
        let Some(outcomes) = outcomes(subject, &state) else { continue };
        let certain = certain && outcomes.len() == 1;
        open.extend(outcomes.into_iter().map(|outcome| (next(subject, &state, outcome), certain)));
    }
    steps
}

fn outcomes<'s>(subject: &Subject<'s>, state: &State<'s>) -> Option<Vec<Outcome<'s>>> {
    let mut outcomes = vec![Outcome::default()];
    for source in &state.running {
        for (index, edge) in subject.spec.edges.iter().enumerate() {
            if !sources(edge).contains(source) {
                continue;
            }
            let options = options(edge, index, source);
            if outcomes.len() * options.len() > OUTCOMES_MAX {
                return None;
            }
            outcomes = outcomes.iter().flat_map(|outcome| options.iter().map(|option| join(outcome, option))).collect();
        }
        let jumps = by_itself(subject, source);
        if outcomes.len() * jumps.len() > OUTCOMES_MAX {
            return None;
        }
        if !jumps.is_empty() {
            outcomes = outcomes.iter().flat_map(|outcome| jumps.iter().map(|jump| join(outcome, jump))).collect();
        }
    }
    Some(outcomes)
}

/// Where a node may go by its own word: one of these places, or none.
fn by_itself<'s>(subject: &Subject<'s>, source: &str) -> Vec<Outcome<'s>> {
    let Some(node) = subject.spec.node(source) else { return Vec::new() };
    let known = |name: &str| subject.spec.node(name).map(|node| node.name.as_str());
    let to = |name: &'s str| Outcome { nodes: BTreeSet::from([name]), arrivals: BTreeSet::new() };
    let jumps: Vec<_> = jumps(node).iter().filter_map(|jump| known(&jump.to)).map(to).collect();
    if jumps.is_empty() { jumps } else { jumps.into_iter().chain([Outcome::default()]).collect() }
}

fn options<'s>(edge: &'s EdgeSpec, index: usize, source: &'s str) -> Vec<Outcome<'s>> {
    let to = |names: Vec<&'s str>| Outcome { nodes: names.into_iter().collect(), arrivals: BTreeSet::new() };
    match edge {
        EdgeSpec::Plain { from, to: target } if from.len() == 1 => vec![to(vec![target])],
        EdgeSpec::Plain { .. } => {
            vec![Outcome { nodes: BTreeSet::new(), arrivals: BTreeSet::from([(index, source)]) }]
        }
        EdgeSpec::When { cases, .. } => {
            let mut options: Vec<_> = cases.iter().map(|case| to(names(case))).collect();
            if cases.iter().all(|case| case.condition.is_some()) {
                options.push(Outcome::default());
            }
            options
        }
        EdgeSpec::Every { cases, .. } => cases.iter().fold(vec![Outcome::default()], |options, case| {
            if options.len() > OUTCOMES_MAX {
                return options;
            }
            let taken: Vec<_> = options.iter().map(|option| join(option, &to(names(case)))).collect();
            options.into_iter().chain(taken).collect()
        }),
        EdgeSpec::Send { send, .. } => vec![Outcome::default(), to(vec![&send.to])],
        EdgeSpec::Decide { to: names, .. } => {
            let each = names.iter().flatten().map(|name| to(vec![name]));
            each.chain([Outcome::default()]).collect()
        }
    }
}

fn names(case: &Case) -> Vec<&str> {
    case.to.iter().map(target_name).collect()
}

fn join<'s>(one: &Outcome<'s>, other: &Outcome<'s>) -> Outcome<'s> {
    Outcome { nodes: &one.nodes | &other.nodes, arrivals: &one.arrivals | &other.arrivals }
}

fn next<'s>(subject: &Subject<'s>, state: &State<'s>, outcome: Outcome<'s>) -> State<'s> {
    let mut joins = state.joins.clone();
    let mut triggered = outcome.nodes;
    for (index, source) in outcome.arrivals {
        joins.entry(index).or_default().insert(source);
    }
    joins.retain(|index, seen| match &subject.spec.edges[*index] {
        EdgeSpec::Plain { from, to } if from.iter().all(|source| seen.contains(source.as_str())) => {
            triggered.insert(to);
            false
        }
        _ => true,
    });
    let mut parked = state.parked.clone();
    let mut running = BTreeSet::new();
    for name in triggered {
        match subject.spec.node(name) {
            Some(node) if node.defer => parked.insert(name),
            Some(_) => running.insert(name),
            None => false,
        };
    }
    if running.is_empty() {
        running = std::mem::take(&mut parked);
    }
    State { running, parked, joins }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Places, read};

    /// Supersteps as sorted names, those that depend on a condition with a question mark.
    fn check(nodes: &str, edges: &str, expect: &[&str]) {
        let head = "version: 1\nname: s\nstate: {n: {type: integer, reducer: sum}}\nnodes:\n";
        let nodes: String = nodes
            .split(' ')
            .map(|name| match name.strip_suffix('~') {
                Some(name) => format!("  {name}: {{kind: transform, defer: true, update: {{n: 1}}}}\n"),
                None => format!("  {name}: {{kind: transform, update: {{n: 1}}}}\n"),
            })
            .collect();
        let checked = read(&format!("{head}{nodes}edges: [{edges}]\n"), None);
        let spec = checked.spec.unwrap_or_else(|| panic!("{:?}", checked.diagnostics));
        let places = Places::new("");
        let none = BTreeMap::new();
        let subject = Subject { spec: &spec, text: "", places: &places, models: None, subgraphs: &none };
        let mut steps: Vec<String> = reachable(&subject)
            .iter()
            .map(|step| {
                let names: Vec<&str> = step.nodes.iter().copied().collect();
                format!("{}{}", names.join(" "), if step.certain { "" } else { "?" })
            })
            .collect();
        steps.sort();
        assert_eq!(steps, expect, "{edges}");
    }

    #[test]
    fn a_join_waits_for_all() {
        check("a b c d", "START -> a, START -> b, a -> c, b & c -> d, d -> END", &["START", "a b", "c", "d"]);
    }

    #[test]
    fn a_deferred_node_waits_until_nothing_else_runs() {
        check("a b w~", "START -> a, START -> w, a -> b, b -> END, w -> END", &["START", "a", "b", "w"]);
    }

    #[test]
    fn a_choice_makes_what_follows_uncertain() {
        let when = "{from: START, when: [{if: state.n > 1, to: a}, {else: b}]}";
        check("a b", &format!("{when}, a -> END, b -> END"), &["START", "a?", "b?"]);
        let every = "{from: START, every: [{if: state.n > 1, to: a}, {if: state.n > 2, to: b}]}";
        check("a b", &format!("{every}, a -> END, b -> END"), &["START", "a b?", "a?", "b?"]);
    }

    #[test]
    fn a_cycle_is_walked_once() {
        let out = "{from: b, when: [{if: state.n > 3, to: END}, {else: a}]}";
        check("a b", &format!("START -> a, a -> b, {out}"), &["START", "a", "a?", "b", "b?"]);
    }
}
