//! The end of a superstep: the writes of all its tasks become the channels of the next one.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use crate::{
    channel::{Change, Channel, Fields, Kind, Own, ToReduce, UpdateError, Write},
    checkpoint::Checkpoint,
    graph::{Graph, Node, SENDS, START_NODE},
    step_task::{Finished, StepTask},
    task::{Destination, Reduction},
};

/// One source of change: a task, the input, or a task that is discarded.
pub(crate) struct Writer<'a> {
    pub node: &'a Arc<str>,
    pub triggers: &'a [Arc<str>],
    pub writes: Writes<'a>,
}

pub(crate) enum Writes<'a> {
    /// A task that is given up: its triggers count as seen.
    None,
    Task(&'a Finished),
    /// One write to one channel.
    One(&'a str, Write<'a>),
}

/// What an apply did, as far as the fold asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// A channel of the state received a value.
    pub wrote: bool,
    /// One of the output did.
    pub wrote_output: bool,
}

/// Whether the writes make the next step, or only a view of an unfinished one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Step,
    /// What lives for one step is not seen: it is set and cleared at once.
    View,
}

impl<'a> Writer<'a> {
    /// The tasks of a step in the order in which their writes count: pulled ones by name, then pushed ones by index.
    pub fn of_tasks(tasks: impl Iterator<Item = &'a StepTask>) -> Vec<Self> {
        // Who joins writes has none of its own.
        let mut tasks: Vec<&StepTask> = tasks.filter(|task| task.reduces.is_none()).collect();
        tasks.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order()));
        let writer = |task: &'a StepTask| Writer {
            node: &task.node,
            triggers: &task.triggers,
            writes: task.finished().map_or(Writes::None, Writes::Task),
        };
        tasks.into_iter().map(writer).collect()
    }
}

impl<'a> Writer<'a> {
    /// What a command wrote, by no node and on no trigger.
    pub fn of_command(command: &'a Finished) -> Self {
        Writer { node: input_name(), triggers: &[], writes: Writes::Task(command) }
    }

    /// Its task counts as seen, and what it wrote as not written.
    pub fn give_up(&mut self) {
        self.writes = Writes::None;
    }

    /// New input for START's hidden task.
    pub fn of_input(input: &'a Fields) -> Self {
        Writer { node: input_name(), triggers: &[], writes: Writes::One(START_NODE, Write::Fields(input)) }
    }
}

fn input_name() -> &'static Arc<str> {
    static NAME: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from("__input__"));
    &NAME
}

/// Applies `writers`, in order, as one superstep. On an error nothing has changed.
pub(crate) fn apply(
    graph: &Graph,
    checkpoint: &mut Checkpoint,
    writers: &[Writer<'_>],
    purpose: Purpose,
) -> Result<Applied, UpdateError> {
    apply_reduced(graph, checkpoint, writers, purpose, &Fields::new())
}

/// As [`apply`], with what programs made of the writes to some channels.
pub(crate) fn apply_reduced(
    graph: &Graph,
    checkpoint: &mut Checkpoint,
    writers: &[Writer<'_>],
    purpose: Purpose,
    reduced: &Fields,
) -> Result<Applied, UpdateError> {
    let mut written = group(graph, writers);
    if purpose == Purpose::View && graph.asks_reducers() {
        // Nobody is asked for a view: such a channel is shown as it was.
        let asked =
            |name: &str, writes: &[Write<'_>]| matches!(to_reduce(graph, checkpoint, name, writes), Ok(Some(_)));
        written.retain(|name, writes| reduced.contains_key(*name) || !asked(name, writes));
    }
    for (name, value) in reduced {
        if let Some(writes) = written.get_mut(name.as_str()) {
            *writes = vec![Write::Reduced(value)];
        }
    }
    let changes = plan(graph, checkpoint, &written)?;
    let next = checkpoint.version + 1;
    let bump = writers.iter().any(|writer| !writer.triggers.is_empty());
    let mut commit = Commit { graph, checkpoint, next, applied: Applied::default(), triggered: false };
    commit.see(writers);
    commit.consume(writers);
    let updated = commit.update(changes);
    if bump {
        commit.pass(|name| purpose == Purpose::Step && updated.contains(&name));
        if !commit.triggered {
            commit.finish();
        }
    }
    Ok(commit.applied)
}

/// What programs have to join before the writes can be applied.
pub(crate) fn reductions(
    graph: &Graph,
    checkpoint: &Checkpoint,
    writers: &[Writer<'_>],
) -> Result<Vec<Reduction>, UpdateError> {
    let mut reductions = Vec::new();
    for (name, writes) in group(graph, writers) {
        if let Some((value, values)) = to_reduce(graph, checkpoint, name, &writes)? {
            reductions.push(Reduction { channel: name.to_owned(), value, values });
        }
    }
    Ok(reductions)
}

fn to_reduce(
    graph: &Graph,
    checkpoint: &Checkpoint,
    name: &str,
    writes: &[Write<'_>],
) -> Result<ToReduce, UpdateError> {
    let asked = graph.channels.get(name).is_some_and(|def| def.kind == Kind::Own(Own::Http));
    match checkpoint.channels.get(name).filter(|_| asked) {
        Some(channel) => channel.to_reduce(writes),
        None => Ok(None),
    }
}

type Written<'a> = BTreeMap<&'a str, Vec<Write<'a>>>;

/// The writes by channel; what no channel of the graph takes is dropped.
fn group<'a>(graph: &'a Graph, writers: &[Writer<'a>]) -> Written<'a> {
    let mut written = Written::new();
    for writer in writers {
        let mut add = |channel: &str, write: Write<'a>| {
            if let Some((name, _)) = graph.channels.get_key_value(channel) {
                written.entry(name).or_default().push(write);
            }
        };
        match &writer.writes {
            Writes::None => {}
            Writes::One(channel, write) => add(channel, write.clone()),
            Writes::Task(finished) => {
                finished.writes.iter().for_each(|(channel, value)| add(channel, Write::Value(value)));
                finished.goto.iter().for_each(|to| go(graph, to, &mut add));
                if let Some(node) = graph.nodes.get(writer.node) {
                    node.edges.iter().for_each(|channel| add(channel, edge(node)));
                }
                finished.branches.iter().for_each(|to| go(graph, to, &mut add));
            }
        }
    }
    written
}

/// A barrier takes the name of who wrote; other edges only that someone did.
fn edge(node: &Node) -> Write<'_> {
    Write::Name(&node.name)
}

fn go<'a>(graph: &Graph, to: &'a Destination, add: &mut impl FnMut(&str, Write<'a>)) {
    match to {
        Destination::Send { node, argument } => add(SENDS, Write::Send { node, argument }),
        Destination::Node(name) => {
            if let Some(node) = graph.nodes.get(name.as_str()) {
                add(&node.branch, Write::Signal);
            }
        }
    }
}

/// All that the writes will change, before anything does.
fn plan<'a>(
    graph: &Graph,
    checkpoint: &Checkpoint,
    written: &Written<'a>,
) -> Result<Vec<(&'a str, Planned)>, UpdateError> {
    let mut changes = Vec::with_capacity(written.len());
    for (name, writes) in written {
        let (Some(def), Some(channel)) = (graph.channels.get(*name), checkpoint.channels.get(*name)) else { continue };
        // What an edge writes can't be refused, and what it changes depends on what the step consumes.
        if let Some(names) = Planned::names(&def.kind, writes) {
            changes.push((*name, names));
        } else if let Some(change) = channel.plan(name, &def.kind, writes)? {
            changes.push((*name, Planned::Change(change)));
        }
    }
    Ok(changes)
}

enum Planned {
    Change(Change),
    Names(Vec<Arc<str>>),
}

impl Planned {
    fn names(kind: &Kind, writes: &[Write<'_>]) -> Option<Self> {
        let names = writes.iter().filter_map(|write| match write {
            Write::Name(name) => Some((*name).clone()),
            Write::Value(_) | Write::Reduced(_) | Write::Fields(_) | Write::Signal | Write::Send { .. } => None,
        });
        kind.is_barrier().then(|| Planned::Names(names.collect()))
    }
}

/// The second half of an apply, which can't fail.
struct Commit<'a> {
    graph: &'a Graph,
    checkpoint: &'a mut Checkpoint,
    next: u64,
    applied: Applied,
    /// A channel that changed triggers some node.
    triggered: bool,
}

impl Commit<'_> {
    /// Every task has now seen its triggers as they are.
    fn see(&mut self, writers: &[Writer<'_>]) {
        for writer in writers.iter().filter(|writer| !writer.triggers.is_empty()) {
            if !self.checkpoint.seen.contains_key(writer.node) {
                self.checkpoint.seen.insert(writer.node.clone(), BTreeMap::new());
            }
            let Some(seen) = self.checkpoint.seen.get_mut(writer.node) else { continue };
            for trigger in writer.triggers {
                let version = self.checkpoint.channels.get(trigger).map_or(0, |channel| channel.version);
                match seen.get_mut(trigger) {
                    Some(seen) => *seen = version,
                    None if version > 0 => {
                        seen.insert(trigger.clone(), version);
                    }
                    None => {}
                }
            }
        }
    }

    fn consume(&mut self, writers: &[Writer<'_>]) {
        for trigger in writers.iter().flat_map(|writer| writer.triggers) {
            let Some(def) = self.graph.channels.get(trigger) else { continue };
            let Some(channel) = self.checkpoint.channels.get_mut(trigger) else { continue };
            if channel.consume(&def.kind) {
                channel.version = self.next;
                self.checkpoint.version = self.next;
            }
        }
    }

    /// Makes the planned changes; gives the channels that are available for it.
    fn update<'b>(&mut self, changes: Vec<(&'b str, Planned)>) -> Vec<&'b str> {
        let mut updated = Vec::with_capacity(changes.len());
        for (name, planned) in changes {
            let Some(def) = self.graph.channels.get(name) else { continue };
            let Some(channel) = self.checkpoint.channels.get_mut(name) else { continue };
            match planned {
                Planned::Change(change) => channel.commit(change),
                Planned::Names(names) if !channel.add_names(&names) => continue,
                Planned::Names(_) => {}
            }
            channel.version = self.next;
            self.checkpoint.version = self.next;
            if channel.available(&def.kind) {
                self.applied.wrote |= def.state;
                self.applied.wrote_output |= def.output;
                self.triggered |= def.trigger;
                updated.push(name);
            }
        }
        updated
    }

    /// Tells every channel that was not updated that a step went by.
    fn pass(&mut self, updated: impl Fn(&str) -> bool) {
        for (name, def) in &self.graph.channels {
            if !def.kind.lives_one_step() || updated(name) {
                continue;
            }
            let Some(channel) = self.checkpoint.channels.get_mut(name) else { continue };
            if channel.pass() {
                channel.version = self.next;
                self.checkpoint.version = self.next;
            }
        }
    }

    /// Nothing that changed makes a node run: what waits for that is let go.
    fn finish(&mut self) {
        for (name, def) in self.graph.channels.iter().filter(|(_, def)| def.kind.waits_for_the_rest()) {
            let Some(channel) = self.checkpoint.channels.get_mut(name) else { continue };
            if channel.finish(&def.kind) {
                channel.version = self.next;
                self.checkpoint.version = self.next;
            }
        }
    }
}

impl Channel {
    fn add_names(&mut self, names: &[Arc<str>]) -> bool {
        let writes: Vec<Write<'_>> = names.iter().map(Write::Name).collect();
        let change = self.plan_names(&writes);
        let changed = change.is_some();
        change.into_iter().for_each(|change| self.commit(change));
        changed
    }
}
