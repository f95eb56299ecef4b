//! A subgraph that failed and is run again, as its node's policy says.

use xxhash_rust::xxh3::xxh3_64;

use super::Turn;
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
        if !self.path.is_empty() {
            self.run.within.insert(id, self.path.as_slice().into());
        }
        let due = self.at.saturating_add(i64::try_from(delay).unwrap_or(i64::MAX));
        self.run.arm(TimerKind::Retry(id), due);
        true
    }
}
