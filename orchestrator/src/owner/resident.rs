//! A key in memory: its state, and how far the store and the log have it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use event_log::Offset;
use graph::{
    envelope::{Envelope, Millis, RunId},
    event::Timer,
    graph_loop::{GraphLoop, Recalled},
    state::KeyState,
};
use schemas::record::RunsRecord;
use tokio::time::Instant;

/// A key is there, or its records wait until it is.
pub enum Slot {
    Ready(Box<Resident>),
    /// Waits for its state or for a graph version. Order is a key's: only its own records wait.
    Waiting {
        resident: Option<Box<Resident>>,
        records: VecDeque<Parked>,
    },
}

/// A record that waits.
pub struct Parked {
    pub offset: Offset,
    pub record: Arc<RunsRecord>,
    /// Of the `send` that wrote it; only where traces are made.
    pub sent: Option<String>,
    /// The record's text, where it has values that must be read first.
    pub payload: Option<Bytes>,
    /// What the record was found to need of the thread's past.
    pub recalled: Recalled,
}

/// A checkpoint that has a successor, and the record that made one.
pub struct Archived {
    pub offset: Offset,
    pub checkpoint: Arc<GraphLoop>,
}

pub struct Resident {
    /// None only while `advance` has it.
    pub state: Option<KeyState>,
    /// The last record that the state contains.
    pub applied: Option<Offset>,
    /// The first record that the stored row lacks.
    pub dirty_since: Option<Offset>,
    /// The first record after the one that is being stored.
    pub dirty_next: Option<Offset>,
    pub storing: bool,
    /// The store may have a row of this key.
    pub stored: bool,
    /// What the state has put away since it was stored: it is stored with it.
    pub archived: Vec<Archived>,
    /// Records whose outputs are not acked.
    pub in_flight: u32,
    pub wake_at: Option<Millis>,
    /// Timers whose `timer due` is on its way.
    pub fired: Vec<Timer>,
    pub touched: Instant,
    pub dirty_from: Option<Instant>,
}

impl Resident {
    pub fn new(state: KeyState, applied: Option<Offset>, stored: bool, now: Instant) -> Self {
        Resident {
            state: Some(state),
            applied,
            dirty_since: None,
            dirty_next: None,
            storing: false,
            stored,
            archived: Vec::new(),
            in_flight: 0,
            wake_at: None,
            fired: Vec::new(),
            touched: now,
            dirty_from: None,
        }
    }

    pub fn state(&self) -> &KeyState {
        self.state.as_ref().expect("the state is away only while it is advanced")
    }

    pub fn contains(&self, offset: Offset) -> bool {
        self.applied.is_some_and(|applied| offset <= applied)
    }

    /// The envelope of a run that the key still has, or of what timed it.
    pub fn envelope(&self, run: RunId) -> Option<&Arc<Envelope>> {
        let state = self.state();
        let runs = state.live_run().into_iter().chain(state.waiting());
        runs.chain(state.expires_for()).find(|envelope| envelope.run_id == run)
    }

    /// All that is left is the memory of runs that ended: the row may expire with their idempotency keys.
    pub fn is_remembered_only(&self) -> bool {
        let state = self.state();
        state.is_idle() && state.head().is_none() && state.expires_for().is_none() && !state.is_closed()
    }

    /// All that it put out is acked and nothing needs storing.
    pub fn is_clean(&self) -> bool {
        self.in_flight == 0 && self.dirty_since.is_none() && !self.storing
    }
}
