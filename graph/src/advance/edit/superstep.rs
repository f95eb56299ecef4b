//! One superstep of an edit: the next checkpoint, or what programs have to be asked before it can be made.

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    advance::{
        begin::{fields, invalid_value},
        first::update_writes,
        step::{invalid_update, node_failure},
    },
    apply::{Given, Purpose, Writer, apply, apply_reduced, reductions},
    branch,
    by_name::ByName,
    channel::Fields,
    checkpoint::{BEFORE_INPUT, Checkpoint, Source},
    graph::{Graph, START_NODE},
    graph_loop::GraphLoop,
    ids,
    state::UpdateAs,
    step_task::{Finished, StepTask, StepTasks},
    task::TaskPath,
    update::RunError,
};

/// As nodes: new input, a copy of the checkpoint, and an end of what was next.
const INPUT: &str = "__input__";
const COPY: &str = "__copy__";
const FINISH: &str = "__end__";

/// The trigger of a write that a person makes: what was pending goes.
const BY_HAND: &str = "__interrupt__";

pub(super) struct Superstep<'a> {
    pub graph: &'a Graph,
    /// The edit, whose id is a run's.
    pub edit: Uuid,
    /// Which of the edit's supersteps it is.
    pub place: usize,
    pub updates: &'a [UpdateAs],
    /// What programs were asked, by the ids of the tasks.
    pub asked: &'a StepTasks,
}

/// What a superstep comes to.
pub(super) enum Made {
    /// A checkpoint, of this source and behind this parent.
    Next { source: Source, parent: Option<Uuid> },
    /// Programs are to be asked, or haven't answered yet. These are the ones that nobody was asked for so far.
    Asks(Vec<StepTask>),
}

impl Superstep<'_> {
    /// Writes to the head of `at`; where programs are asked it stays as it was.
    pub fn make(&self, at: &mut GraphLoop) -> Result<Made, RunError> {
        let alone = |what: &str| match self.updates {
            [_] => Ok(()),
            _ => Err(invalid_value("InvalidUpdateError", &format!("Cannot apply multiple updates when {what}"))),
        };
        let before = at.head.id;
        let parent = (!before.is_nil()).then_some(before);
        match self.updates {
            [first, ..] if first.as_node.as_deref() == Some(FINISH) && first.update.is_none() => {
                alone("clearing state")?;
                self.finish_all(at, parent)
            }
            [first, ..] if first.as_node.as_deref() == Some(INPUT) => {
                alone("updating as input")?;
                let Some(input) = first.update.as_deref().and_then(fields) else {
                    return Err(invalid_value("InvalidUpdateError", "Received no input writes for __start__"));
                };
                if before.is_nil() {
                    at.head.step = BEFORE_INPUT;
                }
                apply(self.graph, &mut at.head, &[Writer::of_input(&input)], Purpose::Step).map_err(conflict)?;
                Ok(Made::Next { source: Source::Input, parent })
            }
            [first, ..] if first.as_node.as_deref() == Some(COPY) => {
                alone("copying a checkpoint")?;
                if before.is_nil() {
                    return Err(invalid_value("InvalidUpdateError", "Cannot copy a non-existent checkpoint"));
                }
                Ok(Made::Next { source: Source::Fork, parent: at.head.parent })
            }
            _ => self.write_as(at, parent),
        }
    }

    /// What each node would write, with its edges and conditions; they are applied together.
    fn write_as(&self, at: &mut GraphLoop, parent: Option<Uuid>) -> Result<Made, RunError> {
        let graph = self.graph;
        let mut written: Vec<(Arc<str>, Finished)> = Vec::with_capacity(self.updates.len());
        let mut asks = Asks::default();
        for (place, update) in self.updates.iter().enumerate() {
            let name = self.as_node(at, update)?;
            let edit = self.edit.to_string();
            let seed = ids::push_task_id(at.head.id, &edit, at.head.step, &name, place as u32);
            let mut writes = update_writes(graph, update.update.as_deref(), seed)?;
            if &*name == START_NODE {
                writes.retain(|(name, _)| graph.channels.get(name).is_some_and(|def| def.input));
            }
            let mut finished = Finished { writes: Arc::new(writes), ..Finished::default() };
            if branch::asks(graph, &name) {
                let id = ids::edit_task_id(self.edit, self.place, &format!("{place} {name}"));
                let answer = answer(&mut asks, self.asked, id, || StepTask {
                    wrote: Some(Arc::new(finished.clone())),
                    ..StepTask::new(id, name.clone(), TaskPath::Pull, [].into())
                });
                finished.branches = answer.map(|answer| answer.branches.clone()).unwrap_or_default();
            } else {
                finished.branches =
                    branch::decide(graph, &name, &at.head.values(graph), &finished.writes, &Arc::default())
                        .map_err(|error| node_failure(Some(name.to_string()), &error))?;
            }
            written.push((name, finished));
        }
        let triggers = [Arc::from(BY_HAND)];
        let writer = |(node, finished)| Writer {
            node,
            known: self.graph.nodes.get(node),
            triggers: &triggers,
            writes: Given::Task(finished),
        };
        let writers: Vec<Writer<'_>> = written.iter().map(|(node, finished)| writer((node, finished))).collect();
        let reduced = self.reduced(&at.head, &writers, &mut asks)?;
        if !asks.is_empty() {
            return Ok(Made::Asks(asks));
        }
        apply_reduced(graph, &mut at.head, &writers, Purpose::Step, &reduced).map_err(conflict)?;
        Ok(Made::Next { source: Source::Update, parent })
    }

    /// The node that an update is made as.
    fn as_node(&self, at: &GraphLoop, update: &UpdateAs) -> Result<Arc<str>, RunError> {
        let name = match (&update.as_node, self.updates.len()) {
            (Some(name), _) => name.clone(),
            (None, 1) => last_to_run(self.graph, &at.head)
                .ok_or_else(|| invalid_value("InvalidUpdateError", "Ambiguous update, specify as_node"))?,
            (None, _) => {
                let message = "as_node is required when applying multiple updates";
                return Err(invalid_value("InvalidUpdateError", message));
            }
        };
        let known = self.graph.nodes.get_key_value(name.as_str());
        known
            .map(|(name, _)| name.clone())
            .ok_or_else(|| invalid_value("InvalidUpdateError", &format!("Node {name} does not exist")))
    }

    /// What is next is done: finished tasks with what they wrote, the others with nothing.
    fn finish_all(&self, at: &mut GraphLoop, parent: Option<Uuid>) -> Result<Made, RunError> {
        let mut head = at.head.clone();
        if let Some(command) = &at.command {
            apply(self.graph, &mut head, &[Writer::of_command(command)], Purpose::Step).map_err(conflict)?;
        }
        let writers = Writer::of_tasks(self.graph, at.tasks.values());
        let mut asks = Asks::default();
        let reduced = self.reduced(&head, &writers, &mut asks)?;
        if !asks.is_empty() {
            return Ok(Made::Asks(asks));
        }
        apply_reduced(self.graph, &mut head, &writers, Purpose::Step, &reduced).map_err(conflict)?;
        at.head = head;
        Ok(Made::Next { source: Source::Update, parent })
    }

    /// What programs made of the writes to their channels.
    fn reduced(&self, head: &Checkpoint, writers: &[Writer<'_>], asks: &mut Asks) -> Result<Fields, RunError> {
        let mut reduced = Fields::new();
        for reduction in reductions(self.graph, head, writers).map_err(conflict)? {
            let channel = reduction.channel.clone();
            let id = ids::edit_task_id(self.edit, self.place, &format!("reduce {channel}"));
            let answer = answer(asks, self.asked, id, || StepTask::reducing(id, reduction));
            let joined = answer.and_then(|answer| answer.writes.first());
            reduced.extend(joined.map(|(_, value)| (channel, value.clone())));
        }
        Ok(reduced)
    }
}

/// What a superstep asks programs for.
type Asks = Vec<StepTask>;

/// The answer of a program, which is asked where it wasn't yet.
fn answer<'a>(asks: &mut Asks, asked: &'a StepTasks, id: Uuid, ask: impl FnOnce() -> StepTask) -> Option<&'a Finished> {
    let known = asked.get(&id);
    if known.is_none() {
        asks.push(ask());
    }
    known.and_then(StepTask::finished)
}

/// The node whose last run is the newest; START where none ran yet, none where several ran last.
fn last_to_run(graph: &Graph, head: &Checkpoint) -> Option<String> {
    let ran = |seen: &ByName<u64>| seen.values().copied().max().filter(|version| *version > 0);
    if graph.nodes.len() == 1 || (head.passed == 0 && head.seen.values().all(|seen| ran(seen).is_none())) {
        return Some(START_NODE.to_owned());
    }
    let of_graph = head.seen.iter().filter(|(node, _)| graph.nodes.contains_key(*node));
    let mut all: Vec<(u64, &Arc<str>)> =
        of_graph.flat_map(|(node, seen)| seen.values().map(move |version| (*version, node))).collect();
    all.sort_unstable();
    match all.as_slice() {
        [] => None,
        [(_, only)] => Some(only.to_string()),
        [.., (second, _), (first, node)] => (first > second).then(|| node.to_string()),
    }
}

fn conflict(error: crate::channel::UpdateError) -> RunError {
    node_failure(None, &invalid_update(error))
}
