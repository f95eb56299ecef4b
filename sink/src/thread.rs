//! What is known of one thread: the updates of its runs, folded. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use graph::{
    by_name::ChannelValues,
    envelope::Millis,
    event::TimeToLive,
    update::{Checkpointed, Ended, Happened, Kept, RunStatus},
};
use run_store::{Position, rows::ThreadRow};
use schemas::{error::ErrorFields, record::UpdateRecord};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    copy,
    outcome::{self, Outcomes},
    prune,
    run::RunState,
    run_error,
};

#[derive(Clone, Debug)]
pub struct ThreadState {
    pub tenant: String,
    pub thread_id: String,
    pub user: Option<String>,
    pub graph: String,
    pub created_at: Millis,
    pub updated_at: Millis,
    /// Of the last update folded; an older one is not folded again.
    pub position: Position,
    pub view: ThreadView,
    /// The newest checkpoint of the outermost graph, where it was read in this process.
    checkpoint: Option<(Arc<UpdateRecord>, usize)>,
}

/// The part that is stored as JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadView {
    /// How the last run that began left the thread.
    #[serde(default)]
    pub outcome: Outcome,
    /// Runs that are not over.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub live: BTreeSet<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorFields>,
    /// The type of that error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint_id: Option<Uuid>,
    /// What came of tasks since that checkpoint, in subgraphs too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: Outcomes,
    /// What they will be when the live run ends, where that keeps only its last checkpoint: nothing of it shows before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_exit: Option<Outcomes>,
    /// Where they differ from the checkpoint's: see [`Ended`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<ChannelValues>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Vec<String>>,
    /// The values of unfinished subgraphs where they differ from those of their checkpoints, by namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inner: BTreeMap<String, ChannelValues>,
    /// How long it lives, as its last run was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<TimeToLive>,
    /// Checkpoints before this one are forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Uuid>,
    /// How things stood when the live run began: should it be undone, they stand so again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Box<Before>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Before {
    pub run_id: Uuid,
    pub graph: String,
    pub view: ThreadView,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    #[default]
    Idle,
    Interrupted,
    Error,
}

impl ThreadState {
    /// A thread whose first run this is.
    pub fn new(thread_id: &str, run: &RunState) -> Self {
        ThreadState {
            tenant: run.envelope.tenant.clone(),
            thread_id: thread_id.to_owned(),
            user: run.envelope.principal.user.clone(),
            graph: run.envelope.graph.name.clone(),
            created_at: run.created_at,
            updated_at: run.created_at,
            position: Position::default(),
            view: ThreadView::default(),
            checkpoint: None,
        }
    }

    /// As the store has it; None where the row's view can't be read.
    pub fn from_row(row: ThreadRow) -> Option<Self> {
        let view = serde_json::from_slice(&row.view).ok()?;
        let ThreadRow { tenant, thread_id, position, user, graph, created_at, updated_at, view: _ } = row;
        Some(ThreadState { tenant, thread_id, user, graph, created_at, updated_at, position, view, checkpoint: None })
    }

    /// Its copy, which nothing is done on yet.
    pub fn copied(&self, thread_id: &str, at: Millis, position: Position) -> Self {
        ThreadState {
            thread_id: thread_id.to_owned(),
            created_at: at,
            updated_at: at,
            position,
            view: ThreadView { live: BTreeSet::new(), before: None, ttl: None, ..self.view.clone() },
            checkpoint: None,
            ..self.clone()
        }
    }

    /// Folds an update of `run`, which has folded it already.
    pub fn fold(&mut self, record: &Arc<UpdateRecord>, run: &RunState, position: Position) {
        if position < self.position {
            return;
        }
        self.position = position;
        // Who is copied is as he was.
        if copy::copied_to(record).is_some() {
            return;
        }
        if let Some(stands) = prune::pruned(record) {
            let own = stands.iter().find(|at| at.ns.is_empty());
            self.view.pruned = own.map(|at| at.checkpoint_id).or(self.view.pruned);
            return;
        }
        self.updated_at = record.update.at;
        if run.envelope.principal.user.is_some() {
            self.user.clone_from(&run.envelope.principal.user);
        }
        let run_id = run.envelope.run_id;
        if !run.status.is_terminal() {
            self.view.live.insert(run_id);
        }
        for (index, happened) in record.update.happened.iter().enumerate() {
            match happened {
                Happened::TaskDone(done) => {
                    let tasks = self.view.at_exit.as_mut().unwrap_or(&mut self.view.tasks);
                    tasks.entry(done.task_id).or_default().add(done);
                }
                Happened::StepDone(checkpoint) if outcome::is_passing(checkpoint) => {
                    self.view.at_exit = Some(Outcomes::new());
                }
                Happened::StepDone(checkpoint) if checkpoint.ns.is_empty() => {
                    self.stand(checkpoint, (Arc::clone(record), index));
                }
                Happened::Kept(kept) => {
                    if let Kept::Checkpoint(checkpoint) = &**kept
                        && checkpoint.ns.is_empty()
                    {
                        self.stand(checkpoint, (Arc::clone(record), index));
                    }
                }
                // A subgraph has moved on: what it held beyond its checkpoint is of the one before.
                Happened::StepDone(checkpoint) if !checkpoint.passing => {
                    self.view.inner.remove(&checkpoint.ns);
                }
                // What a command wrote is stored with the checkpoint.
                Happened::Continued(continued)
                    if self.view.at_exit.is_none() && self.view.checkpoint_id == Some(continued.checkpoint_id) =>
                {
                    self.view.next = None;
                    if continued.commanded {
                        self.view.values = Some(continued.values.clone());
                    }
                }
                Happened::Ended(ended) => self.end(ended, run_id, run.started),
                Happened::Edited(edited) if edited.error.is_none() && !edited.again => {
                    (self.view.error, self.view.exception) = (None, None);
                    self.view.outcome = self.rests();
                }
                Happened::Started(started) => {
                    self.begin(run_id);
                    self.view.ttl = started.ttl;
                    self.view.at_exit = started.keeps_last.then(|| self.view.tasks.clone());
                }
                Happened::StepDone(_)
                | Happened::Queued(_)
                | Happened::Continued(_)
                | Happened::Paused(_)
                | Happened::Edited(_)
                | Happened::Spent { .. } => {}
            }
        }
        if (run.started || run.is_edit) && !run.undone {
            self.graph.clone_from(&run.envelope.graph.name);
        }
    }

    /// It stands at this checkpoint now.
    fn stand(&mut self, checkpoint: &Checkpointed, place: (Arc<UpdateRecord>, usize)) {
        self.checkpoint = Some(place);
        self.view.checkpoint_id = Some(checkpoint.checkpoint_id);
        if self.view.at_exit.is_none() {
            self.view.tasks.clear();
        }
        self.view.inner.clear();
        (self.view.values, self.view.next) = (None, None);
    }

    /// Whether anything is next at the newest checkpoint.
    fn rests(&self) -> Outcome {
        match self.checkpoint() {
            Some((checkpoint, _)) if !checkpoint.next.is_empty() => Outcome::Interrupted,
            Some(_) | None => Outcome::Idle,
        }
    }

    /// An update may be folded again: what it says itself is not what was before it.
    fn begin(&mut self, run_id: Uuid) {
        if self.view.before.as_ref().is_some_and(|before| before.run_id == run_id) {
            return;
        }
        let view = ThreadView { before: None, live: BTreeSet::new(), ..self.view.clone() };
        self.view.before = Some(Box::new(Before { run_id, graph: self.graph.clone(), view }));
    }

    fn end(&mut self, ended: &Ended, run_id: Uuid, started: bool) {
        self.view.live.remove(&run_id);
        if let Some(tasks) = self.view.at_exit.take_if(|_| started) {
            self.view.tasks = tasks;
        }
        let before = self.view.before.take_if(|before| before.run_id == run_id);
        if ended.rolled_back {
            if let Some(Before { run_id: _, graph, view }) = before.map(|before| *before) {
                let live = std::mem::take(&mut self.view.live);
                self.view = ThreadView { live, ..view };
                (self.graph, self.checkpoint) = (graph, None);
            }
            return;
        }
        if !started {
            return;
        }
        self.view.error = run_error::of(ended, run_id);
        self.view.exception = run_error::exception(ended);
        self.view.values.clone_from(&ended.values);
        self.view.next = Some(ended.next.clone());
        self.view.inner.clone_from(&ended.inner);
        self.view.outcome = match ended.status {
            RunStatus::Error | RunStatus::Timeout => Outcome::Error,
            RunStatus::Interrupted => Outcome::Interrupted,
            RunStatus::Success | RunStatus::Cancelled | RunStatus::Pending | RunStatus::Running => {
                if ended.next.is_empty() { Outcome::Idle } else { Outcome::Interrupted }
            }
        };
    }

    /// LangGraph's word for it.
    pub fn status(&self) -> &'static str {
        match self.view.outcome {
            _ if !self.view.live.is_empty() => "busy",
            Outcome::Idle => "idle",
            Outcome::Interrupted => "interrupted",
            Outcome::Error => "error",
        }
    }

    /// The newest checkpoint and the run that made it, where they were read in this process.
    pub fn checkpoint(&self) -> Option<(&Checkpointed, Uuid)> {
        let (record, index) = self.checkpoint.as_ref()?;
        match record.update.happened.get(*index) {
            Some(Happened::StepDone(checkpoint)) => Some((checkpoint, record.envelope.run_id)),
            Some(Happened::Kept(kept)) => match &**kept {
                Kept::Checkpoint(checkpoint) => Some((checkpoint, record.envelope.run_id)),
                Kept::Command { .. } => None,
            },
            _ => None,
        }
    }
}
