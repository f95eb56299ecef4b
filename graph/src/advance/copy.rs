//! A thread that is copied: another one begins where it stands, and each goes on alone.

use std::sync::Arc;

use super::{Command, Fold, begin::busy, lost::value_missing};
use crate::{
    envelope::Envelope,
    event::Copied,
    ids,
    state::KeyState,
    update::{Edited, Happened, RunError, RunStatus},
};

impl Fold<'_> {
    /// Puts out where a thread stands that rests. What it told of itself stays true: nothing in it changes.
    pub(super) fn copy_thread(&mut self, envelope: &Arc<Envelope>, to: &str) {
        let (edited, status) = match self.is_unrested() {
            Some(error) => (Edited { error: Some(error), ..Edited::default() }, RunStatus::Error),
            None => {
                self.put_out_copy(envelope, to);
                (Edited { copied_to: Some(to.to_owned()), ..Edited::default() }, RunStatus::Success)
            }
        };
        self.tell(envelope, Some(1), status, Happened::Edited(Box::new(edited)));
    }

    /// Why nothing can be done to the thread that takes it as it stands.
    pub(super) fn is_unrested(&self) -> Option<RunError> {
        match &self.state.lost {
            Some(reason) => Some(value_missing(reason)),
            None => (!self.state.is_idle()).then(busy),
        }
    }

    fn put_out_copy(&mut self, envelope: &Arc<Envelope>, to: &str) {
        let from = envelope.thread_id.clone().unwrap_or_default();
        let envelope = Arc::new(Envelope { thread_id: Some(to.to_owned()), ..Envelope::clone(envelope) });
        let state = self.state.copied(&envelope);
        let namespaces = std::iter::once(String::new()).chain(self.state.memories.keys().cloned()).collect();
        let copied = Box::new(Copied { from, thread_state: Arc::new(state.to_json()), missing: None });
        let forgets_up_to = self.state.forgets_up_to();
        self.commands.push(Command::Copy { envelope, copied, namespaces, forgets_up_to, unstored: Vec::new() });
    }

    /// The first record of a copy. It may come again after a kill, and then changes nothing.
    pub(super) fn begin_copy(&mut self, envelope: &Arc<Envelope>, copied: &Copied) {
        let KeyState { root, live, .. } = &self.state;
        if self.state.knows(envelope.run_id) || root.is_some() || live.is_some() {
            return;
        }
        self.state.remember(envelope.run_id);
        let begun = match &copied.missing {
            Some(reason) => Err(reason.clone()),
            None => KeyState::of_json(&copied.thread_state).map_err(|error| error.to_string()),
        };
        match begun {
            Ok(KeyState { root, memories, newest, last_checkpoint, last_at, pruned, .. }) => {
                (self.state.root, self.state.memories, self.state.newest) = (root, memories, newest);
                (self.state.last_checkpoint, self.state.pruned) = (last_checkpoint, pruned);
                self.state.last_at = self.state.last_at.max(last_at);
            }
            Err(reason) => {
                self.state.lose(format!("the thread is a copy of {}, whose state is gone: {reason}", copied.from))
            }
        }
    }
}

impl KeyState {
    /// Where the thread stands, under the name of its copy.
    fn copied(&self, envelope: &Envelope) -> Self {
        let last_issue = ids::last_issue_before(envelope.run_id);
        let mut copy = KeyState {
            last_at: self.last_at,
            last_checkpoint: self.last_checkpoint,
            root: self.root.clone(),
            memories: self.memories.clone(),
            newest: self.newest.clone(),
            pruned: self.pruned,
            ..KeyState::new(envelope.key())
        };
        let loops = copy.root.as_deref_mut().into_iter().chain(copy.newest.as_deref_mut());
        loops.chain(copy.memories.values_mut()).for_each(|at| at.issue_above(last_issue));
        copy
    }
}
