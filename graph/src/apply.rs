//! The end of a superstep: the writes of all its tasks become the channels of the next one.

use std::sync::{Arc, LazyLock};

use crate::{
    channel::{Change, Channel, Fields, Kind, Own, ToReduce, UpdateError, Write},
    checkpoint::Checkpoint,
    graph::{Graph, Node, START_NODE},
    step_task::{Finished, StepTask},
    task::{Destination, Reduction},
};

/// One source of change: a task, the input, or a task that is discarded.
pub(crate) struct Writer<'a> {
    pub node: &'a Arc<str>,
    /// The node itself, where the graph has one of the name.
    pub known: Option<&'a Node>,
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
    pub fn of_tasks(graph: &'a Graph, tasks: impl Iterator<Item = &'a StepTask>) -> Vec<Self> {
        // Who joins writes has none of its own.
        let mut tasks: Vec<&StepTask> = tasks.filter(|task| task.reduces.is_none()).collect();
        tasks.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order()));
        let writer = |task: &'a StepTask| Writer {
            node: &task.node,
            known: graph.nodes.get(&task.node),
            triggers: &task.triggers,
            writes: task.finished().map_or(Given::None, Given::Task),
        };
        tasks.into_iter().map(writer).collect()
    }
}

impl<'a> Writer<'a> {
    /// What a command wrote, by no node and on no trigger.
    pub fn of_command(command: &'a Finished) -> Self {
        Writer { node: input_name(), known: None, triggers: &[], writes: Given::Task(command) }
    }

    /// Its task counts as seen, and what it wrote as not written.
    pub fn give_up(&mut self) {
        self.writes = Given::None;
    }

    /// New input for START's hidden task.
    pub fn of_input(input: &'a Fields) -> Self {
        let writes = Given::One(START_NODE, Write::Fields(input));
        Writer { node: input_name(), known: None, triggers: &[], writes }
    }

    /// Its triggers, each with the place in the graph where it is likely to stand.
    fn triggers(&self) -> impl Iterator<Item = (usize, &'a Arc<str>)> + use<'a> {
        let places = self.known.map_or(&[] as &[usize], |node| &node.trigger_places).iter().copied();
        places.chain(std::iter::repeat(usize::MAX)).zip(self.triggers)
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
    /// Where the channel of each write stands in the graph.
    places: Vec<usize>,
    writes: Vec<Write<'a>>,
}

impl<'a> Written<'a> {
    /// Place and name of each channel, with what is written to it.
    fn each(&self) -> impl Iterator<Item = (usize, &'a Arc<str>, &[Write<'a>])> {
        let mut rest = self.writes.as_slice();
        self.places.chunk_by(|one, other| one == other).map(move |places| {
            let (writes, others) = rest.split_at(places.len());
            rest = others;
            (places[0], self.graph.channels.nth(places[0]).0, writes)
        })
    }

    fn retain(&mut self, keep: impl Fn(&str, &[Write<'a>]) -> bool) {
        let kept: Vec<_> = self.each().filter(|(_, name, writes)| keep(name, writes)).collect();
        let kept =
            kept.into_iter().flat_map(|(place, _, writes)| writes.iter().map(move |write| (place, write.clone())));
        (self.places, self.writes) = kept.unzip();
    }

    /// One write takes the place of all that were for a channel.
    fn replace(&mut self, channel: &str, write: Write<'a>) {
        let Ok(place) = self.graph.channels.place(channel) else { return };
        let from = self.places.partition_point(|known| *known < place);
        let to = self.places.partition_point(|known| *known <= place);
        if from < to {
            self.places.splice(from..to, [place]);
            self.writes.splice(from..to, [write]);
        }
    }
}

fn group<'a>(graph: &'a Graph, writers: &[Writer<'a>]) -> Written<'a> {
    let mut written = in_order(graph, writers);
    written.sort_by_key(|(place, _)| *place);
    let places = written.iter().map(|(place, _)| *place).collect();
    let mut writes = Vec::with_capacity(written.len());
    writes.extend(written.into_iter().map(|(_, write)| write));
    Written { graph, places, writes }
}

/// All writes with the places of their channels. What no channel of the graph takes is dropped.
fn in_order<'a>(graph: &'a Graph, writers: &[Writer<'a>]) -> ByPlace<Write<'a>> {
    let count = |writer: &Writer<'_>| match &writer.writes {
        Given::None => 0,
        Given::One(..) => 1,
        Given::Task(Finished { writes, goto, branches, .. }) => {
            writes.len() + goto.len() + branches.len() + writer.known.map_or(0, |node| node.edges.len())
        }
    };
    let mut written = Vec::with_capacity(writers.iter().map(count).sum());
    let place = |channel: &str| graph.channels.place(channel).ok();
    for writer in writers {
        match &writer.writes {
            Given::None => {}
            Given::One(channel, write) => written.extend(place(channel).map(|place| (place, write.clone()))),
            Given::Task(finished) => {
                let values = finished.writes.iter();
                written.extend(values.filter_map(|(channel, value)| Some((place(channel)?, Write::Value(value)))));
                written.extend(finished.goto.iter().filter_map(|to| go(graph, to)));
                if let Some(node) = writer.known {
                    written.extend(node.edge_places.iter().map(|place| (*place, edge(node))));
                }
                written.extend(finished.branches.iter().filter_map(|to| go(graph, to)));
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

/// The write that leads there, and the place of its channel; None where the graph has no such node.
fn go<'a>(graph: &Graph, to: &'a Destination) -> Option<(usize, Write<'a>)> {
    match to {
        Destination::Send { node, argument } => Some((graph.places.sends, Write::Send { node, argument })),
        Destination::Node(name) => Some((graph.nodes.get(name.as_str())?.branch_place, Write::Signal)),
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
    let mut changes = Vec::with_capacity(written.places.len());
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
            let seen = Arc::make_mut(self.checkpoint.seen.or_insert_with(writer.node, Arc::default));
            for (nth, (place, trigger)) in writer.triggers().enumerate() {
                let version = self.checkpoint.channels.near(place, trigger).map_or(0, |channel| channel.version);
                match seen.near_mut(nth, trigger) {
                    Some(seen) => *seen = version,
                    None if version > 0 => seen.insert(trigger.clone(), version),
                    None => {}
                }
            }
        }
    }

    fn consume(&mut self, writers: &[Writer<'_>]) {
        for (place, trigger) in writers.iter().flat_map(Writer::triggers) {
            let Some(place) = self.graph.channels.place_near(place, trigger) else { continue };
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
        for &place in &self.graph.places.living_one_step {
            let (name, _) = self.graph.channels.nth(place);
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
        for &place in &self.graph.places.waiting_for_the_rest {
            let (name, def) = self.graph.channels.nth(place);
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
