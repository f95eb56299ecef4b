//! Tasks that go on from one memory at the same time: the ids of what runs inside tell them apart.
//!
//! A task's id is of its checkpoint. Two tasks of a run that are the same subgraph with `memory: thread` may stand at the same
//! checkpoint, where LangGraph gives what is inside of both the same ids.

use std::borrow::Cow;

use uuid::Uuid;

use crate::{
    graph_loop::GraphLoop,
    ids,
    prepare::joined,
    state::Run,
    step_task::{StepTask, StepTasks},
    task::{TaskId, TaskPath},
};

impl GraphLoop {
    /// The namespace as ids of its tasks see it.
    pub(crate) fn ids_ns(&self) -> Cow<'_, str> {
        match self.twin {
            0 => Cow::Borrowed(&self.ns),
            twin => Cow::Owned(format!("{}#{twin}", self.ns)),
        }
    }

    /// The id of the task that handles the failure of `failed`.
    pub(crate) fn handler_id(&self, node: &str, failed: TaskId) -> TaskId {
        let name = format!("__error_handler__{node}");
        ids::handler_task_id(self.head.id, &joined(&self.ids_ns(), &name), self.head.step + 1, &name, failed)
    }

    /// Gives its tasks, and those inside of them, the ids of this twin.
    pub(crate) fn become_twin(&mut self, twin: u32) {
        if self.twin != twin {
            self.twin = twin;
            self.name_anew();
        }
    }

    fn name_anew(&mut self) {
        let tasks = [std::mem::take(&mut self.tasks), std::mem::take(&mut self.aside)];
        let [tasks, aside] = tasks.map(|tasks| self.named_anew(tasks));
        (self.tasks, self.aside) = (tasks, aside);
    }

    fn named_anew(&self, tasks: StepTasks) -> StepTasks {
        let (mut handlers, others): (Vec<StepTask>, Vec<StepTask>) =
            tasks.into_values().partition(|task| task.handles.is_some());
        let mut named = StepTasks::new();
        for mut task in others {
            let (before, id) = (task.id, self.id_of(&task));
            for handled in handlers.iter_mut().filter_map(|handler| handler.handles.as_deref_mut()) {
                if handled.task_id == before {
                    handled.task_id = id;
                }
            }
            self.name(&mut task, id);
            named.insert(id, task);
        }
        for mut handler in handlers {
            let id = handler.handles.as_ref().map_or(handler.id, |of| self.handler_id(&of.node, of.task_id));
            self.name(&mut handler, id);
            named.insert(id, handler);
        }
        named
    }

    /// What runs inside of a task is named by it.
    fn name(&self, task: &mut StepTask, id: TaskId) {
        task.rename(id);
        let ns = task.ns(&self.ns);
        if let Some(inner) = task.inner.as_deref_mut()
            && *inner.ns != *ns
            && inner.is_of_a_task()
        {
            inner.ns = str::to_owned(&ns);
            inner.name_anew();
        }
    }

    /// Its namespace names a task, and not a node of the thread.
    fn is_of_a_task(&self) -> bool {
        self.ns.rsplit('|').next().is_some_and(|last| last.contains(':'))
    }

    fn id_of(&self, task: &StepTask) -> TaskId {
        let (ns, step) = (self.ids_ns(), self.head.step + 1);
        let ns = joined(&ns, &task.node);
        match &task.path {
            TaskPath::Pull => ids::pull_task_id(self.head.id, &ns, step, &task.node, &task.triggers),
            TaskPath::Push { index, .. } => ids::push_task_id(self.head.id, &ns, step, &task.node, *index),
        }
    }
}

impl Run {
    /// Which of those it is that went on from `checkpoint` in this run: the first task is 0, and stays so.
    pub(crate) fn twin(&mut self, checkpoint: Uuid, task: TaskId) -> u32 {
        let went_on = self.went_on.entry(checkpoint).or_default();
        let place = went_on.iter().position(|known| *known == task).unwrap_or_else(|| {
            went_on.push(task);
            went_on.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    /// A loop as it is stored: as if no other task had gone on from its checkpoint, but that no issue is given again.
    pub(crate) fn without_twins(&self, at: &mut GraphLoop) {
        if self.went_on.get(&at.head.id).is_some_and(|tasks| tasks.len() > 1) {
            at.become_twin(0);
            at.issue_above(self.last_issue);
        }
    }
}
