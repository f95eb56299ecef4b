//! A failed task: its error ends the loop, or goes to the node that `on_error` names, in the same step.

use uuid::Uuid;

use super::Turn;
use crate::{
    graph::Graph,
    graph_loop::{Failure, GraphLoop},
    step_task::{Stand, StepTask},
    task::{Handled, TaskError, TaskId},
};

impl Turn<'_> {
    /// `node` is the one that failed, deep inside of a subgraph maybe.
    pub(super) fn fail_task(
        &mut self,
        graph: &Graph,
        at: &mut GraphLoop,
        id: TaskId,
        node: Option<String>,
        error: TaskError,
        execution: Uuid,
    ) {
        let Some(task) = at.tasks.get_mut(&id) else { return };
        // What a handler does wrong is nobody's to handle.
        let handler =
            graph.nodes.get(&task.node).and_then(|node| node.on_error.as_ref()).filter(|_| task.handles.is_none());
        let handled = handler.is_some();
        task.stand = Stand::Failed { execution, error: error.clone(), handled };
        let Some(handler) = handler else {
            at.fail(Failure::Error { node, error });
            return at.one_less();
        };
        // A run that comes back to the step forgets its handlers: the failed task's issue is one that none of them had.
        let issued_before = task.issue.saturating_sub(1);
        let (node, path) = (task.node.clone(), task.path.clone());
        let handler_id = at.handler_id(&node, id);
        let mut handling = StepTask::new(handler_id, handler.clone(), path, [].into());
        handling.handles = Some(Box::new(Handled { task_id: id, node: node.to_string(), error }));
        handling.issue = at.tasks.get(&handler_id).map_or(0, |before| before.issue).max(issued_before);
        at.tasks.insert(handler_id, handling);
        self.begin_task(graph, at, handler_id);
    }
}
