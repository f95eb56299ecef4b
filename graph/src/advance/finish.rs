//! A task's result: the first one of the open issue counts, and every other is only paid for.

use std::sync::Arc;

use super::{Fold, Turn};
use crate::{
    envelope::Envelope,
    graph::Graph,
    graph_loop::{Failure, GraphLoop},
    message,
    step_task::{Finished, Stand, StepTask},
    task::{TaskId, TaskResult},
    update::{Happened, TaskDone},
    writes::NodeUpdate,
};

impl Fold<'_> {
    pub(super) fn finish_task(&mut self, envelope: &Arc<Envelope>, result: &TaskResult) {
        let live = self.is_live(envelope.run_id);
        let Some(task) = self.task(result.task_id).filter(|_| live) else {
            return self.spend(envelope, result.task_id, &result.node, &result.calls);
        };
        if task.counted(result) {
            return;
        }
        let counts = task.stand == Stand::Open && task.issue == result.issue;
        if let Some(run) = self.state.live.as_deref_mut() {
            run.spend(&result.calls);
        }
        if !counts {
            return self.spend(envelope, result.task_id, &result.node, &result.calls);
        }
        if self.is_editing() {
            return self.take_answer(result);
        }
        let path = self.path_to(result.task_id);
        self.turn(|turn, root| turn.within(root, &path, &mut |turn, at| turn.take_result(at, result)));
    }

    /// A task of the live run's step, in a subgraph too.
    pub(super) fn task(&self, id: TaskId) -> Option<&StepTask> {
        if let Some(editing) = self.state.live.as_ref().and_then(|run| run.editing.as_deref()) {
            return editing.tasks.get(&id);
        }
        self.state.root.as_deref()?.inside(&self.path_to(id))?.tasks.get(&id)
    }

    /// The tasks of outer graphs that a task is in.
    pub(super) fn path_to(&self, id: TaskId) -> Arc<[TaskId]> {
        let path = self.state.live.as_ref().and_then(|run| run.within.get(&id));
        path.cloned().unwrap_or_default()
    }
}

impl Turn<'_> {
    fn take_result(&mut self, at: &mut GraphLoop, result: &TaskResult) {
        let Some(graph) = self.graph_of(at) else { return };
        let id = result.task_id;
        let is_root = at.is_root();
        let Some(task) = at.tasks.get_mut(&id) else { return };
        self.run.disarm_task(id);
        if task.reduces.is_some() {
            return self.take_reduction(at, id, result);
        }
        if let Some(wrote) = task.wrote.take() {
            return self.take_decision(&graph, at, id, &wrote, result);
        }
        self.take_up_answers(task, result.answered);
        let name = task.name();
        let mut done = TaskDone {
            task_id: id,
            issue: result.issue,
            execution: result.execution,
            attempt: result.attempt,
            node: name.clone(),
            ns: task.ns(&at.ns),
            update: None,
            error: result.error.clone().or_else(|| result.branch_error.clone()),
            interrupts: Vec::new(),
            last_token: result.last_token,
            calls: result.calls.clone(),
            restored: false,
            to_parent: false,
            answered: false,
        };
        let execution = result.execution;
        if let Some(error) = &result.error {
            self.happened(Happened::TaskDone(Box::new(done)));
            return self.fail_task(&graph, at, id, Some(name.to_string()), error.clone(), execution);
        }
        if let Some(command) = &result.parent {
            task.stand = Stand::Left { execution };
            done.to_parent = true;
            at.fail(Failure::Left(command.clone()));
        } else if !result.interrupts.is_empty() {
            task.interrupts.clone_from(&result.interrupts);
            task.stand = Stand::Paused { execution, asked: true };
            done.interrupts.clone_from(&result.interrupts);
            if self.run.resume.is_some() {
                // An answer waits that may be this task's: nobody is asked before that is known.
                task.held = Some(Box::new(done));
                return at.one_less();
            }
        } else {
            let finished = finished(&graph, result);
            done.update = NodeUpdate::of(&graph, is_root, &finished.writes);
            task.stand = Stand::Finished(Arc::new(finished));
            if let Some(error) = &result.branch_error {
                at.fail(Failure::Error { node: Some(name.to_string()), error: error.clone() });
            }
        }
        self.happened(Happened::TaskDone(Box::new(done)));
        at.one_less();
    }
}

fn finished(graph: &Graph, result: &TaskResult) -> Finished {
    let with_ids = |(name, value): &(Arc<str>, Arc<serde_json::Value>)| match graph.holds_messages(name) {
        true => (name.clone(), message::with_ids(value, result.task_id, name)),
        false => (name.clone(), value.clone()),
    };
    let writes = match result.writes.iter().any(|(name, _)| graph.holds_messages(name)) {
        true => Arc::new(result.writes.iter().map(with_ids).collect()),
        false => result.writes.clone(),
    };
    Finished {
        execution: result.execution,
        attempt: result.attempt,
        writes,
        goto: result.goto.clone(),
        branches: result.branches.clone(),
        branch_error: result.branch_error.clone(),
    }
}
