//! Where an edit begins: the thread's own graph at any checkpoint, or a subgraph where it stands.

use std::sync::Arc;

use crate::{
    advance::{Fold, begin::invalid_value, lost::value_missing},
    envelope::Envelope,
    event::Edit,
    graph_loop::{Found, GraphLoop, Wanted},
    state::KeyState,
    task::TaskId,
    update::{OuterCheckpoint, RunError},
};

/// A subgraph where it stands, in the tree of a thread.
struct Place {
    /// What the subgraph that remembers for the thread is known by; None where the root is outermost.
    memory: Option<String>,
    path: Vec<TaskId>,
}

impl Fold<'_> {
    /// The checkpoint that the edit begins at, and where the graphs stand that it is in.
    pub(super) fn edited(
        &self,
        envelope: &Arc<Envelope>,
        edit: &Edit,
    ) -> Result<(GraphLoop, Vec<OuterCheckpoint>), RunError> {
        if !edit.checkpoint_ns.is_empty() {
            return self.edited_inside(edit);
        }
        let root = self.state.root.as_deref();
        let at = match edit.checkpoint_id {
            Some(id) if root.is_none_or(|root| root.head.id != id) => {
                match self.recalled.get(&Wanted::Checkpoint(id)) {
                    Some(Found::There(found)) => GraphLoop::clone(found),
                    Some(Found::Lost(reason)) => return Err(value_missing(reason)),
                    Some(Found::Nothing) | None => return Err(self.no_checkpoint(id)),
                }
            }
            Some(_) | None => root.cloned().unwrap_or_else(|| {
                let mut empty = GraphLoop::empty(String::new(), Arc::new(envelope.graph.clone()), envelope.rules);
                // The first edit of an empty thread is its step 0.
                empty.head.step = -1;
                empty
            }),
        };
        Ok((at, Vec::new()))
    }

    fn edited_inside(&self, edit: &Edit) -> Result<(GraphLoop, Vec<OuterCheckpoint>), RunError> {
        let ns = &edit.checkpoint_ns;
        let unknown = || {
            let message = format!(
                "no subgraph of the thread stands in the namespace {ns}; list those that do with GET \
                 /threads/{{thread_id}}/state?subgraphs=true"
            );
            invalid_value("UnknownCheckpoint", &message)
        };
        let place = Place::of(&self.state, ns).ok_or_else(unknown)?;
        let (at, parents) = place.look(&self.state).ok_or_else(unknown)?;
        if let Some(id) = edit.checkpoint_id.filter(|id| *id != at.head.id) {
            let message = format!(
                "a subgraph is edited where it stands, at its checkpoint {}, and {id} is another one",
                at.head.id
            );
            return Err(invalid_value("UnknownCheckpoint", &message));
        }
        Ok((at.clone(), parents))
    }

    /// The subgraph stands here now.
    pub(super) fn put_inside(&mut self, at: GraphLoop) {
        let Some(place) = Place::of(&self.state, &at.ns) else { return };
        if let Some(stands) = place.find(&mut self.state) {
            *stands = at;
        }
    }
}

/// Graphs inside each other, of those that a namespace leads to.
const NESTED_MAX: usize = 32;

impl Place {
    /// Where the namespace is, in whatever way it is written: who remembers for the thread is known by names alone, and shown
    /// behind its task.
    fn of(state: &KeyState, ns: &str) -> Option<Self> {
        let parts: Vec<&str> = ns.split('|').collect();
        if parts.len() > NESTED_MAX {
            return None;
        }
        (0..=parts.len()).find_map(|names| {
            let part = |(place, part): (usize, &&str)| match place < names {
                true => part.split(':').next().unwrap_or_default().to_owned(),
                false => (*part).to_owned(),
            };
            let ns = parts.iter().enumerate().map(part).collect::<Vec<_>>().join("|");
            Place::of_exactly(state, &ns)
        })
    }

    fn of_exactly(state: &KeyState, ns: &str) -> Option<Self> {
        let root = state.root.as_deref().map(|root| (None, root));
        let memories = state.memories.iter().map(|(ns, memory)| (Some(ns.clone()), memory));
        root.into_iter().chain(memories).find_map(|(memory, outermost)| {
            let path = path_to(outermost, ns)?;
            (memory.is_some() || !path.is_empty()).then_some(Place { memory, path })
        })
    }

    /// The subgraph, and its parents from the outermost on.
    fn look<'a>(&self, state: &'a KeyState) -> Option<(&'a GraphLoop, Vec<OuterCheckpoint>)> {
        let root = state.root.as_deref()?;
        let mut parents = Vec::new();
        let mut at = root;
        if let Some(ns) = &self.memory {
            parents.push(stands(root));
            at = state.memories.get(ns)?;
        }
        for id in &self.path {
            parents.push(stands(at));
            at = at.tasks.get(id)?.inner.as_deref()?;
        }
        Some((at, parents))
    }

    fn find<'a>(&self, state: &'a mut KeyState) -> Option<&'a mut GraphLoop> {
        let outermost = match &self.memory {
            Some(ns) => state.memories.get_mut(ns)?,
            None => state.root.as_deref_mut()?,
        };
        self.path.iter().try_fold(outermost, |at, id| at.tasks.get_mut(id)?.inner.as_deref_mut())
    }
}

fn stands(at: &GraphLoop) -> OuterCheckpoint {
    OuterCheckpoint { ns: at.ns.clone(), checkpoint_id: at.head.id }
}

/// The tasks of outer graphs that the namespace is in.
fn path_to(at: &GraphLoop, ns: &str) -> Option<Vec<TaskId>> {
    if at.ns == ns {
        return Some(Vec::new());
    }
    at.tasks.values().find_map(|task| {
        let mut path = path_to(task.inner.as_deref()?, ns)?;
        path.insert(0, task.id);
        Some(path)
    })
}
