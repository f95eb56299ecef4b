//! Conditional edges: decided by a worker at the end of its task, or by the fold for START.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Map, Value};

use crate::{
    by_name::ChannelValues,
    channel::{Channel, Content, Fields, Kind, Own, UpdateError, Write},
    expression::{Expression, Scope},
    graph::{Graph, Node, inner_name},
    spec::{Case, END, HttpCall, SendSpec, Target},
    task::{Destination, Reduction, TaskError},
    writes::Writes,
};

/// One conditional edge, its expressions compiled.
#[derive(Debug)]
pub(crate) enum Branch {
    When(Vec<Arm>),
    Every(Vec<Arm>),
    Send(Box<Sending>),
    /// A program decides: it is asked by a worker.
    Decide(Box<Deciding>),
}

#[derive(Debug)]
pub(crate) struct Deciding {
    call: HttpCall,
    to: Option<Vec<String>>,
}

#[derive(Debug)]
pub(crate) struct Arm {
    /// None is `else`.
    condition: Option<Expression>,
    to: Vec<Aim>,
}

#[derive(Debug)]
enum Aim {
    Node(String),
    Send(Box<Sending>),
}

#[derive(Debug)]
pub(crate) struct Sending {
    to: String,
    each: Option<Expression>,
    binding: String,
    with: BTreeMap<String, Expression>,
}

/// Where the conditional edges of `node` lead, in the order of the graph's edges. One that a program decides is an error
/// here: ask with [`decisions`].
pub fn decide(
    graph: &Graph,
    node: &str,
    channels: &ChannelValues,
    writes: &Writes,
    context: &Arc<Value>,
) -> Result<Vec<Destination>, TaskError> {
    let mut destinations = Vec::new();
    let Some(decisions) = decisions(graph, node, channels, writes, &Fields::new())? else { return Ok(destinations) };
    for decision in decisions.each(context) {
        match decision? {
            Decision::To(mut to) => destinations.append(&mut to),
            Decision::Ask { call, .. } => {
                return Err(failed(format!("{} decides where to go, and nobody asked it", call.url)));
            }
        }
    }
    Ok(destinations)
}

/// What one conditional edge comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision<'g> {
    To(Vec<Destination>),
    /// The program behind this address says it, one of `to` where that is told.
    Ask {
        call: &'g HttpCall,
        to: Option<&'g [String]>,
    },
}

/// The conditional edges of a node that has ended, and what they see.
pub struct Decisions<'g> {
    branches: &'g [Branch],
    state: ChannelValues,
}

/// None where the node has no conditional edges.
///
/// `channels` is the state at the start of the step and `writes` what the task itself wrote: a condition sees both
/// joined by the reducers, and nothing of what other tasks of the step wrote. `reduced` is what programs made of what
/// [`reductions`] asks for.
pub fn decisions<'g>(
    graph: &'g Graph,
    node: &str,
    channels: &ChannelValues,
    writes: &Writes,
    reduced: &ChannelValues,
) -> Result<Option<Decisions<'g>>, TaskError> {
    let Some(node) = graph.nodes.get(inner_name(node)).filter(|node| !node.branches.is_empty()) else {
        return Ok(None);
    };
    let state = joined(graph, channels, seen(graph, node, writes), reduced).map_err(refused)?;
    Ok(Some(Decisions { branches: &node.branches, state }))
}

/// What programs have to join before the conditional edges of a node see what it wrote.
pub fn reductions(
    graph: &Graph,
    node: &str,
    channels: &ChannelValues,
    writes: &Writes,
) -> Result<Vec<Reduction>, TaskError> {
    let node = graph.nodes.get(inner_name(node)).filter(|node| !node.branches.is_empty());
    let Some(node) = node.filter(|_| graph.asks_reducers()) else { return Ok(Vec::new()) };
    let mut reductions = Vec::new();
    for (name, writes) in by_channel(seen(graph, node, writes)) {
        if !graph.channels.get(name).is_some_and(|def| def.kind == Kind::Own(Own::Http)) {
            continue;
        }
        let channel = channel_of(channels.get(name).cloned());
        if let Some((value, values)) = channel.to_reduce(&writes).map_err(refused)? {
            reductions.push(Reduction { channel: name.to_owned(), value, values });
        }
    }
    Ok(reductions)
}

/// What no condition reads isn't carried, so there is nothing to join it with.
fn seen<'a>(graph: &'a Graph, node: &'a Node, writes: &'a Writes) -> impl Iterator<Item = &'a (Arc<str>, Arc<Value>)> {
    writes.iter().filter(|(name, _)| node.reads.contains(name) || !graph.channels.contains_key(name))
}

fn by_channel<'a>(writes: impl Iterator<Item = &'a (Arc<str>, Arc<Value>)>) -> BTreeMap<&'a str, Vec<Write<'a>>> {
    let mut written: BTreeMap<&str, Vec<Write<'_>>> = BTreeMap::new();
    for (name, value) in writes {
        written.entry(name).or_default().push(Write::Value(value));
    }
    written
}

fn channel_of(value: Option<Arc<Value>>) -> Channel {
    match value {
        Some(value) => Channel { content: Content::Value(value), ..Channel::default() },
        None => Channel::default(),
    }
}

fn refused(error: UpdateError) -> TaskError {
    TaskError { class: "invalid_update".to_owned(), kind: Some(error.kind.to_owned()), ..failed(error.message) }
}

impl<'g> Decisions<'g> {
    /// What the conditions see, and what a program that decides is given.
    pub fn state(&self) -> &ChannelValues {
        &self.state
    }

    /// Each edge in the order of the graph.
    pub fn each<'a>(&'a self, context: &'a Arc<Value>) -> impl Iterator<Item = Result<Decision<'g>, TaskError>> + 'a {
        let branches: &'g [Branch] = self.branches;
        branches.iter().map(move |branch| branch.decide(&Scope::new(&self.state, context)))
    }
}

/// Whether a program has to be asked before it is known where to go after `node`: the fold itself can't.
pub(crate) fn asks(graph: &Graph, node: &str) -> bool {
    let Some(node) = graph.nodes.get(inner_name(node)).filter(|node| !node.branches.is_empty()) else { return false };
    graph.asks_reducers() || node.branches.iter().any(|branch| matches!(branch, Branch::Decide(_)))
}

/// The state that a task's conditions see: the step's state with the task's own writes, as if the step were over. What
/// lives one step is gone.
fn joined<'a>(
    graph: &Graph,
    channels: &ChannelValues,
    writes: impl Iterator<Item = &'a (Arc<str>, Arc<Value>)>,
    reduced: &ChannelValues,
) -> Result<ChannelValues, UpdateError> {
    let lasts = |name: &str| graph.channels.get(name).is_none_or(|def| !def.kind.lives_one_step());
    let lasting = channels.iter().filter(|(name, _)| lasts(name));
    let mut state: ChannelValues = lasting.map(|(name, value)| (name.clone(), value.clone())).collect();
    for (name, mut writes) in by_channel(writes) {
        let Some(def) = graph.channels.get(name).filter(|def| def.state) else {
            // A key that the state doesn't have is seen by the node's own conditions only.
            if let (false, Some(Write::Value(value))) = (state.contains_key(name), writes.last()) {
                state.insert(name.to_owned(), (*value).clone());
            }
            continue;
        };
        if let Some(value) = reduced.get(name) {
            writes = vec![Write::Reduced(value)];
        }
        let mut channel = channel_of(state.remove(name));
        if let Some(change) = channel.plan(name, &def.kind, &writes)? {
            channel.commit(change);
        }
        if let Content::Value(value) = channel.content {
            state.insert(name.to_owned(), value);
        }
    }
    Ok(state)
}

impl Branch {
    pub fn when(cases: &[Case]) -> Result<Self, String> {
        Ok(Branch::When(arms(cases)?))
    }

    pub fn every(cases: &[Case]) -> Result<Self, String> {
        Ok(Branch::Every(arms(cases)?))
    }

    pub fn send(send: &SendSpec) -> Result<Self, String> {
        Ok(Branch::Send(Box::new(Sending::compile(send)?)))
    }

    pub fn asking(call: &HttpCall, to: Option<&Vec<String>>) -> Self {
        Branch::Decide(Box::new(Deciding { call: call.clone(), to: to.cloned() }))
    }

    /// Every node that it may lead to, `END` too.
    pub fn targets(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        match self {
            Branch::When(arms) | Branch::Every(arms) => {
                Box::new(arms.iter().flat_map(|arm| &arm.to).map(|aim| match aim {
                    Aim::Node(name) => name.as_str(),
                    Aim::Send(sending) => sending.to.as_str(),
                }))
            }
            Branch::Send(sending) => Box::new(std::iter::once(sending.to.as_str())),
            Branch::Decide(deciding) => Box::new(deciding.to.iter().flatten().map(String::as_str)),
        }
    }

    fn decide(&self, scope: &Scope<'_>) -> Result<Decision<'_>, TaskError> {
        let mut to = Vec::new();
        match self {
            Branch::When(arms) => {
                for arm in arms {
                    if arm.holds(scope)? {
                        arm.follow(scope, &mut to)?;
                        break;
                    }
                }
            }
            Branch::Every(arms) => {
                for arm in arms {
                    if arm.holds(scope)? {
                        arm.follow(scope, &mut to)?;
                    }
                }
            }
            Branch::Send(sending) => sending.follow(scope, &mut to)?,
            Branch::Decide(deciding) => {
                return Ok(Decision::Ask { call: &deciding.call, to: deciding.to.as_deref() });
            }
        }
        Ok(Decision::To(to))
    }
}

impl Arm {
    fn holds(&self, scope: &Scope<'_>) -> Result<bool, TaskError> {
        self.condition.as_ref().map_or(Ok(true), |condition| condition.holds(scope))
    }

    fn follow(&self, scope: &Scope<'_>, destinations: &mut Vec<Destination>) -> Result<(), TaskError> {
        for aim in &self.to {
            match aim {
                Aim::Node(name) if name == END => {}
                Aim::Node(name) => destinations.push(Destination::Node(name.clone())),
                Aim::Send(sending) => sending.follow(scope, destinations)?,
            }
        }
        Ok(())
    }
}

impl Sending {
    fn compile(send: &SendSpec) -> Result<Self, String> {
        let SendSpec { to, each, binding, with } = send;
        let each = each.as_deref().map(compile).transpose()?;
        let with = with.iter().map(|(name, cel)| Ok((name.clone(), compile(cel)?)));
        Ok(Sending {
            to: to.clone(),
            each,
            binding: binding.clone().unwrap_or_else(|| "item".to_owned()),
            with: with.collect::<Result<_, String>>()?,
        })
    }

    fn follow(&self, scope: &Scope<'_>, destinations: &mut Vec<Destination>) -> Result<(), TaskError> {
        let Some(each) = &self.each else {
            destinations.push(self.destination(scope)?);
            return Ok(());
        };
        match each.evaluate(scope)? {
            Value::Array(items) => {
                for item in &items {
                    let items = [(self.binding.as_str(), item)];
                    destinations.push(self.destination(&Scope { items: &items, ..*scope })?);
                }
                Ok(())
            }
            _ => Err(failed(format!("`{}` must give a list: one task is made for each item", each.text()))),
        }
    }

    fn destination(&self, scope: &Scope<'_>) -> Result<Destination, TaskError> {
        let mut argument = Map::new();
        for (name, value) in &self.with {
            argument.insert(name.clone(), value.evaluate(scope)?);
        }
        Ok(Destination::Send { node: self.to.clone(), argument: Arc::new(Value::Object(argument)) })
    }
}

fn compile(text: &str) -> Result<Expression, String> {
    Expression::compile(text).map_err(|error| format!("`{text}`: {error}"))
}

fn failed(message: String) -> TaskError {
    TaskError { class: "node_failed".to_owned(), message, ..TaskError::default() }
}

fn arms(cases: &[Case]) -> Result<Vec<Arm>, String> {
    let arm = |case: &Case| {
        let to = case.to.iter().map(|target| match target {
            Target::Node(name) => Ok(Aim::Node(name.clone())),
            Target::Send(send) => Sending::compile(send).map(|sending| Aim::Send(Box::new(sending))),
        });
        Ok(Arm {
            condition: case.condition.as_deref().map(compile).transpose()?,
            to: to.collect::<Result<_, String>>()?,
        })
    };
    cases.iter().map(arm).collect()
}
