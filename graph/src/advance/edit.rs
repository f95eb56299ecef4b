//! An edit of a thread's state: values written as if a node had written them, a copy, or an end of what is next.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Command, Fold,
    begin::{busy, fields, invalid_value, unknown_checkpoint},
    first::update_writes,
    lost::value_missing,
    step::{checkpointed, invalid_update, node_failure},
};
use crate::{
    apply::{Purpose, Writer, Writes, apply},
    branch,
    checkpoint::{Checkpoint, Source},
    envelope::Envelope,
    event::{Edit, StateUpdate},
    graph::{Graph, START_NODE},
    graph_loop::{Found, GraphLoop, Wanted},
    step_task::Finished,
    update::{Edited, Happened, RunError, RunStatus, Update},
};

/// As nodes: new input, a copy of the checkpoint, and an end of what was next.
const INPUT: &str = "__input__";
const COPY: &str = "__copy__";
const FINISH: &str = "__end__";

/// The trigger of a write that a person makes: what was pending goes.
const BY_HAND: &str = "__interrupt__";

impl Fold<'_> {
    pub(super) fn edit(&mut self, envelope: &Arc<Envelope>, edit: &Edit) {
        if self.state.knows(envelope.run_id) {
            return;
        }
        if edit.claimed {
            self.state.remember(envelope.run_id);
        }
        let mut happened = Vec::new();
        let edited = match self.try_edit(envelope, edit, &mut happened) {
            Ok(id) => Edited { checkpoint_id: Some(id), ..Edited::default() },
            Err(error) => Edited { error: Some(error), ..Edited::default() },
        };
        let status = if edited.error.is_none() { RunStatus::Success } else { RunStatus::Error };
        happened.push(Happened::Edited(Box::new(edited)));
        let update = Update { number: Some(1), status, at: self.at, issued: Vec::new(), happened };
        self.commands.push(Command::Update { envelope: envelope.clone(), update });
    }

    fn try_edit(
        &mut self,
        envelope: &Arc<Envelope>,
        edit: &Edit,
        happened: &mut Vec<Happened>,
    ) -> Result<uuid::Uuid, RunError> {
        if let Some(reason) = self.state.lost.as_ref().or(edit.missing.as_ref()) {
            return Err(value_missing(reason));
        }
        if !self.state.is_idle() {
            return Err(busy());
        }
        if edit.supersteps.is_empty() || edit.supersteps.iter().any(Vec::is_empty) {
            return Err(invalid_value("ValueError", "No updates provided"));
        }
        let mut at = self.edited(envelope, edit)?;
        let graph = self.graphs.graph(&at.head.graph.hash).ok_or_else(|| unknown_checkpoint(at.head.id))?;
        at.bind(&graph);
        at.prepare(&graph);
        // An earlier checkpoint lies in the archive already.
        let mut archived = self.state.root.as_deref().filter(|root| root.has_begun()).cloned().into_iter().collect();
        for (place, superstep) in edit.supersteps.iter().enumerate() {
            if place > 0 {
                let made: &mut Vec<GraphLoop> = &mut archived;
                made.push(at.clone());
            }
            self.make(&graph, envelope, &mut at, superstep)?;
            happened.push(Happened::StepDone(Box::new(checkpointed(&graph, &at, false, BTreeMap::new()))));
        }
        for mut checkpoint in archived {
            checkpoint.tasks.retain(|_, task| task.is_touched());
            let envelope = envelope.clone();
            self.commands.push(Command::Archive { envelope, checkpoint: Box::new(checkpoint) });
        }
        let id = at.head.id;
        self.state.root = Some(Box::new(at));
        Ok(id)
    }

    /// The checkpoint that the edit begins at.
    fn edited(&self, envelope: &Arc<Envelope>, edit: &Edit) -> Result<GraphLoop, RunError> {
        let root = self.state.root.as_deref();
        match edit.checkpoint_id {
            Some(id) if root.is_none_or(|root| root.head.id != id) => {
                match self.recalled.get(&Wanted::Checkpoint(id)) {
                    Some(Found::There(found)) => Ok(GraphLoop::clone(found)),
                    Some(Found::Lost(reason)) => Err(value_missing(reason)),
                    Some(Found::Nothing) | None => Err(unknown_checkpoint(id)),
                }
            }
            Some(_) | None => Ok(root.cloned().unwrap_or_else(|| {
                let mut empty = GraphLoop::empty(String::new(), envelope.graph.clone(), envelope.rules);
                // The first edit of an empty thread is its step 0.
                empty.head.step = -1;
                empty
            })),
        }
    }

    /// One superstep of the edit: the next checkpoint.
    fn make(
        &mut self,
        graph: &Graph,
        envelope: &Envelope,
        at: &mut GraphLoop,
        updates: &[StateUpdate],
    ) -> Result<(), RunError> {
        let alone = |what: &str| match updates {
            [_] => Ok(()),
            _ => Err(invalid_value("InvalidUpdateError", &format!("Cannot apply multiple updates when {what}"))),
        };
        let before = at.head.id;
        let mut parent = (!before.is_nil()).then_some(before);
        let mut source = Source::Update;
        match updates {
            [first, ..] if first.as_node.as_deref() == Some(FINISH) && first.values.is_none() => {
                alone("clearing state")?;
                finish_all(graph, at)?;
            }
            [first, ..] if first.as_node.as_deref() == Some(INPUT) => {
                alone("updating as input")?;
                let Some(input) = first.values.as_deref().and_then(fields) else {
                    return Err(invalid_value("InvalidUpdateError", "Received no input writes for __start__"));
                };
                if before.is_nil() {
                    at.head.step = crate::checkpoint::BEFORE_INPUT;
                }
                apply(graph, &mut at.head, &[Writer::of_input(&input)], Purpose::Step).map_err(conflict)?;
                source = Source::Input;
            }
            [first, ..] if first.as_node.as_deref() == Some(COPY) => {
                alone("copying a checkpoint")?;
                if before.is_nil() {
                    return Err(invalid_value("InvalidUpdateError", "Cannot copy a non-existent checkpoint"));
                }
                (parent, source) = (at.head.parent, Source::Fork);
            }
            updates => write_as(graph, at, updates, envelope)?,
        }
        at.head.id = self.state.last_checkpoint.next(self.at, envelope.run_id);
        (at.head.step, at.head.source, at.head.parent) = (at.head.step + 1, source, parent);
        (at.stored, at.command, at.resume) = (None, None, None);
        at.tasks.clear();
        at.aside.clear();
        at.prepare(graph);
        Ok(())
    }
}

/// What each node would write, with its edges and conditions; they are applied together.
fn write_as(graph: &Graph, at: &mut GraphLoop, updates: &[StateUpdate], envelope: &Envelope) -> Result<(), RunError> {
    let mut written: Vec<(Arc<str>, Finished)> = Vec::with_capacity(updates.len());
    for (place, update) in updates.iter().enumerate() {
        let name = match (&update.as_node, updates.len()) {
            (Some(name), _) => name.clone(),
            (None, 1) => last_to_run(graph, &at.head)
                .ok_or_else(|| invalid_value("InvalidUpdateError", "Ambiguous update, specify as_node"))?,
            (None, _) => {
                let message = "as_node is required when applying multiple updates";
                return Err(invalid_value("InvalidUpdateError", message));
            }
        };
        let Some((name, _)) = graph.nodes.get_key_value(name.as_str()) else {
            return Err(invalid_value("InvalidUpdateError", &format!("Node {name} does not exist")));
        };
        let seed = crate::ids::push_task_id(at.head.id, &envelope.run_id.to_string(), at.head.step, name, place as u32);
        let mut writes = update_writes(graph, update.values.as_deref(), seed)?;
        if &**name == START_NODE {
            writes.retain(|(name, _)| graph.channels.get(name.as_str()).is_some_and(|def| def.input));
        }
        let branches = branch::decide(graph, name, &at.head.values(graph), &writes, &Arc::default())
            .map_err(|error| node_failure(Some(name.to_string()), &error))?;
        written.push((name.clone(), Finished { writes, branches, ..Finished::default() }));
    }
    let triggers = [Arc::from(BY_HAND)];
    let writer = |(node, finished)| Writer { node, triggers: &triggers, writes: Writes::Task(finished) };
    let writers: Vec<Writer<'_>> = written.iter().map(|(node, finished)| writer((node, finished))).collect();
    apply(graph, &mut at.head, &writers, Purpose::Step).map_err(conflict).map(|_| ())
}

/// What is next is done: finished tasks with what they wrote, the others with nothing.
fn finish_all(graph: &Graph, at: &mut GraphLoop) -> Result<(), RunError> {
    if let Some(command) = at.command.take() {
        apply(graph, &mut at.head, &[Writer::of_command(&command)], Purpose::Step).map_err(conflict)?;
    }
    let writers = Writer::of_tasks(at.tasks.values());
    apply(graph, &mut at.head, &writers, Purpose::Step).map_err(conflict).map(|_| ())
}

/// The node whose last run is the newest; START where none ran yet, none where several ran last.
fn last_to_run(graph: &Graph, head: &Checkpoint) -> Option<String> {
    let ran = |seen: &BTreeMap<Arc<str>, u64>| seen.values().copied().max().filter(|version| *version > 0);
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
