//! A thread whose history is forgotten: it stands where it stands, and nothing leads back.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    Fold,
    begin::{invalid_value, unknown_checkpoint},
};
use crate::{
    envelope::Envelope,
    graph_loop::GraphLoop,
    state::{KeyState, Pruned},
    update::{Edited, Happened, OuterCheckpoint, RunError, RunStatus},
};

impl Fold<'_> {
    /// Forgets what was before the place where a thread rests. `envelope` names the pruning: a client's, or one that the
    /// thread's own time brings.
    pub(super) fn prune_thread(&mut self, envelope: &Arc<Envelope>) {
        let (edited, status) = match self.is_unrested() {
            Some(error) => (Edited { error: Some(error), ..Edited::default() }, RunStatus::Error),
            None => {
                let kept = self.state.stands();
                let up_to = self.state.last_checkpoint.bound();
                // Without a checkpoint there is no history.
                if !kept.is_empty() {
                    self.state.pruned = Some(Pruned { up_to, put_away_up_to: 0 });
                    self.state.forget_told();
                }
                (Edited { pruned: Some(kept), ..Edited::default() }, RunStatus::Success)
            }
        };
        self.tell(envelope, Some(1), status, Happened::Edited(Box::new(edited)));
    }

    /// What is said of a checkpoint that isn't found.
    pub(super) fn no_checkpoint(&self, id: Uuid) -> RunError {
        match self.state.pruned.is_some_and(|pruned| id <= pruned.up_to) {
            true => pruned_checkpoint(id),
            false => unknown_checkpoint(id),
        }
    }
}

impl KeyState {
    /// The checkpoints that the thread goes on from: its own, those of subgraphs that remember, and of those that are cut off.
    fn stands(&self) -> Vec<OuterCheckpoint> {
        let mut found = Vec::new();
        for at in self.root.as_deref().into_iter().chain(self.memories.values()) {
            stand_in(at, &mut found);
        }
        found
    }
}

fn stand_in(at: &GraphLoop, found: &mut Vec<OuterCheckpoint>) {
    if at.has_begun() {
        found.push(OuterCheckpoint { ns: at.ns.clone(), checkpoint_id: at.head.id });
    }
    for inner in at.tasks.values().filter_map(|task| task.inner.as_deref()) {
        stand_in(inner, found);
    }
}

fn pruned_checkpoint(id: Uuid) -> RunError {
    let message =
        format!("the thread's history was pruned, and its checkpoint {id} with it; go on from its latest state");
    invalid_value("UnknownCheckpoint", &message)
}
