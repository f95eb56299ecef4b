//! One partition in memory. Whoever holds its lock never waits for anything.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use run_store::Position as RowPosition;
use schemas::record::{TokenRecord, UpdateRecord};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    run::{LiveRun, Stored},
    watch::{Awaiting, Ending},
};
use crate::thread::ThreadState;

/// Tokens kept of a run whose first update was not read yet.
const EARLY_TOKENS_MAX: usize = 4_096;

/// Bounds of one partition, taken from [`crate::Config`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub hold_max: Duration,
    pub interest_keep: Duration,
    pub awaited_runs_max: usize,
    pub finished_keep: Duration,
    pub buffer_events_max: usize,
}

#[derive(Debug)]
pub struct Shard {
    pub limits: Limits,
    /// Tokens are read from this offset on.
    pub tokens_from: u64,
    pub tokens_next: u64,
    /// Rows of all updates below this offset are in the store.
    pub written: u64,
    /// What was in the partition when it was taken over has not all been read.
    pub catching_up: bool,
    pub threads: BTreeMap<(String, String), LiveThread>,
    runs: BTreeMap<Uuid, Box<LiveRun>>,
    awaited: BTreeMap<Uuid, Awaited>,
    awaited_since: VecDeque<(Instant, Uuid)>,
    ended: VecDeque<(Instant, Uuid)>,
    /// Runs that hold something back.
    held: BTreeSet<Uuid>,
    bytes: usize,
}

#[derive(Debug)]
pub struct LiveThread {
    pub state: ThreadState,
    /// Of the last update of any of its runs.
    pub offset: u64,
}

/// A run that somebody asks for, or that tokens name, before its first update was read.
#[derive(Debug, Default)]
struct Awaited {
    tokens: Vec<(u64, Arc<TokenRecord>)>,
    by: Vec<Awaiting>,
}

/// What became of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It had been applied before.
    Duplicate,
    Yes,
}

impl Shard {
    pub fn new(limits: Limits, tokens_from: u64, written: u64) -> Self {
        Shard {
            limits,
            tokens_from,
            tokens_next: tokens_from,
            written,
            catching_up: true,
            threads: BTreeMap::new(),
            runs: BTreeMap::new(),
            awaited: BTreeMap::new(),
            awaited_since: VecDeque::new(),
            ended: VecDeque::new(),
            held: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub fn run(&self, run_id: Uuid) -> Option<&LiveRun> {
        self.runs.get(&run_id).map(|run| &**run)
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn runs_in_memory(&self) -> usize {
        self.runs.len()
    }

    /// Makes a run known, with the updates that the store has of it. Whoever awaited it joins.
    pub fn begin(&mut self, record: &UpdateRecord, stored: Vec<(Stored, RowPosition)>, now: Instant) {
        let run_id = record.envelope.run_id;
        if self.runs.contains_key(&run_id) {
            return;
        }
        let mut run = Box::new(LiveRun::new(record, self.tokens_from, now));
        for (stored, position) in stored {
            run.apply(stored, position, now);
        }
        if let Some(Awaited { tokens, by }) = self.awaited.remove(&run_id) {
            for (offset, token) in tokens {
                run.token(offset, token, now);
            }
            for awaiting in by {
                self.admit(&mut run, awaiting);
            }
        }
        self.bytes += run.bytes;
        if run.is_over() {
            self.ended.push_back((now, run_id));
        }
        self.note_held(run_id, &run);
        self.runs.insert(run_id, run);
    }

    /// Applies an update of a run that is known, once.
    pub fn apply(&mut self, stored: Stored, position: RowPosition, offset: u64, now: Instant) -> Applied {
        let run_id = stored.record.envelope.run_id;
        let Some(run) = self.runs.get_mut(&run_id) else { return Applied::Duplicate };
        run.offset = offset;
        if stored.record.update.number.is_none_or(|number| number <= run.state.number) {
            return Applied::Duplicate;
        }
        let (was_over, bytes) = (run.is_over(), run.bytes);
        let record = Arc::clone(&stored.record);
        run.apply(stored, position, now);
        self.bytes += run.bytes - bytes;
        if run.is_over() && !was_over {
            self.ended.push_back((now, run_id));
        }
        let held = run.held_since().is_some();
        if let Some(thread_id) = &run.state.envelope.thread_id {
            let name = (run.state.envelope.tenant.clone(), thread_id.clone());
            let thread = self
                .threads
                .entry(name)
                .or_insert_with(|| LiveThread { state: ThreadState::new(thread_id, &run.state), offset });
            thread.state.fold(&record, &run.state, position);
            thread.offset = offset;
        }
        self.set_held(run_id, held);
        Applied::Yes
    }

    pub fn token(&mut self, offset: u64, record: Arc<TokenRecord>, now: Instant) {
        self.tokens_next = offset + 1;
        let run_id = record.envelope.run_id;
        if let Some(run) = self.runs.get_mut(&run_id) {
            let bytes = run.bytes;
            run.token(offset, record, now);
            self.bytes += run.bytes - bytes;
            let held = run.held_since().is_some();
            return self.set_held(run_id, held);
        }
        if let Some(awaited) = self.await_run(run_id, now).filter(|awaited| awaited.tokens.len() < EARLY_TOKENS_MAX) {
            awaited.tokens.push((offset, record));
        }
    }

    /// Registers interest in a run; false where too many unknown ones are awaited already.
    pub fn register(&mut self, run_id: Uuid, awaiting: Awaiting, now: Instant) -> bool {
        if let Some(mut run) = self.runs.remove(&run_id) {
            self.admit(&mut run, awaiting);
            self.note_held(run_id, &run);
            self.runs.insert(run_id, run);
            return true;
        }
        match self.await_run(run_id, now) {
            Some(awaited) => {
                awaited.by.push(awaiting);
                true
            }
            None => false,
        }
    }

    /// Does something to a run in memory, and keeps the books.
    pub fn with_run<T>(&mut self, run_id: Uuid, act: impl FnOnce(&mut LiveRun) -> T) -> Option<T> {
        let run = self.runs.get_mut(&run_id)?;
        let result = act(run);
        let held = run.held_since().is_some();
        self.set_held(run_id, held);
        Some(result)
    }

    /// Shows what was held back for too long.
    pub fn expire_held(&mut self, now: Instant) {
        let hold_max = self.limits.hold_max;
        let runs = &mut self.runs;
        self.held.retain(|run_id| {
            let Some(run) = runs.get_mut(run_id) else { return false };
            while run.held_since().is_some_and(|since| now.duration_since(since) >= hold_max) {
                run.expire(now);
            }
            run.held_since().is_some()
        });
    }

    /// Lets go of what is old: interest that led nowhere, and runs that ended. `bytes_max` hurries the latter.
    pub fn sweep(&mut self, now: Instant, bytes_max: usize) {
        while let Some((since, run_id)) = self.awaited_since.front().copied() {
            if now.duration_since(since) < self.limits.interest_keep && self.awaited.contains_key(&run_id) {
                break;
            }
            self.awaited_since.pop_front();
            if let Some(awaited) = self.awaited.remove(&run_id) {
                awaited.by.into_iter().for_each(|awaiting| awaiting.end(Ending::Unknown));
            }
        }
        while let Some((since, run_id)) = self.ended.front().copied() {
            let old = now.duration_since(since) >= self.limits.finished_keep || self.bytes > bytes_max;
            let written = self.runs.get(&run_id).is_none_or(|run| run.offset < self.written);
            // What is held back is told first.
            if !old || !written || self.held.contains(&run_id) {
                break;
            }
            self.ended.pop_front();
            self.evict(run_id);
        }
        if self.bytes > bytes_max {
            let freed: usize = self.runs.values_mut().map(|run| run.forget_tokens(self.tokens_next)).sum();
            self.bytes -= freed;
        }
    }

    pub fn end_all(&mut self, ending: Ending) {
        self.runs.values_mut().for_each(|run| run.end_all(ending));
        for awaited in std::mem::take(&mut self.awaited).into_values() {
            awaited.by.into_iter().for_each(|awaiting| awaiting.end(ending));
        }
    }

    /// Tokens before this offset are gone for good.
    pub fn lose_tokens(&mut self, from: u64) {
        self.tokens_from = from;
        self.tokens_next = from;
        self.runs.values_mut().for_each(|run| run.lose_tokens(from));
    }

    fn evict(&mut self, run_id: Uuid) {
        let Some(run) = self.runs.remove(&run_id) else { return };
        self.bytes -= run.bytes;
        let envelope = &run.state.envelope;
        if let Some(thread_id) = &envelope.thread_id {
            let name = (envelope.tenant.clone(), thread_id.clone());
            if self
                .threads
                .get(&name)
                .is_some_and(|thread| thread.offset <= run.offset && thread.state.view.live.is_empty())
            {
                self.threads.remove(&name);
            }
        }
    }

    fn admit(&self, run: &mut LiveRun, awaiting: Awaiting) {
        let tenant = &run.state.envelope.tenant;
        match awaiting {
            Awaiting::Stream { tenant: ref of, .. } | Awaiting::End { tenant: ref of, .. } if of != tenant => {
                awaiting.end(Ending::Unknown);
            }
            Awaiting::Stream { watcher, .. } => run.adopt(watcher, self.limits.hold_max),
            Awaiting::End { waiter, .. } => run.wait(waiter),
        }
    }

    fn await_run(&mut self, run_id: Uuid, now: Instant) -> Option<&mut Awaited> {
        if !self.awaited.contains_key(&run_id) {
            if self.awaited.len() >= self.limits.awaited_runs_max {
                return None;
            }
            self.awaited_since.push_back((now, run_id));
        }
        let awaited = self.awaited.entry(run_id).or_default();
        if awaited.by.len() >= 16 && awaited.by.len().is_power_of_two() {
            awaited.by.retain(|awaiting| !awaiting.is_gone());
        }
        Some(awaited)
    }

    fn note_held(&mut self, run_id: Uuid, run: &LiveRun) {
        self.set_held(run_id, run.held_since().is_some());
    }

    fn set_held(&mut self, run_id: Uuid, held: bool) {
        if held {
            self.held.insert(run_id);
        } else if !self.held.is_empty() {
            self.held.remove(&run_id);
        }
    }
}
