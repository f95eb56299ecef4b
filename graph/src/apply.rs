//! The end of a superstep: the writes of all its tasks become the channels of the next one.

use std::sync::{Arc, LazyLock};

use crate::{
    by_name::ByName,
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
    pub writes: Given<'a>,
}

pub(crate) enum Given<'a> {
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
            writes: task.finished().map_or(Given::None, Given::Task),
        };
        tasks.into_iter().map(writer).collect()
    }
}

impl<'a> Writer<'a> {
    /// What a command wrote, by no node and on no trigger.
    pub fn of_command(command: &'a Finished) -> Self {
        Writer { node: input_name(), triggers: &[], writes: Given::Task(command) }
    }

    /// Its task counts as seen, and what it wrote as not written.
    pub fn give_up(&mut self) {
        self.writes = Given::None;
    }

    /// New input for START's hidden task.
    pub fn of_input(input: &'a Fields) -> Self {
        Writer { node: input_name(), triggers: &[], writes: Given::One(START_NODE, Write::Fields(input)) }
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
        written.retain(|name, writes| reduced.contains_key(name) || !asked(name, writes));
    }
    for (name, value) in reduced {
        written.replace(name, Write::Reduced(value));
    }
    let changes = plan(graph, checkpoint, &written).map_err(|refused| first_written(graph, writers, refused))?;
    let next = checkpoint.version + 1;
    let bump = writers.iter().any(|writer| !writer.triggers.is_empty());
    let mut commit = Commit { graph, checkpoint, next, applied: Applied::default(), triggered: false };
    commit.see(writers);
    commit.consume(writers);
    let updated = commit.update(changes);
    if bump {
        commit.pass(|place| purpose == Purpose::Step && updated.contains(&place));
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
    if !graph.asks_reducers() {
        return Ok(reductions);
    }
    for (_, name, writes) in group(graph, writers).each() {
        if let Some((value, values)) = to_reduce(graph, checkpoint, name, writes)? {
            reductions.push(Reduction { channel: str::to_owned(name), value, values });
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

/// The writes of a step by channel, each channel's in the order in which they count.
struct Written<'a> {
    graph: &'a Graph,
    /// Where the channels stand in the graph, and how many writes each has.
    channels: Vec<(usize, usize)>,
    writes: Vec<Write<'a>>,
}

impl<'a> Written<'a> {
    /// Place and name of each channel, with what is written to it.
    fn each(&self) -> impl Iterator<Item = (usize, &'a Arc<str>, &[Write<'a>])> {
        let mut rest = self.writes.as_slice();
        self.channels.iter().map(move |&(place, count)| {
            let (writes, others) = rest.split_at(count);
            rest = others;
            (place, self.graph.channels.nth(place).0, writes)
        })
    }

    fn retain(&mut self, keep: impl Fn(&str, &[Write<'a>]) -> bool) {
        let kept: Vec<_> = self.each().filter(|(_, name, writes)| keep(name, writes)).collect();
        let channels = kept.iter().map(|(place, _, writes)| (*place, writes.len())).collect();
        let writes = kept.into_iter().flat_map(|(_, _, writes)| writes).cloned().collect();
        (self.channels, self.writes) = (channels, writes);
    }

    /// One write takes the place of all that were for a channel.
    fn replace(&mut self, channel: &str, write: Write<'a>) {
        let mut before = 0;
        for (place, count) in &mut self.channels {
            if **self.graph.channels.nth(*place).0 == *channel {
                self.writes.splice(before..before + *count, [write]);
                *count = 1;
                return;
            }
            before += *count;
        }
    }
}

fn group<'a>(graph: &'a Graph, writers: &[Writer<'a>]) -> Written<'a> {
    let mut written = in_order(graph, writers);
    written.sort_by_key(|(place, _)| *place);
    let channels = written.chunk_by(|(one, _), (other, _)| one == other).map(|of| (of[0].0, of.len())).collect();
    Written { graph, channels, writes: written.into_iter().map(|(_, write)| write).collect() }
}

/// All writes with the places of their channels. What no channel of the graph takes is dropped.
fn in_order<'a>(graph: &'a Graph, writers: &[Writer<'a>]) -> ByPlace<Write<'a>> {
    let mut written = Vec::with_capacity(2 * writers.len());
    for writer in writers {
        let mut add = |channel: &str, write: Write<'a>| {
            written.extend(graph.channels.place(channel).ok().map(|place| (place, write)));
        };
        match &writer.writes {
            Given::None => {}
            Given::One(channel, write) => add(channel, write.clone()),
            Given::Task(finished) => {
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

/// Of the channels that refuse what is written, that which was written first says why.
fn first_written(graph: &Graph, writers: &[Writer<'_>], mut refused: ByPlace<UpdateError>) -> UpdateError {
    let mut order = in_order(graph, writers).into_iter();
    let first = order.find_map(|(place, _)| refused.iter().position(|(refusing, _)| *refusing == place));
    refused.swap_remove(first.unwrap_or_default()).1
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

/// By the place of a channel in its graph.
type ByPlace<T> = Vec<(usize, T)>;

/// All that the writes will change, before anything does; or why which channels refuse them.
fn plan(
    graph: &Graph,
    checkpoint: &Checkpoint,
    written: &Written<'_>,
) -> Result<ByPlace<Planned>, ByPlace<UpdateError>> {
    let mut changes = Vec::with_capacity(written.channels.len());
    let mut refused = Vec::new();
    for (place, name, writes) in written.each() {
        let (_, def) = graph.channels.nth(place);
        let Some(channel) = checkpoint.channels.near(place, name) else { continue };
        // What an edge writes can't be refused, and what it changes depends on what the step consumes.
        if let Some(names) = Planned::names(&def.kind, writes) {
            changes.push((place, names));
            continue;
        }
        match channel.plan(name, &def.kind, writes) {
            Ok(change) => changes.extend(change.map(|change| (place, Planned::Change(change)))),
            Err(error) => refused.push((place, error)),
        }
    }
    if refused.is_empty() { Ok(changes) } else { Err(refused) }
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
            let seen = self.checkpoint.seen.or_insert_with(writer.node, ByName::default);
            for trigger in writer.triggers {
                let version = self.checkpoint.channels.get(trigger).map_or(0, |channel| channel.version);
                match seen.get_mut(trigger) {
                    Some(seen) => *seen = version,
                    None if version > 0 => seen.insert(trigger.clone(), version),
                    None => {}
                }
            }
        }
    }

    fn consume(&mut self, writers: &[Writer<'_>]) {
        for trigger in writers.iter().flat_map(|writer| writer.triggers) {
            let Ok(place) = self.graph.channels.place(trigger) else { continue };
            let (name, def) = self.graph.channels.nth(place);
            let Some(channel) = self.checkpoint.channels.near_mut(place, name) else { continue };
            if channel.consume(&def.kind) {
                channel.version = self.next;
                self.checkpoint.version = self.next;
            }
        }
    }

    /// Makes the planned changes; gives the places of the channels that are available for it.
    fn update(&mut self, changes: ByPlace<Planned>) -> Vec<usize> {
        let mut updated = Vec::with_capacity(changes.len());
        for (place, planned) in changes {
            let (name, def) = self.graph.channels.nth(place);
            let Some(channel) = self.checkpoint.channels.near_mut(place, name) else { continue };
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
                updated.push(place);
            }
        }
        updated
    }

    /// Tells every channel that was not updated that a step went by.
    fn pass(&mut self, updated: impl Fn(usize) -> bool) {
        for (place, (name, def)) in self.graph.channels.iter().enumerate() {
            if !def.kind.lives_one_step() {
                continue;
            }
            let Some(channel) = self.checkpoint.channels.near_mut(place, name) else { continue };
            if channel.is_empty() || updated(place) {
                continue;
            }
            if channel.pass() {
                channel.version = self.next;
                self.checkpoint.version = self.next;
            }
        }
    }

    /// Nothing that changed makes a node run: what waits for that is let go.
    fn finish(&mut self) {
        let places = self.graph.channels.iter().enumerate();
        for (place, (name, def)) in places.filter(|(_, (_, def))| def.kind.waits_for_the_rest()) {
            let Some(channel) = self.checkpoint.channels.near_mut(place, name) else { continue };
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
