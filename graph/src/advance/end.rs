//! The end of a run: what it answers, what its thread keeps, and who comes next.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Command, Fold,
    step::{End, failure, node_failure},
};
use crate::{
    envelope::{Envelope, GraphRef},
    graph::Graph,
    graph_loop::GraphLoop,
    snapshot,
    spec::Memory,
    state::Run,
    step_task::StepTask,
    task::{TaskId, Usage},
    update::{Ended, Happened, RunError, RunStatus},
};

/// How a run ends.
pub(super) struct Ending {
    pub status: RunStatus,
    error: Option<RunError>,
    /// As if the run had never been.
    undone: bool,
}

impl Ending {
    fn with(status: RunStatus, error: Option<RunError>) -> Self {
        Ending { status, error, undone: false }
    }

    /// Of a run that waits: the live one takes its thread back.
    pub fn undone() -> Self {
        Ending { undone: true, ..Ending::cancelled() }
    }

    pub fn success() -> Self {
        Ending::with(RunStatus::Success, None)
    }

    pub fn error(error: RunError) -> Self {
        Ending::with(RunStatus::Error, Some(error))
    }

    pub fn interrupted() -> Self {
        Ending::with(RunStatus::Interrupted, None)
    }

    pub fn cancelled() -> Self {
        Ending::with(RunStatus::Cancelled, None)
    }

    pub fn timeout() -> Self {
        let message = "the run did not end before its deadline";
        Ending::with(RunStatus::Timeout, Some(plain("run_timeout", message)))
    }

    pub fn internal(message: &str) -> Self {
        Ending::error(plain("internal", message))
    }

    /// The end of a run that never touched its thread.
    pub fn without_state(self) -> Ended {
        let Ending { status, error, undone } = self;
        Ended {
            status,
            output: None,
            error,
            interrupts: Vec::new(),
            next: Vec::new(),
            values: None,
            inner: BTreeMap::new(),
            usage: Usage::default(),
            rolled_back: undone,
        }
    }
}

fn plain(code: &str, message: &str) -> RunError {
    RunError { code: code.to_owned(), message: message.to_owned(), ..RunError::default() }
}

impl Fold<'_> {
    /// The live run's own loop ended.
    pub(super) fn end_with(&mut self, end: End) {
        match end {
            End::Done => self.end(Ending::success()),
            End::Paused(interrupts) => {
                let breakpoint = interrupts.is_empty();
                self.turn(|turn, root| turn.pause(root, breakpoint));
                self.end(Ending::interrupted());
            }
            End::Failed { node, error } => self.end(Ending::error(node_failure(node, &error))),
            End::Left(_) => {
                let message = "a node gave a command to the outer graph, and there is none";
                self.end(Ending::error(node_failure(
                    None,
                    &failure("node_failed", message.to_owned(), "ParentCommand"),
                )));
            }
        }
    }

    /// Ends the live run; the next one begins once all of this event is folded.
    pub(super) fn end(&mut self, ending: Ending) {
        if self.is_editing() {
            let cut_off = || plain("run_cancelled", "the edit was cut off before it was made");
            return self.give_up_edit(ending.error.unwrap_or_else(cut_off));
        }
        let Some(graph) = self.graph() else { return };
        if self.state.live.is_none() {
            return;
        }
        self.cancel_open();
        self.turn(|turn, root| turn.keep_last(root));
        self.rest();
        let usage = self.state.live.as_deref().map(|run| run.usage).unwrap_or_default();
        let ended = self.ended(&graph, ending, usage);
        let status = ended.status;
        self.draft.happened.push(Happened::Ended(Box::new(ended)));
        self.flush(status);
        let Some(run) = self.state.live.take() else { return };
        if run.claimed {
            self.state.remember(run.envelope.run_id);
        }
        if run.envelope.thread_id.is_none() {
            self.state.root = None;
            self.state.memories.clear();
        }
        self.state.root = self.state.root.take().filter(|root| root.has_begun());
    }

    fn ended(&mut self, graph: &Graph, ending: Ending, usage: Usage) -> Ended {
        let Ending { status, error, undone: _ } = ending;
        // What a lost state shows is not what the run had.
        let known = self.state.lost.is_none();
        let Some(root) = self.state.root.as_deref().filter(|root| known && root.has_begun()) else {
            return Ended { usage, ..Ending::with(status, error).without_state() };
        };
        // Writes that conflict are kept and seen by no one.
        let pending = snapshot::with_pending(graph, root).ok().flatten();
        let output = self.output.take().unwrap_or_else(|| pending.as_ref().unwrap_or(&root.head).output(graph));
        let values = pending.map(|pending| pending.tracked(graph)).filter(|values| *values != root.head.tracked(graph));
        let mut inner = BTreeMap::new();
        snapshot::pending_inside(&|hash| self.graphs.graph(hash), &self.state.memories, root, &mut inner);
        Ended {
            status,
            output: Some(output),
            error,
            interrupts: snapshot::interrupts(graph, root),
            next: snapshot::next(graph, root),
            values,
            inner,
            usage,
            rolled_back: false,
        }
    }

    /// Tells the workers of tasks whose result nobody waits for.
    pub(super) fn cancel_open(&mut self) {
        let Some(run) = self.state.live.as_deref() else { return };
        let open: Vec<_> = match (run.editing.as_deref(), self.state.root.as_deref()) {
            (Some(editing), _) => editing.open_tasks().collect(),
            (None, root) => root.into_iter().flat_map(GraphLoop::open_tasks).collect(),
        };
        self.draft.commands.extend(cancels(&run.envelope, open));
    }

    /// A thread keeps where it stands and what tasks of an unfinished step have finished.
    pub(super) fn rest(&mut self) {
        let graphs = self.graphs;
        let graph_of = |hash: &str| graphs.graph(hash);
        let (Some(run), Some(root)) = (self.state.live.as_deref(), self.state.root.as_deref_mut()) else { return };
        // What the run answers shows what is never stored, too.
        self.output = graphs.graph(&root.head.graph.hash).filter(|graph| graph.has_untracked()).map(|graph| {
            let pending = snapshot::with_pending(&graph, root).ok().flatten();
            pending.as_ref().unwrap_or(&root.head).output(&graph)
        });
        remember_all(&mut self.state.memories, run, root, &graph_of);
        root.rest(&graph_of);
        if let Some(mut newest) = self.state.newest.take() {
            if let Some(graph) = graphs.graph(&newest.head.graph.hash) {
                newest.bind(&graph);
            }
            // The run made no checkpoint: what it stored at an earlier one goes back there.
            let earlier = self.state.root.replace(newest);
            if let (Some(mut earlier), true) = (earlier, run.envelope.thread_id.is_some()) {
                earlier.tasks.retain(|_, task| task.is_touched());
                let archive = Command::Archive { envelope: run.envelope.clone(), checkpoint: earlier };
                self.draft.commands.push(archive);
            }
        }
    }
}

/// Subgraphs that remember for the thread leave what they know there, wherever they stand.
fn remember_all(
    memories: &mut BTreeMap<String, GraphLoop>,
    run: &Run,
    at: &mut GraphLoop,
    graph_of: &impl Fn(&str) -> Option<Arc<Graph>>,
) {
    for inner in at.tasks.values_mut().filter_map(|task| task.inner.as_deref_mut()) {
        remember_all(memories, run, inner, graph_of);
        let newer = memories.get(&inner.ns).is_none_or(|memory| memory.head.id <= inner.head.id);
        if inner.memory() == Memory::Thread && !inner.head.id.is_nil() && newer {
            let mut memory = inner.clone();
            memory.rest(graph_of);
            run.without_twins(&mut memory);
            memories.insert(memory.ns.clone(), memory);
        }
    }
}

/// What tells the workers that nobody waits for open tasks of loops.
pub(super) fn cancels<'a>(
    envelope: &Arc<Envelope>,
    open_tasks: impl IntoIterator<Item = (&'a GraphLoop, &'a StepTask)>,
) -> impl Iterator<Item = Command> {
    /// The hash of the subgraph that declares the node, and its name.
    type Declared = (Option<String>, Arc<str>);
    let mut open: BTreeMap<Declared, (Option<GraphRef>, Vec<TaskId>)> = BTreeMap::new();
    for (at, task) in open_tasks {
        let graph = at.declares();
        let hash = graph.as_ref().map(|graph| graph.hash.clone());
        open.entry((hash, task.node.clone())).or_insert_with(|| (graph, Vec::new())).1.push(task.id);
    }
    let cancel = |((_, node), (graph, tasks)): (Declared, _)| Command::Cancel {
        envelope: envelope.clone(),
        graph,
        node: node.to_string(),
        tasks,
    };
    open.into_iter().map(cancel)
}
