//! The end of a run: what it answers, what its thread keeps, and who comes next.

use std::{collections::BTreeMap, sync::Arc};

use super::{Command, Fold};
use crate::{
    graph::Graph,
    snapshot,
    step_task::Stand,
    task::{TaskId, Usage},
    update::{Ended, Happened, RunError, RunStatus},
};

/// How a run ends.
pub(super) struct Ending {
    pub status: RunStatus,
    error: Option<RunError>,
}

impl Ending {
    pub fn success() -> Self {
        Ending { status: RunStatus::Success, error: None }
    }

    pub fn error(error: RunError) -> Self {
        Ending { status: RunStatus::Error, error: Some(error) }
    }

    pub fn cancelled() -> Self {
        Ending { status: RunStatus::Cancelled, error: None }
    }

    pub fn timeout() -> Self {
        let message = "the run did not end before its deadline";
        Ending { status: RunStatus::Timeout, error: Some(plain("run_timeout", message)) }
    }

    pub fn internal(message: &str) -> Self {
        Ending::error(plain("internal", message))
    }

    /// The end of a run that never touched its thread.
    pub fn without_state(self) -> Ended {
        let Ending { status, error } = self;
        Ended {
            status,
            output: None,
            error,
            interrupts: Vec::new(),
            next: Vec::new(),
            values: None,
            usage: Usage::default(),
        }
    }
}

fn plain(code: &str, message: &str) -> RunError {
    RunError { code: code.to_owned(), message: message.to_owned(), node: None, kind: None, retryable: false }
}

impl Fold<'_> {
    /// Ends the live run; the next one begins once all of this event is folded.
    pub(super) fn end(&mut self, ending: Ending) {
        let Some(graph) = self.graph() else { return };
        let Some(run) = self.state.live.as_deref() else { return };
        let usage = run.usage;
        let ended = self.ended(&graph, ending, usage);
        let status = ended.status;
        self.happened(Happened::Ended(Box::new(ended)));
        self.cancel_open();
        self.flush(status);
        let Some(run) = self.state.live.take() else { return };
        if run.claimed {
            self.state.remember(run.envelope.run_id);
        }
        match run.envelope.thread_id {
            Some(_) => self.leave_thread(&graph),
            None => {
                self.state.head = None;
                self.state.tasks.clear();
            }
        }
    }

    fn ended(&self, graph: &Graph, ending: Ending, usage: Usage) -> Ended {
        let Ending { status, error } = ending;
        let Some(head) = self.state.head() else { return Ended { usage, ..Ending { status, error }.without_state() } };
        // Writes that conflict are kept and seen by no one.
        let pending = snapshot::with_pending(graph, head, &self.state.tasks).ok().flatten();
        let output = pending.as_ref().unwrap_or(head).output(graph);
        let values = pending.map(|pending| pending.tracked(graph)).filter(|values| *values != head.tracked(graph));
        Ended {
            status,
            output: Some(Arc::new(output)),
            error,
            interrupts: Vec::new(),
            next: snapshot::next(graph, &self.state.tasks),
            values,
            usage,
        }
    }

    /// Tells the workers of tasks whose result nobody waits for.
    fn cancel_open(&mut self) {
        let Some(run) = self.state.live.as_deref() else { return };
        let mut open: BTreeMap<&Arc<str>, Vec<TaskId>> = BTreeMap::new();
        for task in self.state.tasks.values().filter(|task| task.stand == Stand::Open) {
            open.entry(&task.node).or_default().push(task.id);
        }
        for (node, tasks) in open {
            let cancel = Command::Cancel { envelope: run.envelope.clone(), node: node.to_string(), tasks };
            self.draft.commands.push(cancel);
        }
    }

    /// A thread keeps where it stands and what tasks of an unfinished step have finished.
    fn leave_thread(&mut self, graph: &Graph) {
        if graph.has_untracked() {
            self.state.head.iter_mut().for_each(|head| head.drop_untracked(graph));
            self.state.tasks.values_mut().for_each(|task| task.drop_untracked(graph));
        }
        for task in self.state.tasks.values_mut() {
            match task.stand {
                Stand::Open | Stand::Delayed => (task.stand, task.attempt) = (Stand::Idle, 0),
                Stand::Failed { .. } => task.attempt = 0,
                Stand::Idle | Stand::Finished(_) => {}
            }
        }
    }
}
