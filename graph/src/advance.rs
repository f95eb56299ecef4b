//! The fold: one event changes the state of its key and says what to put out. Pure and total: no event makes it fail.

mod begin;
mod end;
mod finish;
mod step;
mod timers;

use std::sync::Arc;

use uuid::Uuid;

use crate::{
    envelope::{Envelope, Millis},
    event::Event,
    graph::{Graph, Graphs},
    state::{KeyState, Run},
    task::{Call, Task, TaskId},
    update::{Happened, IssuedTask, RunStatus, Update},
};

/// What became of an event.
#[derive(Debug)]
#[must_use]
pub enum Step {
    Done {
        state: KeyState,
        commands: Vec<Command>,
    },
    /// The event can't be applied before `spec`, the hash of a graph's spec, is at hand: the state is as it was.
    /// Call again when it is.
    Need {
        state: KeyState,
        spec: String,
    },
}

/// What an event causes outside of its key's state, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Issue {
        envelope: Arc<Envelope>,
        task: Task,
    },
    Update {
        envelope: Arc<Envelope>,
        update: Update,
    },
    /// Nobody waits for these tasks of `node` any more.
    Cancel {
        envelope: Arc<Envelope>,
        node: String,
        tasks: Vec<TaskId>,
    },
}

/// Folds `event`, written at `at`, into the state of its key.
pub fn advance(graphs: &dyn Graphs, state: KeyState, envelope: &Arc<Envelope>, at: Millis, event: &Event) -> Step {
    if let Some(spec) = missing(graphs, &state, envelope, event) {
        return Step::Need { state, spec };
    }
    let mut fold = Fold::new(graphs, state, at);
    if let (Some(graph), Some(head)) = (fold.graph(), &mut fold.state.head) {
        head.bind(&graph);
    }
    match event {
        Event::Requested(request) => fold.request(envelope, request),
        Event::TaskFinished(result) => fold.finish_task(envelope, result),
        Event::TaskKept { task_id, issue, until } => fold.keep_task(envelope.run_id, *task_id, *issue, *until),
        Event::TaskGivenBack { task_id, issue, attempt, not_before, calls } => {
            let given_back =
                timers::GivenBack { id: *task_id, issue: *issue, attempt: *attempt, not_before: *not_before };
            fold.take_back(envelope, given_back, calls);
        }
        Event::Cancelled { .. } => fold.cancel(envelope.run_id),
        Event::TimerDue { timer } => fold.fire(timer),
        Event::RunFailed { message } => fold.fail_run(envelope.run_id, message),
    }
    fold.flush(RunStatus::Running);
    fold.begin_waiting();
    Step::Done { state: fold.state, commands: fold.commands }
}

/// The spec that the event needs and that isn't at hand.
fn missing(graphs: &dyn Graphs, state: &KeyState, envelope: &Envelope, event: &Event) -> Option<String> {
    let requested = matches!(event, Event::Requested(_));
    let runs = state.live_run().into_iter().chain(state.waiting()).map(|envelope| &envelope.graph);
    // A run without input goes on with the version of the head.
    let head = state.head().filter(|_| requested || !state.waiting.is_empty()).map(|head| &head.graph);
    let mut needed = runs.chain(requested.then_some(&envelope.graph)).chain(head);
    needed.find(|graph| graphs.graph(&graph.hash).is_none()).map(|graph| graph.hash.clone())
}

/// One event being folded.
struct Fold<'a> {
    graphs: &'a dyn Graphs,
    at: Millis,
    state: KeyState,
    commands: Vec<Command>,
    /// What the event did so far to the live run.
    draft: Draft,
}

/// The update of the live run that the event causes, and the commands that go out after it.
#[derive(Default)]
struct Draft {
    issued: Vec<IssuedTask>,
    happened: Vec<Happened>,
    commands: Vec<Command>,
}

impl<'a> Fold<'a> {
    fn new(graphs: &'a dyn Graphs, mut state: KeyState, at: Millis) -> Self {
        state.last_at = state.last_at.max(at);
        Fold { graphs, at: state.last_at, state, commands: Vec::new(), draft: Draft::default() }
    }

    fn is_live(&self, run_id: Uuid) -> bool {
        self.state.live_run().is_some_and(|envelope| envelope.run_id == run_id)
    }

    fn live(&mut self) -> Option<&mut Run> {
        self.state.live.as_deref_mut()
    }

    /// The graph of the live run.
    fn graph(&self) -> Option<Arc<Graph>> {
        self.graphs.graph(&self.state.live_run()?.graph.hash)
    }

    fn happened(&mut self, happened: Happened) {
        self.draft.happened.push(happened);
    }

    /// All that the event did to the live run so far becomes one numbered update.
    fn flush(&mut self, status: RunStatus) {
        let Draft { issued, happened, commands } = std::mem::take(&mut self.draft);
        if let Some(run) = self.state.live.as_deref_mut()
            && !(issued.is_empty() && happened.is_empty())
        {
            run.number += 1;
            let update = Update { number: Some(run.number), status, at: self.at, issued, happened };
            self.commands.push(Command::Update { envelope: run.envelope.clone(), update });
        }
        self.commands.extend(commands);
    }

    /// An update of a run that isn't the live one.
    fn tell(&mut self, envelope: &Arc<Envelope>, number: Option<u64>, status: RunStatus, happened: Happened) {
        let update = Update { number, status, at: self.at, issued: Vec::new(), happened: vec![happened] };
        self.commands.push(Command::Update { envelope: envelope.clone(), update });
    }

    /// Calls of a result that doesn't count were made all the same.
    fn spend(&mut self, envelope: &Arc<Envelope>, task_id: TaskId, node: &str, calls: &[Call]) {
        if calls.is_empty() {
            return;
        }
        let spent = Happened::Spent { task_id, node: node.to_owned(), calls: calls.to_vec() };
        if self.is_live(envelope.run_id) {
            self.happened(spent);
        } else {
            self.tell(envelope, None, RunStatus::Running, spent);
        }
    }
}
