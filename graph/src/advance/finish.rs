//! A task's result: the first one of the open issue counts, and every other is only paid for.

use std::sync::Arc;

use super::{Fold, step::node_failure};
use crate::{
    envelope::Envelope,
    graph::Graph,
    message, snapshot,
    step_task::{Finished, Stand},
    task::{TaskError, TaskResult},
    update::{Happened, TaskDone},
};

impl Fold<'_> {
    pub(super) fn finish_task(&mut self, envelope: &Arc<Envelope>, result: &TaskResult) {
        let live = self.is_live(envelope.run_id);
        let Some(graph) = self.graph().filter(|_| live) else {
            return self.spend(envelope, result.task_id, &result.node, &result.calls);
        };
        let Some(task) = self.state.tasks.get(&result.task_id) else {
            return self.spend(envelope, result.task_id, &result.node, &result.calls);
        };
        if task.counted(result) {
            return;
        }
        if let Some(run) = self.state.live.as_deref_mut() {
            run.spend(&result.calls);
        }
        if task.stand != Stand::Open || task.issue != result.issue {
            return self.spend(envelope, result.task_id, &result.node, &result.calls);
        }
        self.take_result(&graph, result);
    }

    fn take_result(&mut self, graph: &Graph, result: &TaskResult) {
        let Some(task) = self.state.tasks.get_mut(&result.task_id) else { return };
        let Some(run) = self.state.live.as_deref_mut() else { return };
        let error = if result.interrupts.is_empty() { result.error.clone() } else { Some(asks()) };
        let failed = error.as_ref().or(result.branch_error.as_ref());
        if let (None, Some(error)) = (&run.failure, failed) {
            run.failure = Some(node_failure(&task.node, error));
        }
        let mut done = TaskDone {
            task_id: result.task_id,
            issue: result.issue,
            execution: result.execution,
            attempt: result.attempt,
            node: task.node.to_string(),
            ns: task.ns(),
            update: None,
            error: failed.cloned(),
            interrupts: Vec::new(),
            last_token: result.last_token,
            calls: result.calls.clone(),
            restored: false,
        };
        task.stand = match error {
            Some(error) => Stand::Failed { execution: result.execution, error },
            None => {
                let finished = finished(graph, result);
                done.update = snapshot::update_of(graph, &finished.writes).map(Arc::new);
                Stand::Finished(Arc::new(finished))
            }
        };
        run.disarm_task(result.task_id);
        run.unfinished = run.unfinished.saturating_sub(1);
        let last = run.unfinished == 0;
        self.happened(Happened::TaskDone(Box::new(done)));
        if last {
            self.close_step(graph);
        }
    }
}

fn finished(graph: &Graph, result: &TaskResult) -> Finished {
    let holds_messages =
        |name: &str| graph.channels.get(name).is_some_and(|def| def.state && def.kind.holds_messages());
    let write = |(name, value): &(String, Arc<serde_json::Value>)| match holds_messages(name) {
        true => (name.clone(), message::with_ids(value, result.task_id, name)),
        false => (name.clone(), value.clone()),
    };
    Finished {
        execution: result.execution,
        attempt: result.attempt,
        writes: result.writes.iter().map(write).collect(),
        goto: result.goto.clone(),
        branches: result.branches.clone(),
        branch_error: result.branch_error.clone(),
    }
}

fn asks() -> TaskError {
    TaskError {
        class: "not_implemented".to_owned(),
        message: "the node asked a question: interrupts are not built yet".to_owned(),
        kind: None,
        retryable: false,
        retry_after_ms: None,
    }
}
