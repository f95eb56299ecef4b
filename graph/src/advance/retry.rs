//! A subgraph that failed or took too long, and is run again, as its node's policies say.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    Turn,
    end::cancels,
    step::{End, failure},
};
use crate::{
    event::TimerKind,
    graph::Graph,
    graph_loop::GraphLoop,
    retry::delay_ms,
    step_task::Stand,
    task::{TaskError, TaskId},
};

impl Turn<'_> {
    /// Whether the task is made again. What the subgraph remembers it goes on from, as LangGraph's does: what had finished in
    /// it isn't run again.
    pub(super) fn retry_inside(&mut self, graph: &Graph, at: &mut GraphLoop, id: TaskId, error: &TaskError) -> bool {
        let Some(task) = at.tasks.get_mut(&id) else { return false };
        let policy = graph.spec().node(&task.node).and_then(|node| node.retry.as_ref());
        let made = task.attempt + 1;
        // Chance that a replay draws too.
        let drawn = xxh3_64(&[id.as_bytes().as_slice(), &made.to_be_bytes()].concat());
        let Some(delay) = delay_ms(policy, made, error, drawn) else { return false };
        task.attempt = made;
        task.stand = Stand::Delayed;
        self.arm_inside(TimerKind::Retry(id), id, delay);
        true
    }

    /// Arms a timer of a task that is a graph, in a graph that may be one of a task itself.
    fn arm_inside(&mut self, kind: TimerKind, id: TaskId, after_ms: u64) {
        if !self.path.is_empty() {
            self.run.within.insert(id, self.path.as_slice().into());
        }
        let due = self.at.saturating_add(i64::try_from(after_ms).unwrap_or(i64::MAX));
        self.run.arm(kind, due);
    }

    /// The subgraph of a task may run so long as its node's policy says; what it waits for, such as an answer, doesn't count.
    pub(super) fn limit_time(&mut self, graph: &Graph, node: &str, id: TaskId) {
        if let Some(timeout) = timeout(graph, node) {
            self.arm_inside(TimerKind::Timeout(id), id, timeout);
        }
    }

    /// The subgraph of a task took too long, and has failed: nobody waits for what still runs in it.
    pub(super) fn time_out(&mut self, at: &mut GraphLoop, id: TaskId) {
        let Some(graph) = self.graph_of(at) else { return };
        let Some(task) = at.tasks.get_mut(&id).filter(|task| task.stand == Stand::Inside) else { return };
        let (Some(inner), Some(timeout)) = (task.inner.as_deref_mut(), timeout(&graph, &task.node)) else { return };
        self.draft.commands.extend(cancels(&self.run.envelope, inner.open_tasks()));
        for id in inner.abandon() {
            self.run.disarm_task(id);
            self.take_answer_back(id);
        }
        let message = format!("node {} exceeded its timeout of {timeout} ms", task.node);
        let error = TaskError { retryable: true, ..failure("node_failed", message, "NodeTimeoutError") };
        self.leave(at, id, End::Failed { node: None, error });
    }
}

fn timeout(graph: &Graph, node: &str) -> Option<u64> {
    graph.spec().node(node).and_then(|node| node.timeout_ms)
}
