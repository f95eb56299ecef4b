//! An edit that waits for programs: it is the thread's live run until they have answered.

use std::sync::Arc;

use crate::{
    advance::{
        Fold,
        begin::of_version,
        reduction::{joined_by, undecided},
        step::node_failure,
        timers::GivenBack,
    },
    envelope::{Envelope, Millis},
    event::TimerKind,
    state::{Editing, Run},
    step_task::{Finished, Stand, StepTask},
    task::{TaskId, TaskResult},
    update::{RunError, RunStatus},
};

impl Fold<'_> {
    /// The thread is the edit's until these are answered.
    pub(super) fn await_answers(&mut self, envelope: &Arc<Envelope>, editing: Editing, asks: Vec<StepTask>) {
        // Its tasks are of the version that the thread stands at.
        let root = self.state.root.as_deref().filter(|_| !editing.from.is_root());
        let head = root.map_or(&editing.from.head, |root| &root.head);
        let envelope = of_version(envelope.clone(), head);
        // Issues of an edit that is folded again would be taken for repeats.
        self.state.remember(envelope.run_id);
        let mut run = Run { editing: Some(Box::new(editing)), ..Run::bare(envelope) };
        run.arm(TimerKind::Deadline, run.envelope.deadline);
        self.state.live = Some(Box::new(run));
        self.ask_all(asks);
    }

    fn ask_all(&mut self, asks: Vec<StepTask>) {
        let Some(editing) = self.editing() else { return };
        let ids: Vec<TaskId> = asks.iter().map(|task| task.id).collect();
        editing.tasks.extend(asks.into_iter().map(|task| (task.id, task)));
        ids.into_iter().for_each(|id| self.issue_asked(id));
    }

    /// Issues a task of the edit, where its next superstep begins.
    fn issue_asked(&mut self, id: TaskId) {
        let Some(editing) = self.editing() else { return };
        let Some(task) = editing.tasks.remove(&id) else { return };
        let mut at = editing.stands().clone();
        let Some(graph) = self.graphs.graph(&at.head.graph.hash) else { return };
        at.bind(&graph);
        at.tasks.insert(id, task);
        let Some(mut turn) = self.live_turn() else { return };
        turn.issue(&graph, &mut at, id);
        // Nobody watches an edit.
        self.draft.issued.clear();
        if let (Some(task), Some(editing)) = (at.tasks.remove(&id), self.editing()) {
            editing.tasks.insert(id, task);
        }
    }

    /// A program answered, or couldn't: the edit goes on, or is given up.
    pub(in crate::advance) fn take_answer(&mut self, result: &TaskResult) {
        let Some(run) = self.live() else { return };
        run.disarm_task(result.task_id);
        let envelope = run.envelope.clone();
        let Some(task) = run.editing.as_deref_mut().and_then(|editing| editing.tasks.get_mut(&result.task_id)) else {
            return;
        };
        let (execution, attempt) = (result.execution, result.attempt);
        let answer = match &task.reduces {
            Some(reduction) => {
                let joined = joined_by(&reduction.channel, result).map_err(|error| node_failure(None, &error));
                joined.map(|joined| Finished {
                    writes: Arc::new(vec![(Arc::from(reduction.channel.as_str()), joined)]),
                    ..Finished::default()
                })
            }
            None => match undecided(result) {
                Some(error) => Err(node_failure(Some(task.name().to_string()), &error)),
                None => Ok(Finished { branches: result.branches.clone(), ..Finished::default() }),
            },
        };
        let finished = match answer {
            Ok(answer) => Finished { execution, attempt, ..answer },
            Err(error) => return self.give_up_edit(error),
        };
        task.stand = Stand::Finished(Arc::new(finished));
        // What is asked is one superstep's: the next one can wait until all of it is answered.
        let Some(mut editing) = self.live().and_then(|run| run.editing.take()) else { return };
        let asks = match self.make_supersteps(envelope.run_id, &mut editing) {
            Ok(asks) => asks,
            Err(error) => return self.give_up_edit(error),
        };
        if editing.made.len() == editing.supersteps.len() {
            let happened = self.complete(&envelope, *editing);
            self.draft.happened.extend(happened);
            self.flush(RunStatus::Success);
            self.state.live = None;
            return;
        }
        if let Some(run) = self.live() {
            run.editing = Some(editing);
        }
        self.ask_all(asks);
    }

    /// The thread stays as it was.
    pub(in crate::advance) fn give_up_edit(&mut self, error: RunError) {
        self.cancel_open();
        self.draft.happened.push(super::not_edited(error));
        self.flush(RunStatus::Error);
        self.state.live = None;
    }

    /// A task of an edit that a worker will not finish.
    pub(in crate::advance) fn take_back_asked(&mut self, given_back: &GivenBack) {
        let GivenBack { id, attempt, not_before, .. } = *given_back;
        let at = self.at;
        let Some(task) = self.editing().and_then(|editing| editing.tasks.get_mut(&id)) else { return };
        task.attempt = attempt;
        if not_before > at {
            task.stand = Stand::Delayed;
            return self.wake_asked(id, not_before);
        }
        self.ask_again(id);
    }

    fn wake_asked(&mut self, id: TaskId, due: Millis) {
        if let Some(run) = self.live() {
            run.disarm_task(id);
            run.arm(TimerKind::Retry(id), due);
        }
    }

    pub(in crate::advance) fn ask_again(&mut self, id: TaskId) {
        if let Some(run) = self.live() {
            run.disarm_task(id);
        }
        self.issue_asked(id);
    }

    pub(in crate::advance) fn is_editing(&self) -> bool {
        self.state.live.as_ref().is_some_and(|run| run.editing.is_some())
    }

    fn editing(&mut self) -> Option<&mut Editing> {
        self.live()?.editing.as_deref_mut()
    }
}
