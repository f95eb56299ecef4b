//! The state of one key, the unit that is stored: a thread with its live and waiting runs, or a run without a thread.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    checkpoint::Checkpoint,
    envelope::{Envelope, Key, Millis, RunId},
    event::{Request, RunConfig, StateUpdate, Timer, TimerKind},
    expiry::Expiry,
    graph_loop::GraphLoop,
    ids::LastCheckpoint,
    step_task::{Stand, StepTask, StepTasks},
    task::{Call, TaskId, Usage},
    update::OuterCheckpoint,
};

/// Ids of ended runs and of edits that a key remembers, so that a repeat of their request starts nothing.
pub const REMEMBERED_RUNS_MAX: usize = 64;
/// How long it remembers them: as long as an idempotency key is held.
pub const REMEMBERED_MS: Millis = 24 * 60 * 60 * 1000;
/// Runs that may wait on one thread.
pub const WAITING_RUNS_MAX: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyState {
    pub(crate) key: Key,
    /// The time of the last record, below which no later one is dated.
    pub(crate) last_at: Millis,
    /// The time of the first record; 0 where that was before it was kept.
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub(crate) first_at: Millis,
    /// Where the ids of its checkpoints stand.
    #[serde(default)]
    pub(crate) last_checkpoint: LastCheckpoint,
    /// Where the thread stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<Box<GraphLoop>>,
    /// Where subgraphs stand that remember for the whole thread, by namespace.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) memories: BTreeMap<String, GraphLoop>,
    /// The thread's newest checkpoint, while a run works on an earlier one that has no successor yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) newest: Option<Box<GraphLoop>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) live: Option<Box<Run>>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(crate) waiting: VecDeque<Waiting>,
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub(crate) ended: VecDeque<Remembered>,
    /// How long the thread lives; until it is deleted where None.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expiry: Option<Box<Expiry>>,
    /// Why nothing can go on from here: a value of the state is gone, and an empty one stands in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<String>,
    /// What was before this is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pruned: Option<Pruned>,
}

/// How far back a thread's past goes whose history was pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pruned {
    /// No checkpoint that was made before has an id above it.
    pub up_to: Uuid,
    /// What was put away up to this place of the log is gone. Only whoever reads the log knows it.
    #[serde(default)]
    pub put_away_up_to: u64,
}

/// The run that is being carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub(crate) envelope: Arc<Envelope>,
    /// The number of its last update.
    pub(crate) number: u64,
    pub(crate) claimed: bool,
    pub(crate) config: RunConfig,
    #[serde(default, skip_serializing_if = "is_null")]
    pub(crate) context: Arc<Value>,
    /// What its checkpoints say of it: the primitive ones of metadata and configurable.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) limit: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) interrupt_before: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) interrupt_after: Vec<String>,
    /// An answer without an id that nobody has taken up yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resume: Option<Arc<Value>>,
    /// The task that was given it, and has not reported since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) offered_to: Option<TaskId>,
    /// Answers by interrupt id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) answers: Option<BTreeMap<String, Arc<Value>>>,
    /// Where the tasks of subgraphs stand: the tasks of outer graphs that they are in, outermost first.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) within: BTreeMap<TaskId, Arc<[TaskId]>>,
    /// Tasks that went on from what a subgraph remembered for the thread, by its checkpoint.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) went_on: BTreeMap<Uuid, Vec<TaskId>>,
    /// It is no run but an edit of the thread, which waits for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) editing: Option<Box<Editing>>,
    /// A run that goes back in time: what subgraphs remembered then, until each is first met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rewound: Option<BTreeMap<String, Option<GraphLoop>>>,
    /// Where its thread stood before.
    #[serde(default)]
    pub(crate) began: Began,
    /// Of its checkpoints only the last one stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) keeps_last: bool,
    /// The highest issue that it gave to any task.
    #[serde(default)]
    pub(crate) last_issue: u32,
    pub(crate) usage: Usage,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) timers: Vec<Armed>,
    /// The generation of the last timer that was armed.
    pub(crate) generation: u32,
}

/// How far an edit is. The thread stands where it stood until all of it is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Editing {
    pub supersteps: Vec<Vec<UpdateAs>>,
    /// The checkpoint that it begins at.
    pub from: GraphLoop,
    /// Where the graphs stand that it is in, outermost first: it may be a subgraph's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<OuterCheckpoint>,
    /// The checkpoints of its first supersteps.
    pub made: Vec<GraphLoop>,
    /// What programs are asked for the next one.
    pub tasks: StepTasks,
}

/// An update of an edit, under a name that the state knows values by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UpdateAs {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<Arc<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_node: Option<String>,
}

impl UpdateAs {
    pub fn of(update: &StateUpdate) -> Self {
        let StateUpdate { values, as_node } = update.clone();
        UpdateAs { update: values, as_node }
    }
}

impl Editing {
    /// Where its next superstep begins.
    pub fn stands(&self) -> &GraphLoop {
        self.made.last().unwrap_or(&self.from)
    }

    /// The tasks whose result is awaited.
    pub fn open_tasks(&self) -> impl Iterator<Item = (&GraphLoop, &StepTask)> {
        let open = self.tasks.values().filter(|task| task.stand == Stand::Open);
        open.map(|task| (self.stands(), task))
    }
}

/// Where a thread stood when a run began: what undoing the run goes back to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Began {
    /// The newest checkpoint of the run's own graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<Uuid>,
    /// The newest of all namespaces; nil where there was none.
    #[serde(default)]
    pub last: Uuid,
    /// All of it, where the archive will not have it as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood: Option<Box<Stood>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stood {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Box<GraphLoop>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub memories: BTreeMap<String, GraphLoop>,
}

/// A run that waits for its time, or for its turn on its thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) request: Box<Request>,
    pub(crate) requested_at: Millis,
    pub(crate) number: u64,
    pub(crate) deadline: Armed,
    /// Of a run that was asked for with a delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delay: Option<Delay>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Delay {
    pub begin: Armed,
    /// The timer has fired.
    pub over: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Armed {
    pub timer: Timer,
    pub due: Millis,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Remembered {
    pub(crate) run_id: RunId,
    pub(crate) at: Millis,
    /// The last checkpoint of an edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) made: Option<Uuid>,
    /// What was told of it went with the thread's history.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) untold: bool,
}

fn is_unknown(at: &Millis) -> bool {
    *at == 0
}

fn is_null(value: &Arc<Value>) -> bool {
    value.is_null()
}

/// Stored bytes that are no state of this version.
#[derive(Debug, thiserror::Error)]
#[error("the stored state can't be read")]
pub struct DecodeError(#[from] serde_json::Error);

impl KeyState {
    pub fn new(key: Key) -> Self {
        KeyState {
            key,
            last_at: 0,
            first_at: 0,
            last_checkpoint: LastCheckpoint::default(),
            root: None,
            memories: BTreeMap::new(),
            newest: None,
            live: None,
            waiting: VecDeque::new(),
            ended: VecDeque::new(),
            expiry: None,
            lost: None,
            pruned: None,
        }
    }

    /// Says that a value of the state is gone. Whatever comes next ends its runs, and no other begins: what is empty for
    /// want of a value must never be taken for the truth.
    pub fn lose(&mut self, reason: String) {
        self.lost = Some(reason);
    }

    /// Says where in the log the record stands that pruned the thread's history: nothing that was put away up to it is read
    /// again, whether it is gone yet or not. So a replay finds what was found in life.
    pub fn pruned_at(&mut self, position: u64) {
        self.pruned.iter_mut().for_each(|pruned| pruned.put_away_up_to = position);
    }

    /// As [`KeyState::pruned_at`] was told last.
    pub fn forgets_up_to(&self) -> Option<u64> {
        self.pruned.map(|pruned| pruned.put_away_up_to)
    }

    /// How old the thread was at the last record.
    pub(crate) fn thread_age_ms(&self) -> u64 {
        let is_known = self.first_at != 0 && self.live_run().is_some_and(|run| run.thread_id.is_some());
        if is_known { u64::try_from(self.last_at - self.first_at).unwrap_or(0) } else { 0 }
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Nothing is live, waits, has to be remembered or will end by itself: the state may be dropped.
    pub fn is_closed(&self) -> bool {
        self.is_idle() && self.root.is_none() && self.ended.is_empty() && self.expiry.is_none()
    }

    /// Nothing is live or waits: the state may leave memory.
    pub fn is_idle(&self) -> bool {
        self.live.is_none() && self.waiting.is_empty()
    }

    pub fn live_run(&self) -> Option<&Arc<Envelope>> {
        self.live.as_ref().map(|run| &run.envelope)
    }

    /// The runs that wait, in the order that they were asked for.
    pub fn waiting(&self) -> impl Iterator<Item = &Arc<Envelope>> {
        self.waiting.iter().map(|waiting| &waiting.envelope)
    }

    /// Where the thread stands.
    pub fn head(&self) -> Option<&Checkpoint> {
        self.root.as_ref().map(|root| &root.head)
    }

    /// Every timer that is armed, and when it is due.
    pub fn timers(&self) -> impl Iterator<Item = (&Timer, Millis)> {
        let live = self.live.iter().flat_map(|run| &run.timers);
        let deadlines = self.waiting.iter().map(|waiting| &waiting.deadline);
        let delays = self
            .waiting
            .iter()
            .filter(|waiting| !waiting.is_ready())
            .filter_map(|waiting| waiting.delay.as_ref().map(|delay| &delay.begin));
        let expiry = self.expiry.iter().filter_map(|expiry| expiry.armed.as_ref());
        live.chain(deadlines).chain(delays).chain(expiry).map(|armed| (&armed.timer, armed.due))
    }

    /// The tasks whose result is awaited: run, task and issue.
    pub fn open_tasks(&self) -> impl Iterator<Item = (RunId, TaskId, u32)> {
        let live = self.live.as_ref().map(|run| run.envelope.run_id).zip(self.root.as_deref());
        let tasks = live.into_iter().flat_map(|(run, root)| root.open_tasks().map(move |(_, task)| (run, task)));
        let edit = self.live.as_ref().and_then(|run| Some((run.envelope.run_id, run.editing.as_deref()?)));
        let asked = edit.into_iter().flat_map(|(run, edit)| edit.tasks.values().map(move |task| (run, task)));
        let asked = asked.filter(|(_, task)| task.stand == Stand::Open);
        tasks.chain(asked).map(|(run, task)| (run, task.id, task.issue))
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a state holds only JSON values under text keys")
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// As [`KeyState::encode`], for a record that holds it.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("a state holds only JSON values under text keys")
    }

    pub(crate) fn of_json(json: &Value) -> Result<Self, DecodeError> {
        Ok(Self::deserialize(json)?)
    }

    /// Whether a request for this run, or this edit, came before.
    pub(crate) fn knows(&self, run_id: RunId) -> bool {
        self.live_run().is_some_and(|envelope| envelope.run_id == run_id)
            || self.waiting().any(|envelope| envelope.run_id == run_id)
            || self.ended.iter().any(|ended| ended.run_id == run_id)
    }

    pub(crate) fn remember(&mut self, run_id: RunId) {
        let at = self.last_at;
        self.ended.retain(|ended| ended.run_id != run_id && ended.at + REMEMBERED_MS > at);
        if self.ended.len() >= REMEMBERED_RUNS_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(Remembered { run_id, at, made: None, untold: false });
    }

    pub(crate) fn remembered(&mut self, run_id: RunId) -> Option<&mut Remembered> {
        self.ended.iter_mut().find(|ended| ended.run_id == run_id)
    }

    /// All that was told so far is gone.
    pub(crate) fn forget_told(&mut self) {
        self.ended.iter_mut().for_each(|ended| ended.untold = true);
    }
}

impl Waiting {
    /// It may begin as soon as nothing else runs on its thread.
    pub(crate) fn is_ready(&self) -> bool {
        self.delay.as_ref().is_none_or(|delay| delay.over)
    }

    /// When its turn is: the ready one that could have begun first comes first.
    pub(crate) fn turn(&self) -> Millis {
        self.delay.as_ref().map_or(self.requested_at, |delay| delay.begin.due)
    }
}

impl Run {
    /// Of which no more is known than who asks.
    pub(crate) fn bare(envelope: Arc<Envelope>) -> Self {
        Run {
            envelope,
            number: 0,
            claimed: false,
            config: RunConfig::default(),
            context: Arc::default(),
            metadata: BTreeMap::new(),
            limit: 0,
            interrupt_before: Vec::new(),
            interrupt_after: Vec::new(),
            resume: None,
            offered_to: None,
            answers: None,
            within: BTreeMap::new(),
            went_on: BTreeMap::new(),
            editing: None,
            rewound: None,
            began: Began::default(),
            keeps_last: false,
            last_issue: 0,
            usage: Usage::default(),
            timers: Vec::new(),
            generation: 0,
        }
    }

    pub(crate) fn arm(&mut self, kind: TimerKind, due: Millis) {
        self.generation += 1;
        let timer = Timer { run_id: self.envelope.run_id, kind, generation: self.generation };
        self.timers.push(Armed { timer, due });
    }

    /// Takes an armed timer down; false where it isn't armed, or was armed anew since.
    pub(crate) fn disarm(&mut self, timer: &Timer) -> bool {
        let before = self.timers.len();
        self.timers.retain(|armed| armed.timer != *timer);
        self.timers.len() < before
    }

    /// Takes down what waits for a task.
    pub(crate) fn disarm_task(&mut self, task: TaskId) {
        self.timers.retain(|armed| match &armed.timer.kind {
            TimerKind::Kept(id) | TimerKind::Retry(id) | TimerKind::Timeout(id) => *id != task,
            TimerKind::Deadline | TimerKind::Begin | TimerKind::Expire => true,
        });
    }

    pub(crate) fn spend(&mut self, calls: &[Call]) {
        calls.iter().for_each(|call| self.usage += call.usage);
    }
}
