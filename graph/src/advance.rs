//! The fold: one event changes the state of its key and says what to put out. Pure and total: no event makes it fail.

mod begin;
mod copy;
mod edit;
mod end;
mod expire;
mod finish;
mod first;
mod handle;
mod interrupt;
mod issue;
mod keep;
mod lost;
mod prune;
mod recall;
mod reduction;
mod retry;
mod roll_back;
mod step;
mod subgraph;
mod timers;

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;

use crate::{
    by_name::ChannelValues,
    envelope::{Envelope, GraphRef, Millis},
    event::{Copied, Event, Request, TimerKind},
    graph::{Graph, Graphs},
    graph_loop::{Found, GraphLoop, Recalled, Wanted},
    ids::LastCheckpoint,
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
    /// The event can't be applied before this is at hand: the state is as it was. Call again when it is.
    Need {
        state: KeyState,
        need: Need,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// The spec of a graph, by its hash.
    Spec(String),
    /// A checkpoint of the thread's past, as [`Command::Archive`] put it out.
    Checkpoint(Wanted),
}

/// What an event causes outside of its key's state, in order.
#[allow(clippy::large_enum_variant, reason = "most commands are tasks, and none is kept")]
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    Issue {
        envelope: Arc<Envelope>,
        task: Box<Task>,
    },
    Update {
        envelope: Arc<Envelope>,
        update: Update,
    },
    /// Nobody waits for these tasks of `node` any more.
    Cancel {
        envelope: Arc<Envelope>,
        /// The subgraph that declares the node; None where the run's own graph does.
        graph: Option<GraphRef>,
        node: String,
        tasks: Vec<TaskId>,
    },
    /// A checkpoint of the thread is no longer its namespace's newest: keep it under its namespace and id, for runs and
    /// edits that begin there. A later one of the same id replaces it.
    Archive {
        envelope: Arc<Envelope>,
        checkpoint: Box<GraphLoop>,
    },
    /// Another thread begins as this one stands: its first record, which has to be in the log before what follows here, and
    /// what the archive has of this thread in `namespaces` has to be there under the other's name before that.
    Copy {
        /// The other thread's.
        envelope: Arc<Envelope>,
        copied: Box<Copied>,
        namespaces: Vec<String>,
        /// Of this thread's past, what was put away up to this place of the log is forgotten.
        forgets_up_to: Option<u64>,
        /// What was put away and isn't stored yet: known to whoever carries this out.
        unstored: Vec<Arc<GraphLoop>>,
    },
}

/// Folds `event`, written at `at`, into the state of its key. `recalled` is what was asked for with
/// [`Need::Checkpoint`], if anything.
pub fn advance(
    graphs: &dyn Graphs,
    recalled: &Recalled,
    state: KeyState,
    envelope: &Arc<Envelope>,
    at: Millis,
    event: &Event,
) -> Step {
    if let Some(spec) = missing(graphs, &state, recalled, envelope, event) {
        return Step::Need { state, need: Need::Spec(spec) };
    }
    let was_idle = state.is_idle();
    if let Some(reason) = state.lost.clone() {
        let mut fold = Fold::new(graphs, recalled, state, at);
        fold.end_lost(envelope, event, &reason);
        fold.rest_until(was_idle, event);
        return Step::Done { state: fold.state, commands: fold.commands };
    }
    let undoing = || roll_back::wanted(&state, envelope, event, recalled);
    if let Some(wanted) = recall::wanted(&state, event, recalled).or_else(undoing) {
        return Step::Need { state, need: Need::Checkpoint(wanted) };
    }
    // Whether a run that waits lacks something is known only when its turn comes.
    let goes_back = |request: &Request| request.checkpoint_id.is_some();
    let makes_way = matches!(event, Event::Requested(request) if goes_back(request) && state.live.is_some());
    let falls_due = matches!(event, Event::TimerDue { timer } if timer.kind == TimerKind::Begin);
    let mut ready = state.waiting.iter().filter(|waiting| falls_due || waiting.is_ready());
    let waits = ready.any(|waiting| goes_back(&waiting.request));
    let before = (makes_way || waits).then(|| state.clone());
    let mut fold = Fold::new(graphs, recalled, state, at);
    if !fold.is_editing()
        && let (Some(graph), Some(root)) = (fold.graph(), &mut fold.state.root)
    {
        root.bind(&graph);
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
        Event::StateEdited(edit) => fold.edit(envelope, edit),
        Event::ThreadDeleted => fold.delete_thread(envelope),
        Event::ThreadPruned => fold.prune_thread(envelope),
        Event::ThreadCopied { to } => fold.copy_thread(envelope, to),
        Event::CopyBegun(copied) => fold.begin_copy(envelope, copied),
        Event::ThreadTimed(ttl) => fold.time_thread(envelope, *ttl),
        Event::Cancelled { rollback, .. } => fold.cancel(envelope.run_id, *rollback),
        Event::TimerDue { timer } => fold.fire(timer),
        Event::RunFailed { message } => fold.fail_run(envelope.run_id, message),
    }
    fold.flush(RunStatus::Running);
    if let (Some(wanted), Some(state)) = (fold.begin_waiting(), before) {
        return Step::Need { state, need: Need::Checkpoint(wanted) };
    }
    fold.rest_until(was_idle, event);
    Step::Done { state: fold.state, commands: fold.commands }
}

/// The spec that the event needs and that isn't at hand.
fn missing(
    graphs: &dyn Graphs,
    state: &KeyState,
    recalled: &Recalled,
    envelope: &Envelope,
    event: &Event,
) -> Option<String> {
    let requested = matches!(event, Event::Requested(_) | Event::StateEdited(_));
    let runs = state.live_run().into_iter().chain(state.waiting()).map(|envelope| &envelope.graph);
    // A run without input goes on with the version of the head.
    let head = state.head().filter(|_| requested || !state.waiting.is_empty()).map(|head| &*head.graph);
    let kept = state.newest.as_deref().into_iter().chain(state.memories.values()).map(|kept| &*kept.head.graph);
    // A run that goes back goes on with the version of then.
    let then = recalled.values().filter_map(Found::there).map(|found| &*found.head.graph);
    let needed = runs.chain(requested.then_some(&envelope.graph)).chain(head).chain(kept).chain(then);
    // Nearly always it is one and the same.
    let mut last = "";
    let mut others = needed.filter(|graph| *std::mem::replace(&mut last, &graph.hash) != *graph.hash);
    others.find_map(|graph| missing_in(graphs, graph))
}

/// The graph or one of its subgraphs, where it isn't at hand.
fn missing_in(graphs: &dyn Graphs, graph: &GraphRef) -> Option<String> {
    match graphs.graph(&graph.hash) {
        None => Some(graph.hash.clone()),
        Some(graph) => graph.subgraphs().find_map(|inner| missing_in(graphs, inner)),
    }
}

/// One event being folded.
struct Fold<'a> {
    graphs: &'a dyn Graphs,
    recalled: &'a Recalled,
    at: Millis,
    state: KeyState,
    commands: Vec<Command>,
    /// What the event did so far to the live run.
    draft: Draft,
    /// What the live run answers, where that is more than what is stored.
    output: Option<ChannelValues>,
}

/// The update of the live run that the event causes, and the commands that go out after it.
#[derive(Default)]
struct Draft {
    issued: Vec<IssuedTask>,
    happened: Vec<Happened>,
    commands: Vec<Command>,
}

/// The live run at work on its loops: its own graph's, and those of subgraphs inside.
struct Turn<'a> {
    graphs: &'a dyn Graphs,
    at: Millis,
    thread_age_ms: u64,
    last_checkpoint: &'a mut LastCheckpoint,
    memories: &'a mut BTreeMap<String, GraphLoop>,
    newest: &'a mut Option<Box<GraphLoop>>,
    run: &'a mut Run,
    draft: &'a mut Draft,
    /// The tasks of outer graphs that the loop at work is in, outermost first.
    path: Vec<TaskId>,
    /// The task that was offered the answer without an id has it no longer.
    answer_is_back: bool,
}

impl Turn<'_> {
    fn graph_of(&self, at: &GraphLoop) -> Option<Arc<Graph>> {
        self.graphs.graph(&at.head.graph.hash)
    }

    fn happened(&mut self, happened: Happened) {
        self.draft.happened.push(happened);
    }
}

impl<'a> Fold<'a> {
    fn new(graphs: &'a dyn Graphs, recalled: &'a Recalled, mut state: KeyState, at: Millis) -> Self {
        if state.first_at == 0 && state.root.is_none() {
            state.first_at = at;
        }
        state.last_at = state.last_at.max(at);
        Fold { graphs, recalled, at: state.last_at, state, commands: Vec::new(), draft: Draft::default(), output: None }
    }

    /// Lets the live run work on its loop; the run ends with what that gives.
    fn turn(&mut self, work: impl FnOnce(&mut Turn<'_>, &mut GraphLoop) -> Option<step::End>) {
        let Some(mut root) = self.state.root.take() else { return };
        let end = self.live_turn().and_then(|mut turn| work(&mut turn, &mut root));
        self.state.root = Some(root);
        if let Some(end) = end {
            self.end_with(end);
        }
    }

    /// A turn of the live run, at the thread's own graph.
    fn live_turn(&mut self) -> Option<Turn<'_>> {
        Some(Turn {
            graphs: self.graphs,
            at: self.at,
            thread_age_ms: self.state.thread_age_ms(),
            last_checkpoint: &mut self.state.last_checkpoint,
            memories: &mut self.state.memories,
            newest: &mut self.state.newest,
            run: self.state.live.as_deref_mut()?,
            draft: &mut self.draft,
            path: Vec::new(),
            answer_is_back: false,
        })
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
