//! Tasks go out: to workers, or into a subgraph's loop.

use std::sync::Arc;

use super::{Command, Turn, begin::input_writes};
use crate::{
    branch,
    by_name::ChannelValues,
    channel::Content,
    graph::{Graph, START_NODE},
    graph_loop::{Failure, GraphLoop},
    spec::START,
    step_task::{Finished, Stand, StepTask},
    task::{Task, TaskError, TaskId},
};

impl Turn<'_> {
    /// Issues every task of the step that hasn't finished; START's is done at once.
    pub(super) fn issue_all(&mut self, graph: &Graph, at: &mut GraphLoop) {
        let mut order: Vec<TaskId> =
            at.tasks.values().filter(|task| !task.is_finished() && !task.is_handled()).map(|task| task.id).collect();
        order.sort_by_cached_key(|id| issue_order(&at.tasks[id]));
        self.who_asked_first(at, &mut order);
        if let Some(progress) = at.progress.as_deref_mut() {
            progress.unfinished = order.len();
        }
        for id in order {
            self.begin_task(graph, at, id);
        }
    }

    pub(super) fn begin_task(&mut self, graph: &Graph, at: &mut GraphLoop, id: TaskId) {
        let Some(task) = at.tasks.get(&id) else { return };
        if task.is_hidden() {
            self.start(graph, at, id);
        } else if graph.nodes.get(&task.node).is_some_and(|node| node.subgraph.is_some()) {
            self.enter(graph, at, id);
        } else {
            self.give_answers(at, id);
            self.issue(graph, at, id);
        }
    }

    /// Issues a task to its node's workers.
    pub(super) fn issue(&mut self, graph: &Graph, at: &mut GraphLoop, id: TaskId) {
        let stop = at.progress.as_ref().map_or(0, |progress| progress.stop);
        let Some(task) = at.tasks.get_mut(&id) else { return };
        task.issue += 1;
        task.stand = Stand::Open;
        self.run.last_issue = self.run.last_issue.max(task.issue);
        let Some(task) = at.tasks.get(&id) else { return };
        let shown = task.issued(&at.ns);
        let checkpoint_ns = shown.ns.clone();
        if !task.is_hidden() && task.reduces.is_none() {
            self.draft.issued.push(shown);
        }
        if !self.path.is_empty() {
            self.run.within.insert(id, Arc::from(self.path.as_slice()));
        }
        let task = Task {
            id: task.id,
            issue: task.issue,
            attempt: task.attempt,
            repeat: false,
            node: if task.is_hidden() { Arc::from(START) } else { task.node.clone() },
            graph: at.declares(),
            work: task.work(),
            handles: task.handles.clone(),
            step: at.head.step + 1,
            stop,
            recursion_limit: self.run.limit,
            checkpoint_id: at.head.id,
            checkpoint_ns,
            path: task.path.clone(),
            triggers: task.triggers.clone(),
            answers: task.given.clone(),
            channels: channels_for(graph, at, task),
            context: self.run.context.clone(),
            configurable: self.run.config.configurable.clone(),
            thread_age_ms: self.thread_age_ms,
            model_config: self.run.config.model.clone(),
        };
        self.draft.commands.push(Command::Issue { envelope: self.run.envelope.clone(), task: Box::new(task) });
    }

    /// START's task: it writes the input, and its conditions are decided here.
    fn start(&mut self, graph: &Graph, at: &mut GraphLoop, id: TaskId) {
        let mut finished = match at.head.channels.get(START_NODE).map(|channel| &channel.content) {
            Some(Content::Fields(input)) => input_writes(graph, input, id),
            Some(_) | None => Finished::default(),
        };
        if let Some(progress) = at.progress.as_deref_mut() {
            finished.goto = std::mem::take(&mut progress.entry);
        }
        if branch::asks(graph, START_NODE) {
            return self.ask_where(graph, at, id, finished);
        }
        if let Err(error) = self.decide(graph, at, START_NODE, &mut finished) {
            at.fail(Failure::Error { node: Some(START.to_owned()), error });
        }
        if let Some(task) = at.tasks.get_mut(&id) {
            task.stand = Stand::Finished(Arc::new(finished));
        }
        at.one_less();
    }

    /// A program decides where to go from a task that no worker ran: one is asked to ask it.
    pub(super) fn ask_where(&mut self, graph: &Graph, at: &mut GraphLoop, id: TaskId, wrote: Finished) {
        let Some(task) = at.tasks.get_mut(&id) else { return };
        task.wrote = Some(Arc::new(wrote));
        task.given.clear();
        self.issue(graph, at, id);
    }

    /// Decides the conditional edges of a node that no worker ran.
    pub(super) fn decide(
        &self,
        graph: &Graph,
        at: &GraphLoop,
        node: &str,
        finished: &mut Finished,
    ) -> Result<(), TaskError> {
        match branch::decide(graph, node, &at.head.values(graph), &finished.writes, &self.run.context) {
            Ok(branches) => {
                finished.branches = branches;
                Ok(())
            }
            Err(error) => {
                finished.branch_error = Some(error.clone());
                Err(error)
            }
        }
    }
}

/// The channels that a node and its conditions read.
fn channels_for(graph: &Graph, at: &GraphLoop, task: &StepTask) -> ChannelValues {
    let Some(node) = graph.nodes.get(&task.node) else { return ChannelValues::new() };
    at.head.read(graph, &node.read_places)
}

/// Sends by index, then nodes by name: the order in which LangGraph starts tasks. Who handles a failure comes last.
fn issue_order(task: &StepTask) -> (bool, bool, u32, Arc<str>) {
    let (index, _) = task.apply_order();
    (task.handles.is_some(), index == 0, index, task.node.clone())
}
