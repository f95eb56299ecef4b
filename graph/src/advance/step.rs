//! The loop of supersteps: issue a step's tasks, and when all are done apply what they wrote.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

use super::{Command, Fold, begin::input_writes, end::Ending};
use crate::{
    apply::{Purpose, Writer, apply},
    branch,
    channel::UpdateError,
    checkpoint::Checkpoint,
    envelope::Envelope,
    graph::{Graph, START_NODE},
    ids,
    prepare::{in_snapshot_order, prepare},
    snapshot,
    state::Run,
    step_task::{Finished, Stand, StepTask},
    task::{Task, TaskError, TaskId},
    update::{Checkpointed, Happened, RunError, TaskDone},
};

impl Fold<'_> {
    /// Starts the step after the head, or ends the run: nothing to do, or no step left.
    pub(super) fn tick(&mut self, graph: &Graph) {
        // Only steps that need no worker go round: the hidden start, and tasks that had all finished before.
        loop {
            let (Some(head), Some(run)) = (&self.state.head, self.state.live.as_deref()) else { return };
            if head.step + 1 > run.stop {
                return self.end(Ending::error(recursion_limit(run.limit)));
            }
            if self.state.tasks.is_empty() {
                return self.end(Ending::success());
            }
            self.issue_all(graph);
            let Some(run) = self.state.live.as_deref_mut() else { return };
            if run.unfinished > 0 {
                return;
            }
            if let Some(failure) = run.failure.take() {
                return self.end(Ending::error(failure));
            }
            if !self.apply_step(graph) {
                return;
            }
        }
    }

    /// The step's last task is done: what follows?
    pub(super) fn close_step(&mut self, graph: &Graph) {
        let Some(run) = self.live() else { return };
        if let Some(failure) = run.failure.take() {
            return self.end(Ending::error(failure));
        }
        if self.apply_step(graph) {
            self.tick(graph);
        }
    }

    /// Makes the next checkpoint; false where the writes conflict and the run has ended.
    fn apply_step(&mut self, graph: &Graph) -> bool {
        let Some(head) = &mut self.state.head else { return false };
        let writers = Writer::of_tasks(self.state.tasks.values());
        match apply(graph, head, &writers, Purpose::Step) {
            Ok(applied) => {
                self.checkpoint(graph, "loop", applied.wrote);
                true
            }
            Err(error) => {
                self.end(Ending::error(invalid_update(error)));
                false
            }
        }
    }

    /// The head becomes a checkpoint of its own, with the tasks that it asks for.
    pub(super) fn checkpoint(&mut self, graph: &Graph, source: &str, wrote: bool) {
        let (Some(head), Some(run)) = (&mut self.state.head, self.state.live.as_deref()) else { return };
        let parent_id = (!head.id.is_nil()).then_some(head.id);
        head.step += 1;
        head.id = ids::checkpoint_id(self.at, run.envelope.run_id, head.step);
        self.state.tasks = prepare(graph, head);
        let next = in_snapshot_order(graph, &self.state.tasks).into_iter().map(StepTask::issued).collect();
        let done = Checkpointed {
            checkpoint_id: head.id,
            parent_id,
            ns: String::new(),
            step: head.step,
            source: source.to_owned(),
            values: head.tracked(graph),
            untracked: head.untracked(graph),
            next,
            metadata: run.metadata.clone(),
            wrote,
        };
        self.happened(Happened::StepDone(Box::new(done)));
    }

    /// Says of every task that an earlier run finished that it isn't run again.
    pub(super) fn restore(&mut self, graph: &Graph) {
        let mut tasks: Vec<&StepTask> = self.state.tasks.values().filter(|task| !task.is_hidden()).collect();
        tasks.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order()));
        for task in tasks {
            let Some(finished) = task.finished() else { continue };
            let done = TaskDone {
                task_id: task.id,
                issue: task.issue,
                execution: finished.execution,
                attempt: finished.attempt,
                node: task.node.to_string(),
                ns: task.ns(),
                update: snapshot::update_of(graph, &finished.writes).map(Arc::new),
                error: None,
                interrupts: Vec::new(),
                last_token: None,
                calls: Vec::new(),
                restored: true,
            };
            self.draft.happened.push(Happened::TaskDone(Box::new(done)));
        }
    }

    /// Issues every task of the step that hasn't finished; START's is done at once.
    fn issue_all(&mut self, graph: &Graph) {
        let (Some(head), Some(run)) = (&self.state.head, self.state.live.as_deref_mut()) else { return };
        let issuer = Issuer::new(graph, head, run);
        run.unfinished = 0;
        let mut order: Vec<TaskId> = self.state.tasks.keys().copied().collect();
        order.sort_by_cached_key(|id| issue_order(&self.state.tasks[id]));
        for id in order {
            let Some(task) = self.state.tasks.get_mut(&id) else { continue };
            if task.finished().is_some() {
                continue;
            }
            if task.is_hidden() {
                let (finished, failure) = start(graph, head, run, task.id);
                task.stand = Stand::Finished(Arc::new(finished));
                run.failure = run.failure.take().or(failure);
                continue;
            }
            run.unfinished += 1;
            issuer.issue(task, &run.envelope, &mut self.draft);
        }
    }

    /// Issues one task of the step again.
    pub(super) fn issue_again(&mut self, id: TaskId) {
        let Some(graph) = self.graph() else { return };
        let (Some(head), Some(run)) = (&self.state.head, self.state.live.as_deref()) else { return };
        let Some(task) = self.state.tasks.get_mut(&id) else { return };
        Issuer::new(&graph, head, run).issue(task, &run.envelope, &mut self.draft);
    }
}

/// What the tasks of one step have in common.
struct Issuer<'a> {
    graph: &'a Graph,
    head: &'a Checkpoint,
    stop: i64,
    context: Arc<Value>,
    configurable: BTreeMap<String, Value>,
    model_config: Arc<Value>,
}

impl<'a> Issuer<'a> {
    fn new(graph: &'a Graph, head: &'a Checkpoint, run: &Run) -> Self {
        Issuer {
            graph,
            head,
            stop: run.stop,
            context: run.context.clone(),
            configurable: run.config.configurable.clone(),
            model_config: run.config.model.clone(),
        }
    }

    fn issue(&self, task: &mut StepTask, envelope: &Arc<Envelope>, draft: &mut super::Draft) {
        task.issue += 1;
        task.stand = Stand::Open;
        draft.issued.push(task.issued());
        let task = Task {
            id: task.id,
            issue: task.issue,
            attempt: task.attempt,
            repeat: false,
            node: task.node.to_string(),
            step: self.head.step + 1,
            stop: self.stop,
            checkpoint_id: self.head.id,
            checkpoint_ns: task.ns(),
            path: task.path.clone(),
            triggers: task.triggers.iter().map(|trigger| trigger.to_string()).collect(),
            answers: Vec::new(),
            channels: self.channels_for(&task.node),
            context: self.context.clone(),
            configurable: self.configurable.clone(),
            model_config: self.model_config.clone(),
        };
        draft.commands.push(Command::Issue { envelope: envelope.clone(), task });
    }

    /// The channels that a node and its conditions read.
    fn channels_for(&self, node: &str) -> BTreeMap<String, Arc<Value>> {
        let Some(node) = self.graph.nodes.get(node) else { return BTreeMap::new() };
        self.head.read(self.graph, |name, _| node.reads.contains(name))
    }
}

/// Sends by index, then nodes by name: the order in which LangGraph starts tasks.
fn issue_order(task: &StepTask) -> (bool, u32, Arc<str>) {
    let (index, _) = task.apply_order();
    (index == 0, index, task.node.clone())
}

/// START's task: it writes the input, and its conditions are decided here.
fn start(graph: &Graph, head: &Checkpoint, run: &Run, task: TaskId) -> (Finished, Option<RunError>) {
    let input = head.channels.get(START_NODE).and_then(|channel| channel.value());
    let mut finished = input.map(|input| input_writes(graph, input, task)).unwrap_or_default();
    match branch::decide(graph, START_NODE, &head.values(graph), &finished.writes, &run.context) {
        Ok(branches) => {
            finished.branches = branches;
            (finished, None)
        }
        Err(error) => {
            let failure = node_failure(crate::spec::START, &error);
            finished.branch_error = Some(error);
            (finished, Some(failure))
        }
    }
}

/// The codes of a failed task that a run ends with; every other is `node_failed`.
const RUN_CODES: [&str; 4] = ["invalid_update", "value_missing", "cel_too_costly", "not_implemented"];

/// How a run ends whose task failed.
pub(super) fn node_failure(node: &str, error: &TaskError) -> RunError {
    let code = if RUN_CODES.contains(&error.class.as_str()) { &error.class } else { "node_failed" };
    let kind = error.kind.clone().or_else(|| (error.class != code).then(|| error.class.clone()));
    RunError {
        code: code.to_owned(),
        message: error.message.clone(),
        node: Some(node.to_owned()),
        kind,
        retryable: error.retryable,
    }
}

pub(super) fn invalid_update(error: UpdateError) -> RunError {
    let UpdateError { kind, message } = error;
    RunError { code: "invalid_update".to_owned(), message, node: None, kind: Some(kind.to_owned()), retryable: false }
}

fn recursion_limit(limit: u32) -> RunError {
    let message = format!(
        "Recursion limit of {limit} reached without hitting a stop condition. You can increase the limit by setting the \
         `recursion_limit` config key."
    );
    RunError {
        code: "recursion_limit".to_owned(),
        message,
        node: None,
        kind: Some("GraphRecursionError".to_owned()),
        retryable: false,
    }
}
