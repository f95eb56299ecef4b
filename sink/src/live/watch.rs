//! Who watches a run, and who waits for its end.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use bytes::Bytes;
use graph::task::TaskId;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use crate::{
    facts::{Fact, Shown, WholeText},
    position::{Origin, Position},
};

/// Gets a [`schemas::stream::Waited`] as JSON, once.
pub type Waiter = oneshot::Sender<Bytes>;

/// Pushes facts to one client through a bounded channel.
#[derive(Debug)]
pub struct Watcher {
    facts: mpsc::Sender<Arc<Shown>>,
    ending: Arc<EndingCell>,
}

/// A watcher or waiter of a run that is not known yet.
#[derive(Debug)]
pub enum Awaiting {
    Stream { tenant: String, watcher: Watcher },
    End { tenant: String, waiter: Waiter },
}

/// Why a stream ends before the run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    None = 0,
    /// The client reads too slowly.
    Slow = 1,
    /// Another sink serves the partition.
    Moved = 2,
    /// Nobody ever asked for the run, or another tenant did.
    Unknown = 3,
}

#[derive(Debug, Default)]
pub struct EndingCell(AtomicU8);

impl EndingCell {
    pub fn get(&self) -> Ending {
        match self.0.load(Ordering::Acquire) {
            1 => Ending::Slow,
            2 => Ending::Moved,
            3 => Ending::Unknown,
            _ => Ending::None,
        }
    }
}

/// What a client gets of a stream.
pub enum Joined {
    /// It has everything.
    Whole,
    Stream(Box<Viewing>),
}

/// The client's side of a stream.
pub struct Viewing {
    /// What is there already.
    pub prelude: Vec<Arc<Shown>>,
    pub filter: Filter,
    /// What comes; None where the run is over.
    pub facts: Option<mpsc::Receiver<Arc<Shown>>>,
    pub ending: Arc<EndingCell>,
}

/// Keeps from a client that comes back what it has seen.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub after: Option<Position>,
    /// Tasks that were over at that point: a late token of theirs says nothing new.
    pub closed: BTreeSet<TaskId>,
    /// Tasks that were open, of whose answer another sink may have shown a part that this one did not; with the
    /// execution that was shown last, where that is known.
    pub partial: BTreeMap<TaskId, Option<Uuid>>,
    /// A task of whose answer another sink has shown the reset, and was about to show the whole.
    pub void: Option<TaskId>,
}

impl Filter {
    /// Says what a client gets of a fact: nothing, the fact, or first what puts right a part that it has.
    pub fn pass(&mut self, shown: &Shown, mut say: impl FnMut(&Shown)) {
        let Some(after) = &self.after else { return say(shown) };
        if after.covers(shown.origin) {
            return;
        }
        let of_update = matches!(shown.origin, Origin::Update { .. });
        match &shown.fact {
            Fact::Token(record) => {
                if self.closed.contains(&record.token.task_id) {
                    return;
                }
                if let Some(execution) = self.partial.get_mut(&record.token.task_id) {
                    // Whatever it has is another execution's.
                    if execution.is_none() && record.token.n == 0 {
                        say(&reset(record.token.task_id, &record.token.node, *after));
                    }
                    *execution = Some(record.token.execution);
                }
            }
            Fact::AttemptReset { task_id, .. } if !of_update && self.closed.contains(task_id) => return,
            Fact::AttemptReset { task_id, .. } => drop(self.partial.remove(task_id)),
            Fact::WholeText(whole) => {
                self.void = self.void.filter(|task_id| *task_id != whole.task_id);
                if self.partial.remove(&whole.task_id).is_some() {
                    say(&reset(whole.task_id, &whole.node, *after));
                }
            }
            Fact::NodeFinished(of) => {
                if let Some(done) = of.get() {
                    let other = matches!(self.partial.remove(&done.task_id), Some(Some(by)) if by != done.execution);
                    let void = self.void.take_if(|task_id| *task_id == done.task_id).is_some();
                    if let Some(whole) = WholeText::of(done).filter(|_| other || void) {
                        say(&reset(done.task_id, &done.node, *after));
                        let fact = Fact::WholeText(Box::new(whole));
                        say(&Shown { position: *after, origin: Origin::Stream, fact });
                    }
                }
            }
            _ => {}
        }
        say(shown);
    }
}

fn reset(task_id: TaskId, node: &Arc<str>, position: Position) -> Shown {
    Shown { position, origin: Origin::Stream, fact: Fact::AttemptReset { task_id, node: node.clone() } }
}

impl Watcher {
    pub fn new(buffer_events_max: usize) -> (Self, mpsc::Receiver<Arc<Shown>>, Arc<EndingCell>) {
        let (facts, receiver) = mpsc::channel(buffer_events_max.max(1));
        let ending = Arc::new(EndingCell::default());
        (Watcher { facts, ending: Arc::clone(&ending) }, receiver, ending)
    }

    /// Whether the client takes more. One that is full is cut, one that went away forgotten.
    pub fn push(&self, shown: &Arc<Shown>) -> bool {
        match self.facts.try_send(Arc::clone(shown)) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.ending.0.store(Ending::Slow as u8, Ordering::Release);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    pub fn end(self, ending: Ending) {
        self.ending.0.store(ending as u8, Ordering::Release);
    }
}

impl Awaiting {
    pub fn is_gone(&self) -> bool {
        match self {
            Awaiting::Stream { watcher, .. } => watcher.facts.is_closed(),
            Awaiting::End { waiter, .. } => waiter.is_closed(),
        }
    }

    pub fn end(self, ending: Ending) {
        if let Awaiting::Stream { watcher, .. } = self {
            watcher.end(ending);
        }
    }
}
