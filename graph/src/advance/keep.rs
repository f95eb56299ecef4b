//! What stays of a run that keeps only its last checkpoint (`durability: exit`): the fold carries it out as any other, but
//! none of its checkpoints is stored before its loop ends, nor what it did at the one that it went on from.

use super::{
    Turn,
    step::{End, checkpointed},
};
use crate::{
    graph_loop::GraphLoop,
    prepare::prepare,
    spec::Memory,
    step_task::{StepTask, StepTasks},
    task::TaskId,
    update::{Happened, Kept},
};

impl Turn<'_> {
    /// The loop as it is stored, where the run that takes it up stores nothing before its end.
    pub(super) fn stands(&self, at: &GraphLoop) -> Option<Box<GraphLoop>> {
        (self.run.keeps_last && at.has_begun()).then(|| Box::new(at.clone()))
    }

    /// The run moves on from a checkpoint, which stays as it stood; but whoever comes back to it gives no issue again that
    /// the run gave.
    pub(super) fn as_it_stood(&self, mut stood: GraphLoop, tasks: StepTasks) -> GraphLoop {
        for (id, task) in tasks.into_iter().filter(|(_, task)| task.handles.is_none() && task.reduces.is_none()) {
            stood.tasks.entry(id).or_insert_with(|| StepTask::new(id, task.node, task.path, task.triggers));
        }
        stood.issue_above(self.run.last_issue);
        stood
    }

    /// The subgraph of a task ended. One that is done is no longer needed, unless it remembers for the thread; nor is one
    /// stored that ran out of steps.
    pub(super) fn keep_left(&mut self, at: &mut GraphLoop, id: TaskId, end: &End) {
        if !self.run.keeps_last {
            return;
        }
        let Some(mut inner) = at.tasks.get_mut(&id).and_then(|task| task.inner.take()) else { return };
        let stays = inner.memory() == Memory::Thread || !(matches!(end, End::Done) || end.is_out_of_steps());
        let inner = match stays {
            true => {
                self.keep_all(&mut inner);
                Some(inner)
            }
            false => inner
                .progress
                .and_then(|progress| progress.stood)
                .map(|stood| Box::new(self.as_it_stood(*stood, StepTasks::new()))),
        };
        if let Some(task) = at.tasks.get_mut(&id) {
            task.inner = inner;
        }
    }

    /// The run ends: its last checkpoint stays, those of the subgraphs that it is cut off in, and what a command wrote where it
    /// made none.
    pub(super) fn keep_last(&mut self, root: &mut GraphLoop) -> Option<End> {
        if !self.run.keeps_last {
            return None;
        }
        self.keep_all(root);
        let stood = root.progress.as_deref_mut().and_then(|progress| progress.stood.take())?;
        // An answer that a task has taken up is stored with the task.
        root.resume = self.run.resume.clone().or(stood.resume);
        if root.command != stood.command {
            let graph = self.graph_of(root)?;
            let kept = Kept::Command { checkpoint_id: root.head.id, values: root.head.tracked(&graph) };
            self.happened(Happened::Kept(Box::new(kept)));
        }
        None
    }

    /// And what is stored nowhere of the subgraphs inside: those that are cut off.
    fn keep_all(&mut self, at: &mut GraphLoop) {
        self.keep(at);
        for inner in at.tasks.values_mut().filter_map(|task| task.inner.as_deref_mut()) {
            self.keep_all(inner);
        }
    }

    /// The head is stored, where it isn't.
    fn keep(&mut self, at: &mut GraphLoop) {
        let Some(progress) = at.progress.as_deref_mut() else { return };
        if !std::mem::take(&mut progress.passing) || progress.memory == Memory::None {
            return;
        }
        progress.stood = None;
        let Some(graph) = self.graph_of(at) else { return };
        // As the checkpoint was made: without what came of its tasks.
        let made = GraphLoop { tasks: prepare(&graph, &at.head, &at.ids_ns()), ..at.clone() };
        let kept = Kept::Checkpoint(checkpointed(&graph, &made, false, self.run.metadata.clone()));
        self.happened(Happened::Kept(Box::new(kept)));
    }
}

impl End {
    /// The loop's own, and not that of one inside.
    fn is_out_of_steps(&self) -> bool {
        matches!(self, End::Failed { node: None, error } if error.class == "recursion_limit")
    }
}
