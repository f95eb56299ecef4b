//! A run that is undone: its thread stands again where it stood when the run began. And a thread that is deleted.

use std::sync::Arc;

use uuid::Uuid;

use super::{Command, Fold, end::Ending};
use crate::{
    envelope::Envelope,
    event::{Event, Multitask, Request},
    expiry::Expiry,
    graph_loop::{Found, GraphLoop, Recalled, Wanted},
    snapshot,
    state::{Began, KeyState, Stood},
    update::{Edited, Ended, Happened, RunError, RunStatus},
};

impl Began {
    /// Where a thread stands as a run begins. New input makes a checkpoint at once, and the one before lies in the archive
    /// as it was; any other run works on the tasks of the checkpoint itself, so that is kept.
    pub(super) fn of(state: &KeyState, envelope: &Envelope, request: &Request) -> Self {
        let heads = state.root.iter().map(|root| &root.head).chain(state.memories.values().map(|memory| &memory.head));
        let last = heads.map(|head| head.id).max().unwrap_or_default();
        let afresh = request.input.is_some() && request.checkpoint_id.is_none();
        let stood = || Box::new(Stood { root: state.root.clone(), memories: state.memories.clone() });
        Began {
            head: state.root.as_ref().map(|root| root.head.id),
            last,
            stood: (envelope.thread_id.is_some() && !afresh).then(stood),
        }
    }

    /// What undoing the run takes of the thread's past and isn't at hand.
    fn wanted(&self, state: &KeyState, recalled: &Recalled) -> Option<Wanted> {
        if self.stood.is_some() {
            return None;
        }
        let head = self.head.map(Wanted::Checkpoint);
        let changed = state.memories.iter().filter(|(_, memory)| memory.head.id > self.last);
        let then = changed.map(|(ns, _)| Wanted::Before { ns: ns.clone(), id: self.next() });
        head.into_iter().chain(then).find(|wanted| !recalled.contains_key(wanted))
    }

    /// Above every checkpoint that there was.
    fn next(&self) -> Uuid {
        Uuid::from_u128(self.last.as_u128() + 1)
    }
}

/// What an event that undoes the live run needs before it can.
pub(super) fn wanted(state: &KeyState, envelope: &Envelope, event: &Event, recalled: &Recalled) -> Option<Wanted> {
    let run = state.live.as_deref().filter(|run| run.editing.is_none())?;
    let undoes = match event {
        Event::Requested(request) => {
            request.multitask == Multitask::Rollback && request.missing.is_none() && !state.knows(envelope.run_id)
        }
        Event::Cancelled { rollback, .. } => *rollback && run.envelope.run_id == envelope.run_id,
        Event::TaskFinished(_)
        | Event::TaskKept { .. }
        | Event::TaskGivenBack { .. }
        | Event::StateEdited(_)
        | Event::ThreadDeleted
        | Event::ThreadPruned
        | Event::ThreadCopied { .. }
        | Event::CopyBegun(_)
        | Event::ThreadTimed(_)
        | Event::TimerDue { .. }
        | Event::RunFailed { .. } => false,
    };
    let then = run.began.wanted(state, recalled);
    let then = then.or_else(|| works_on_the_past(state).filter(|wanted| !recalled.contains_key(wanted)));
    then.filter(|_| undoes && run.envelope.thread_id.is_some())
}

/// The checkpoint that the live run went back to, while it has no successor of the run's: the archive has it as it was.
fn works_on_the_past(state: &KeyState) -> Option<Wanted> {
    let root = state.newest.as_ref().and(state.root.as_ref())?;
    Some(Wanted::Checkpoint(root.head.id))
}

impl Fold<'_> {
    /// Ends every run of the thread for one that doesn't wait: as interrupted, or as if they had never been.
    pub(super) fn make_way(&mut self, rollback: bool) {
        while !self.state.waiting.is_empty() {
            self.end_waiting(0, if rollback { Ending::undone() } else { Ending::interrupted() });
        }
        // An edit is no run: it is over soon.
        if self.is_editing() {
            return;
        }
        if rollback { self.roll_back() } else { self.end(Ending::interrupted()) }
    }

    /// Undoes the live run.
    pub(super) fn roll_back(&mut self) {
        if self.is_editing() {
            return self.end(Ending::cancelled());
        }
        self.cancel_open();
        let Some(run) = self.state.live.as_deref() else { return };
        let (envelope, usage, claimed) = (run.envelope.clone(), run.usage, run.claimed);
        let began = run.began.clone();
        let error = self.go_back(began).err();
        if error.is_some() {
            self.rest();
        }
        let ended = self.rolled_back(error, usage);
        let status = ended.status;
        self.draft.issued.clear();
        self.draft.happened = vec![Happened::Ended(Box::new(ended))];
        self.flush(status);
        self.state.live = None;
        if claimed {
            self.state.remember(envelope.run_id);
        }
        if envelope.thread_id.is_none() {
            self.state.root = None;
            self.state.memories.clear();
        }
        self.state.root = self.state.root.take().filter(|root| root.has_begun());
        // What the run said of a thread that it made.
        let undone = |expiry: &mut Box<Expiry>| expiry.envelope.run_id == envelope.run_id;
        if self.state.root.is_none() {
            self.state.expiry.take_if(undone);
        }
    }

    /// The thread as it was.
    fn go_back(&mut self, began: Began) -> Result<(), RunError> {
        let past = works_on_the_past(&self.state).map(|wanted| self.then(&wanted)).transpose()?.flatten();
        let next = began.next();
        let Began { head, last, stood } = began;
        let (root, memories) = match stood {
            Some(stood) => (stood.root, stood.memories),
            None => {
                let root = head.map(|id| self.then(&Wanted::Checkpoint(id))).transpose()?.flatten();
                let mut memories = self.state.memories.clone();
                let changed: Vec<String> =
                    memories.iter().filter(|(_, memory)| memory.head.id > last).map(|(ns, _)| ns.clone()).collect();
                for ns in changed {
                    memories.remove(&ns);
                    if let Some(then) = self.then(&Wanted::Before { ns: ns.clone(), id: next })? {
                        memories.insert(ns, *then);
                    }
                }
                (root, memories)
            }
        };
        let last_issue = self.live().map_or(0, |run| run.last_issue);
        (self.state.root, self.state.memories, self.state.newest) = (root, memories, None);
        if let Some(root) = self.state.root.as_deref_mut()
            && let Some(graph) = self.graphs.graph(&root.head.graph.hash)
        {
            root.bind(&graph);
            root.prepare(&graph);
        }
        let loops = self.state.root.as_deref_mut().into_iter().chain(self.state.memories.values_mut());
        loops.for_each(|at| at.issue_above(last_issue));
        if let Some(past) = past {
            self.put_back(past, last_issue);
        }
        Ok(())
    }

    /// A checkpoint of the past stays as it was, but that whoever comes back to it gives no issue of the undone run again.
    fn put_back(&mut self, mut past: Box<GraphLoop>, last_issue: u32) {
        let graphs = self.graphs;
        let Some(envelope) = self.live().map(|run| run.envelope.clone()) else { return };
        if let Some(graph) = graphs.graph(&past.head.graph.hash) {
            past.bind(&graph);
            past.prepare(&graph);
        }
        past.issue_above(last_issue);
        past.rest(&|hash| graphs.graph(hash));
        self.draft.commands.push(Command::Archive { envelope, checkpoint: past });
    }

    fn then(&self, wanted: &Wanted) -> Result<Option<Box<GraphLoop>>, RunError> {
        match self.recalled.get(wanted) {
            Some(Found::There(found)) => Ok(Some(Box::new(GraphLoop::clone(found)))),
            Some(Found::Lost(reason)) => Err(super::lost::value_missing(reason)),
            Some(Found::Nothing) | None => Ok(None),
        }
    }

    /// What is said of a run that was undone: the thread's own values, and nothing of the run's.
    fn rolled_back(&self, error: Option<RunError>, usage: crate::task::Usage) -> Ended {
        let rolled_back = error.is_none();
        let ended = Ended { error, usage, rolled_back, ..Ending::cancelled().without_state() };
        let Some(root) = self.state.root.as_deref().filter(|root| rolled_back && root.has_begun()) else {
            return ended;
        };
        let Some(graph) = self.graphs.graph(&root.head.graph.hash) else { return ended };
        let pending = snapshot::with_pending(&graph, root).ok().flatten();
        let values = pending.as_ref().unwrap_or(&root.head).tracked(&graph);
        Ended {
            interrupts: snapshot::interrupts(&graph, root),
            next: snapshot::next(&graph, root),
            values: Some(values),
            ..ended
        }
    }

    /// Nothing of the thread stays but the ids of runs that a repeat must not begin again.
    pub(super) fn delete_thread(&mut self, envelope: &Arc<Envelope>) {
        while !self.state.waiting.is_empty() {
            self.end_waiting(0, Ending::cancelled());
        }
        self.end(Ending::cancelled());
        self.state.root = None;
        self.state.newest = None;
        self.state.memories.clear();
        (self.state.lost, self.state.pruned) = (None, None);
        self.state.expiry = None;
        self.state.first_at = 0;
        self.state.forget_told();
        self.state.ended.iter_mut().for_each(|ended| ended.made = None);
        let edited = Edited { deleted: true, ..Edited::default() };
        self.tell(envelope, Some(1), RunStatus::Success, Happened::Edited(Box::new(edited)));
    }
}
