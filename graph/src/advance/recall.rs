//! What a run or an edit needs of the thread's past: the checkpoint that it begins at, and what subgraphs that remember
//! for the thread knew then.

use std::sync::Arc;

use uuid::Uuid;

use super::{Command, Fold};
use crate::{
    event::Event,
    graph_loop::{Found, GraphLoop, Recalled, Wanted},
    state::KeyState,
};

/// The first checkpoint that folding `event` takes and that isn't at hand. What waits for a live run, or for its time, needs
/// nothing yet.
pub(super) fn wanted(state: &KeyState, event: &Event, recalled: &Recalled) -> Option<Wanted> {
    if state.live.is_some() {
        return None;
    }
    match event {
        Event::Requested(request) if request.after_ms.is_some() => None,
        Event::Requested(request) => wanted_at(state, request.checkpoint_id?, true, recalled),
        Event::StateEdited(edit) if !edit.checkpoint_ns.is_empty() => None,
        Event::StateEdited(edit) => wanted_at(state, edit.checkpoint_id?, false, recalled),
        Event::TaskFinished(_)
        | Event::TaskKept { .. }
        | Event::TaskGivenBack { .. }
        | Event::ThreadDeleted
        | Event::ThreadPruned
        | Event::ThreadCopied { .. }
        | Event::CopyBegun(_)
        | Event::ThreadTimed(_)
        | Event::Cancelled { .. }
        | Event::TimerDue { .. }
        | Event::RunFailed { .. } => None,
    }
}

/// What it takes to begin at checkpoint `id`, with the memories of that time or without them.
pub(super) fn wanted_at(state: &KeyState, id: Uuid, memories: bool, recalled: &Recalled) -> Option<Wanted> {
    let at = match state.root.as_deref().filter(|root| root.head.id == id) {
        Some(root) => root,
        None => match recalled.get(&Wanted::Checkpoint(id)) {
            None => return Some(Wanted::Checkpoint(id)),
            Some(found) => found.there()?,
        },
    };
    let bound = bound(at);
    let old = |(ns, memory): (&String, &GraphLoop)| {
        let wanted = Wanted::Before { ns: ns.clone(), id: bound };
        (memory.head.id >= bound && !recalled.contains_key(&wanted)).then_some(wanted)
    };
    state.memories.iter().filter(|_| memories).find_map(old)
}

/// Subgraphs go back to what they knew before this: an edited checkpoint stands for the one that was edited.
pub(super) fn bound(at: &GraphLoop) -> Uuid {
    let edited = at.head.source.is_edited();
    at.head.parent.filter(|_| edited).unwrap_or(at.head.id)
}

impl Fold<'_> {
    /// What was recalled to begin at checkpoint `id`, and what this very event has archived since.
    pub(super) fn at_hand(&self, id: Uuid) -> Recalled {
        let mut at_hand = self.recalled.clone();
        let archived = self.commands.iter().filter_map(|command| match command {
            Command::Archive { checkpoint, .. } => Some(&**checkpoint),
            Command::Issue { .. } | Command::Update { .. } | Command::Cancel { .. } | Command::Copy { .. } => None,
        });
        let keep = |checkpoint: &GraphLoop| Found::There(Arc::new(checkpoint.clone()));
        for checkpoint in archived.clone().filter(|checkpoint| checkpoint.is_root()) {
            at_hand.insert(Wanted::Checkpoint(checkpoint.head.id), keep(checkpoint));
        }
        let head = self.state.root.as_deref().filter(|root| root.head.id == id);
        let found = at_hand.get(&Wanted::Checkpoint(id)).and_then(Found::there).map(Arc::as_ref);
        if let Some(bound) = head.or(found).map(bound) {
            for checkpoint in archived.filter(|checkpoint| !checkpoint.is_root() && checkpoint.head.id < bound) {
                at_hand.insert(Wanted::Before { ns: checkpoint.ns.clone(), id: bound }, keep(checkpoint));
            }
        }
        at_hand
    }
}
