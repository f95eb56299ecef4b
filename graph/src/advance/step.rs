//! The loop of supersteps: issue a step's tasks, and when all are done apply what they wrote.

use std::sync::Arc;

use super::{Command, Turn};
use crate::{
    apply::{Applied, Purpose, Writer, apply_reduced, reductions},
    channel::UpdateError,
    checkpoint::{Checkpoint, Source},
    graph::Graph,
    graph_loop::{Failure, GraphLoop},
    prepare::in_snapshot_order,
    spec::Memory,
    step_task::{Stand, StepTask, StepTasks},
    task::{Interrupt, ParentCommand, Reduction, TaskError},
    update::{Checkpointed, Happened, Paused, RunError, TaskDone},
    writes::NodeUpdate,
};

/// How a loop ends.
pub(super) enum End {
    Done,
    /// Tasks asked; without a question a breakpoint stopped it.
    Paused(Vec<Interrupt>),
    Failed {
        node: Option<String>,
        error: TaskError,
    },
    /// A task left it with a command to the outer graph.
    Left(ParentCommand),
}

impl End {
    pub fn error(error: TaskError) -> Self {
        End::Failed { node: None, error }
    }

    /// A request that can't be carried out.
    pub fn run_error(error: RunError) -> Self {
        let RunError { code, message, node, kind, retryable, budget } = error;
        End::Failed { node, error: TaskError { class: code, message, kind, retryable, retry_after_ms: None, budget } }
    }
}

impl Turn<'_> {
    /// Starts the step after the head, or ends the loop: nothing to do, or no step left.
    pub(super) fn tick(&mut self, graph: &Graph, at: &mut GraphLoop) -> Option<End> {
        let stop = at.progress.as_ref().map_or(0, |progress| progress.stop);
        if at.head.step + 1 > stop {
            return Some(End::error(recursion_limit(self.run.limit)));
        }
        if at.tasks.is_empty() {
            return Some(End::Done);
        }
        if self.stops_before(graph, at) {
            return Some(End::Paused(Vec::new()));
        }
        self.announce(graph, at);
        self.issue_all(graph, at);
        None
    }

    /// Goes on for as long as no task is awaited.
    pub(super) fn proceed(&mut self, at: &mut GraphLoop) -> Option<End> {
        let graph = self.graph_of(at)?;
        self.settle_questions(at);
        while at.unfinished() == 0 {
            if self.answer_another(&graph, at) {
                continue;
            }
            if self.awaits_answer(at) {
                return None;
            }
            self.ask(at);
            // What finished beside a failure or a question is shown, joined as it would be.
            if at.is_root() && at.is_stopping() && self.ask_reducers(&graph, at).unwrap_or(false) {
                return None;
            }
            if let Some(failure) = at.progress.as_deref_mut().and_then(|progress| progress.failure.take()) {
                return Some(match failure {
                    Failure::Error { node, error } => End::Failed { node, error },
                    Failure::Left(command) => End::Left(command),
                });
            }
            if at.tasks.values().any(StepTask::is_paused) {
                return Some(End::Paused(questions(at)));
            }
            match self.ask_reducers(&graph, at) {
                Ok(true) => return None,
                Ok(false) => {}
                Err(error) => return Some(End::error(invalid_update(error))),
            }
            let ran = match self.apply_step(&graph, at) {
                Ok(ran) => ran,
                Err(error) => return Some(End::error(invalid_update(error))),
            };
            if self.stops_after(&graph, at, &ran) {
                return Some(End::Paused(Vec::new()));
            }
            if let Some(end) = self.tick(&graph, at) {
                return Some(end);
            }
        }
        None
    }

    /// Makes the next checkpoint; gives the names of the tasks that led to it.
    fn apply_step(&mut self, graph: &Graph, at: &mut GraphLoop) -> Result<Vec<Arc<str>>, UpdateError> {
        let before = self.before(at);
        let writers = Writer::of_tasks(graph, at.tasks.values());
        let reduced = std::mem::take(&mut at.reduced);
        let applied = apply_reduced(graph, &mut at.head, &writers, Purpose::Step, &reduced)?;
        let mut tasks = std::mem::take(&mut at.tasks);
        let names = tasks.values().filter(|task| task.handles.is_none()).map(|task| task.node.clone()).collect();
        if at.is_root() {
            // LangGraph drops an answer that nobody took with the step.
            self.run.resume = None;
            self.run.within.clear();
        } else {
            tasks.keys().for_each(|id| {
                self.run.within.remove(id);
            });
        }
        tasks.append(&mut at.aside);
        self.archive(at, before, tasks);
        self.checkpoint(graph, at, Source::Loop, applied);
        if let Some(progress) = at.progress.as_deref_mut() {
            (progress.resuming, progress.asks_anew) = (false, false);
        }
        Ok(names)
    }

    /// The loop as it is stored, for the archive: its head is about to change. None where nothing is archived.
    pub(super) fn before(&mut self, at: &GraphLoop) -> Option<GraphLoop> {
        // Nobody goes back to what a single call of a subgraph was before: it lies in the checkpoint of its task.
        let comes_back = at.is_root() || at.memory() == Memory::Thread;
        let passing = at.progress.as_ref().is_some_and(|progress| progress.passing);
        let kept = self.run.envelope.thread_id.is_some() && comes_back && !at.head.id.is_nil() && !passing;
        let passed = at.progress.as_ref().map_or(at.head.passed, |progress| progress.passed);
        let mut head = kept.then(|| at.stored.as_deref().unwrap_or(&at.head).clone())?;
        head.passed = passed;
        Some(GraphLoop {
            ns: at.ns.clone(),
            head,
            twin: at.twin,
            stored: None,
            command: at.command.clone(),
            resume: at.resume.clone(),
            tasks: StepTasks::new(),
            aside: StepTasks::new(),
            reduced: Default::default(),
            progress: None,
        })
    }

    /// A checkpoint has a successor: it leaves the state, with what was stored of its tasks.
    pub(super) fn archive(&mut self, at: &mut GraphLoop, before: Option<GraphLoop>, tasks: StepTasks) {
        let Some(mut before) = before else { return };
        match at.progress.as_deref_mut().and_then(|progress| progress.stood.take()) {
            Some(stood) => before = self.as_it_stood(*stood, tasks),
            None => before.tasks = tasks,
        }
        before.tasks.retain(|_, task| task.is_touched());
        before.rest(&|hash| self.graphs.graph(hash));
        self.run.without_twins(&mut before);
        if before.is_root()
            && let Some(newest) = self.newest.take()
        {
            self.put_away(*newest);
        }
        self.put_away(before);
    }

    pub(super) fn put_away(&mut self, checkpoint: GraphLoop) {
        let envelope = self.run.envelope.clone();
        self.draft.commands.push(Command::Archive { envelope, checkpoint: Box::new(checkpoint) });
    }

    /// The head becomes a checkpoint of its own, with the tasks that it asks for.
    pub(super) fn checkpoint(&mut self, graph: &Graph, at: &mut GraphLoop, source: Source, applied: Applied) {
        let passing = at
            .progress
            .as_deref_mut()
            .is_some_and(|progress| std::mem::replace(&mut progress.passing, self.run.keeps_last));
        // What nobody will read is nobody's parent.
        let parent = if passing { at.head.parent } else { Some(at.head.id).filter(|id| !id.is_nil()) };
        at.head.id = self.last_checkpoint.next(self.at, self.run.envelope.run_id);
        (at.head.step, at.head.source, at.head.parent) = (at.head.step + 1, source, parent);
        (at.stored, at.command, at.resume, at.twin) = (None, None, None, 0);
        if let Some(progress) = at.progress.as_deref_mut() {
            progress.passed = at.head.passed;
        }
        at.prepare(graph);
        let wrote = if at.is_root() { applied.wrote } else { applied.wrote_output };
        if wrote {
            self.show(graph, at);
        }
        let done = checkpointed(graph, at, wrote, self.run.metadata.clone());
        self.happened(Happened::StepDone(Box::new(done)));
    }

    /// A subgraph's node writes what was shown of it last.
    pub(super) fn show(&mut self, graph: &Graph, at: &mut GraphLoop) {
        if at.is_root() {
            return;
        }
        let shown = at.head.output(graph);
        if let Some(progress) = at.progress.as_deref_mut() {
            progress.shown = Some(shown);
        }
    }

    /// Says of every task that an earlier run finished that it isn't run again.
    fn announce(&mut self, graph: &Graph, at: &GraphLoop) {
        let mut tasks: Vec<&StepTask> =
            at.tasks.values().filter(|task| task.is_finished() && !task.is_hidden()).collect();
        tasks.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order()));
        for task in tasks {
            let Some(finished) = task.finished() else { continue };
            let done = TaskDone {
                task_id: task.id,
                issue: task.issue,
                execution: finished.execution,
                attempt: finished.attempt,
                node: task.name(),
                ns: task.ns(&at.ns),
                update: NodeUpdate::of(graph, at.is_root(), &finished.writes),
                error: None,
                interrupts: Vec::new(),
                last_token: None,
                calls: Vec::new(),
                restored: true,
                to_parent: false,
                answered: false,
            };
            self.happened(Happened::TaskDone(Box::new(done)));
        }
    }

    /// The run's own loop stopped: what it would hold with what finished tasks wrote. Writes that conflict fail the run.
    pub(super) fn pause(&mut self, root: &GraphLoop, breakpoint: bool) -> Option<End> {
        let graph = self.graph_of(root)?;
        let mut values = None;
        if root.tasks.values().any(StepTask::is_finished) {
            let mut view = root.head.clone();
            let writers = Writer::of_tasks(&graph, root.tasks.values());
            // What no program was asked to join is shown as it was.
            let mut reduced = root.reduced.clone();
            for Reduction { channel, value, .. } in reductions(&graph, &view, &writers).unwrap_or_default() {
                if !reduced.contains_key(&channel) {
                    reduced.insert(channel, value);
                }
            }
            let applied = match apply_reduced(&graph, &mut view, &writers, Purpose::Step, &reduced) {
                Ok(applied) => applied,
                Err(error) => return Some(End::error(invalid_update(error))),
            };
            values = applied.wrote.then(|| {
                let mut values = view.tracked(&graph);
                values.extend(view.untracked(&graph));
                values
            });
        }
        self.happened(Happened::Paused(Box::new(Paused { breakpoint, values })));
        None
    }
}

/// A checkpoint as clients see it.
pub(super) fn checkpointed(
    graph: &Graph,
    at: &GraphLoop,
    wrote: bool,
    metadata: std::collections::BTreeMap<String, serde_json::Value>,
) -> Checkpointed {
    let Checkpoint { id, step, source, parent, .. } = at.head;
    Checkpointed {
        checkpoint_id: id,
        parent_id: parent,
        ns: at.ns.clone(),
        step,
        source: source.as_str().to_owned(),
        values: at.head.tracked(graph),
        untracked: at.head.untracked(graph),
        next: in_snapshot_order(graph, at.tasks.values()).into_iter().map(|task| at.issued(graph, task)).collect(),
        metadata,
        wrote,
        parents: at.parents(),
        unsaved: at.memory() == Memory::None,
        passing: at.progress.as_ref().is_some_and(|progress| progress.passing),
    }
}

/// What the step's tasks asked, pulled ones first.
fn questions(at: &GraphLoop) -> Vec<Interrupt> {
    let asked = |task: &&StepTask| matches!(task.stand, Stand::Paused { asked: true, .. });
    let mut asked: Vec<&StepTask> = at.tasks.values().filter(asked).collect();
    asked.sort_unstable_by(|a, b| a.apply_order().cmp(&b.apply_order()));
    asked.into_iter().flat_map(|task| task.interrupts.iter().cloned()).collect()
}

/// The codes of a failed task that a run ends with; every other is `node_failed`.
const RUN_CODES: [&str; 8] = [
    "invalid_update",
    "value_missing",
    "cel_too_costly",
    "not_implemented",
    "recursion_limit",
    "invalid_value",
    "budget_exceeded",
    "budget_store_unavailable",
];

/// How a run ends whose task failed.
pub(super) fn node_failure(node: Option<String>, error: &TaskError) -> RunError {
    let code = if RUN_CODES.contains(&error.class.as_str()) { &error.class } else { "node_failed" };
    let kind = error.kind.clone().or_else(|| (error.class != code).then(|| error.class.clone()));
    let TaskError { message, retryable, budget, .. } = error.clone();
    RunError { code: code.to_owned(), message, node, kind, retryable, budget }
}

pub(super) fn invalid_update(error: UpdateError) -> TaskError {
    let UpdateError { kind, message } = error;
    failure("invalid_update", message, kind)
}

fn recursion_limit(limit: u32) -> TaskError {
    let message = format!(
        "Recursion limit of {limit} reached without hitting a stop condition. You can increase the limit by setting the \
         `recursion_limit` config key."
    );
    failure("recursion_limit", message, "GraphRecursionError")
}

pub(super) fn failure(class: &str, message: String, kind: &str) -> TaskError {
    TaskError { class: class.to_owned(), message, kind: Some(kind.to_owned()), ..TaskError::default() }
}
