//! An edit of a thread's state: values written as if a node had written them, a copy, or an end of what is next.
//!
//! Where a program says where to go from there, or joins what is written, the edit is the thread's live run until it answers.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use self::superstep::{Made, Superstep};
use super::{
    Command, Fold,
    begin::{busy, invalid_value, unknown_checkpoint},
    lost::value_missing,
    step::checkpointed,
};
use crate::{
    envelope::Envelope,
    event::Edit,
    state::{Editing, UpdateAs},
    step_task::StepTask,
    update::{Checkpointed, Edited, Happened, RunError, RunStatus, Update},
};

mod asked;
mod place;
mod superstep;

impl Fold<'_> {
    pub(super) fn edit(&mut self, envelope: &Arc<Envelope>, edit: &Edit) {
        if self.state.knows(envelope.run_id) {
            return self.tell_again(envelope);
        }
        if edit.claimed {
            self.state.remember(envelope.run_id);
        }
        let begun = self.begin_edit(envelope, edit).and_then(|mut editing| {
            let asks = self.make_supersteps(envelope.run_id, &mut editing)?;
            Ok((editing, asks))
        });
        let (happened, status) = match begun {
            Ok((editing, asks)) if !asks.is_empty() => return self.await_answers(envelope, editing, asks),
            Ok((editing, _)) => (self.complete(envelope, editing), RunStatus::Success),
            Err(error) => (vec![not_edited(error)], RunStatus::Error),
        };
        let update = Update { number: Some(1), status, at: self.at, issued: Vec::new(), happened };
        self.commands.push(Command::Update { envelope: envelope.clone(), update });
    }

    /// A repeat hears what came of the first, where nothing else is left that tells it.
    fn tell_again(&mut self, envelope: &Arc<Envelope>) {
        let Some(first) = self.state.remembered(envelope.run_id).filter(|first| first.untold) else { return };
        first.untold = false;
        let checkpoint_id = first.made;
        let (error, status) = match checkpoint_id {
            Some(_) => (None, RunStatus::Success),
            None => (Some(forgotten()), RunStatus::Error),
        };
        let edited = Edited { checkpoint_id, error, again: true, ..Edited::default() };
        self.tell(envelope, Some(1), status, Happened::Edited(Box::new(edited)));
    }

    fn begin_edit(&self, envelope: &Arc<Envelope>, edit: &Edit) -> Result<Editing, RunError> {
        if let Some(reason) = self.state.lost.as_ref().or(edit.missing.as_ref()) {
            return Err(value_missing(reason));
        }
        if !self.state.is_idle() {
            return Err(busy());
        }
        if edit.supersteps.is_empty() || edit.supersteps.iter().any(Vec::is_empty) {
            return Err(invalid_value("ValueError", "No updates provided"));
        }
        let (from, parents) = self.edited(envelope, edit)?;
        let updates = |superstep: &Vec<_>| superstep.iter().map(UpdateAs::of).collect();
        let supersteps = edit.supersteps.iter().map(updates).collect();
        Ok(Editing { supersteps, from, parents, made: Vec::new(), tasks: BTreeMap::new() })
    }

    /// Makes the checkpoints of the edit, up to one for which programs have to be asked: gives for what. Waits for all of them.
    fn make_supersteps(&mut self, edit: Uuid, editing: &mut Editing) -> Result<Vec<StepTask>, RunError> {
        if editing.tasks.values().any(|task| task.finished().is_none()) {
            return Ok(Vec::new());
        }
        let hash = &editing.from.head.graph.hash;
        let graph = self.graphs.graph(hash).ok_or_else(|| unknown_checkpoint(editing.from.head.id))?;
        while let Some(updates) = editing.supersteps.get(editing.made.len()) {
            let mut at = editing.stands().clone();
            at.bind(&graph);
            at.prepare(&graph);
            let place = editing.made.len();
            let superstep = Superstep { graph: &graph, edit, place, updates, asked: &editing.tasks };
            let (source, parent) = match superstep.make(&mut at)? {
                Made::Next { source, parent } => (source, parent),
                Made::Asks(asks) => return Ok(asks),
            };
            at.head.id = self.state.last_checkpoint.next(self.at, edit);
            (at.head.step, at.head.source, at.head.parent) = (at.head.step + 1, source, parent);
            (at.stored, at.command, at.resume) = (None, None, None);
            at.tasks.clear();
            at.aside.clear();
            at.reduced.clear();
            at.prepare(&graph);
            editing.made.push(at);
            editing.tasks.clear();
        }
        Ok(Vec::new())
    }

    /// Every checkpoint is made: the last one is where the thread stands.
    fn complete(&mut self, envelope: &Arc<Envelope>, editing: Editing) -> Vec<Happened> {
        let Editing { from, parents, mut made, .. } = editing;
        let graph = self.graphs.graph(&from.head.graph.hash);
        made.iter_mut().for_each(|at| graph.iter().for_each(|graph| at.bind(graph)));
        let step = |at| {
            let done = checkpointed(graph.as_ref()?, at, false, BTreeMap::new());
            Some(Checkpointed { parents: parents.clone(), ..done })
        };
        let steps = made.iter().filter_map(step).map(|done| Happened::StepDone(Box::new(done)));
        let mut happened: Vec<Happened> = steps.collect();
        let last = made.pop();
        let id = last.as_ref().map(|at| at.head.id);
        let before = match from.is_root() {
            // An earlier checkpoint lies in the archive already.
            true => self.state.root.take().filter(|root| root.has_begun()).map(|root| *root),
            // Nobody goes back to what a single call of a subgraph was.
            false => Some(from).filter(|from| self.state.memories.contains_key(&from.ns)),
        };
        let made = made.into_iter().filter(|at| at.is_root() || before.is_some());
        for mut checkpoint in before.clone().into_iter().chain(made) {
            checkpoint.tasks.retain(|_, task| task.is_touched());
            let envelope = envelope.clone();
            self.commands.push(Command::Archive { envelope, checkpoint: Box::new(checkpoint) });
        }
        if let Some(edit) = self.state.remembered(envelope.run_id) {
            edit.made = id;
        }
        match last {
            Some(inner) if !inner.is_root() => self.put_inside(inner),
            last => self.state.root = last.map(Box::new),
        }
        happened.push(Happened::Edited(Box::new(Edited { checkpoint_id: id, ..Edited::default() })));
        happened
    }
}

/// Why a repeat is not told what came of the first.
fn forgotten() -> RunError {
    let message = "this edit came before under the same key, and it was refused or its thread was deleted since; what was \
                   answered then is forgotten; send it under another key to make it now";
    invalid_value("ValueError", message)
}

fn not_edited(error: RunError) -> Happened {
    Happened::Edited(Box::new(Edited { error: Some(error), ..Edited::default() }))
}
