//! Work that the engine itself asks of programs: where to go from what no worker ran, and how a step's writes are joined.

use std::sync::Arc;

use serde_json::Value;

use super::Turn;
use crate::{
    apply::{Writer, reductions},
    channel::UpdateError,
    graph::Graph,
    graph_loop::{Failure, GraphLoop},
    ids,
    spec::START,
    step_task::{Finished, Stand, StepTask},
    task::{Reduction, TaskError, TaskId, TaskResult},
    update::{Happened, TaskDone},
    writes::NodeUpdate,
};

impl Turn<'_> {
    /// Before a step is applied: asks for the channels whose writes a program joins. True where an answer is awaited.
    pub(super) fn ask_reducers(&mut self, graph: &Graph, at: &mut GraphLoop) -> Result<bool, UpdateError> {
        let mut wanted = reductions(graph, &at.head, &Writer::of_tasks(graph, at.tasks.values()))?;
        wanted.retain(|reduction| !at.reduced.contains_key(&reduction.channel));
        if let Some(progress) = at.progress.as_deref_mut() {
            progress.unfinished += wanted.len();
        }
        let asks = !wanted.is_empty();
        for reduction in wanted {
            let id = ids::reduction_task_id(
                at.head.id,
                &at.ids_ns(),
                at.head.step + 1,
                &reduction.channel,
                self.run.envelope.run_id,
            );
            at.tasks.insert(id, StepTask::reducing(id, reduction));
            self.issue(graph, at, id);
        }
        Ok(asks)
    }

    /// A program joined writes, or couldn't.
    pub(super) fn take_reduction(&mut self, at: &mut GraphLoop, id: TaskId, result: &TaskResult) {
        self.run.within.remove(&id);
        let Some(reduces) = at.tasks.remove(&id).and_then(|task| task.reduces) else { return };
        let Reduction { channel, value, .. } = *reduces;
        let joined = joined_by(&channel, result);
        if let Err(error) = &joined
            && !at.is_stopping()
        {
            at.fail(Failure::Error { node: None, error: error.clone() });
        }
        // What can't be joined is shown as it was.
        at.reduced.insert(channel, joined.unwrap_or(value));
        at.one_less();
    }

    /// A program said where to go from what no worker ran.
    pub(super) fn take_decision(
        &mut self,
        graph: &Graph,
        at: &mut GraphLoop,
        id: TaskId,
        wrote: &Finished,
        result: &TaskResult,
    ) {
        let error = undecided(result);
        let finished = Finished {
            execution: result.execution,
            attempt: result.attempt,
            branches: result.branches.clone(),
            branch_error: error.clone(),
            ..wrote.clone()
        };
        let Some(task) = at.tasks.get(&id) else { return };
        let node = if task.is_hidden() { START.to_owned() } else { task.name().to_string() };
        if !task.is_hidden() {
            let update = NodeUpdate::of(graph, at.is_root(), &finished.writes);
            let calls = result.calls.clone();
            let done = TaskDone { update, error: error.clone(), calls, ..self.done(at, id) };
            self.happened(Happened::TaskDone(Box::new(done)));
        }
        if let Some(error) = error {
            at.fail(Failure::Error { node: Some(node), error });
        }
        if let Some(task) = at.tasks.get_mut(&id) {
            task.stand = Stand::Finished(Arc::new(finished));
        }
        at.one_less();
    }
}

/// What a program made of the writes to a channel.
pub(super) fn joined_by(channel: &str, result: &TaskResult) -> Result<Arc<Value>, TaskError> {
    let joined = result.writes.iter().find(|(name, _)| **name == *channel);
    match (&result.error, joined) {
        (None, Some((_, joined))) => Ok(joined.clone()),
        (Some(error), _) => {
            let message = format!("At key '{channel}': {}", error.message);
            Err(TaskError { message, ..error.clone() })
        }
        (None, None) => Err(unusable(format!("At key '{channel}': its reducer gave no value"))),
    }
}

/// Why a program's decision can't be followed.
pub(super) fn undecided(result: &TaskResult) -> Option<TaskError> {
    let asked = (!result.interrupts.is_empty())
        .then(|| unusable("only a decision behind a node that a worker runs can ask a question".to_owned()));
    result.error.clone().or_else(|| result.branch_error.clone()).or(asked)
}

fn unusable(message: String) -> TaskError {
    TaskError { class: "node_failed".to_owned(), message, ..TaskError::default() }
}
