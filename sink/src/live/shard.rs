//! One partition in memory. Whoever holds its lock never waits for anything.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use graph::envelope::{Envelope, Key, Millis};
use run_store::Position as RowPosition;
use schemas::record::{TokenRecord, UpdateRecord};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    run::{LiveRun, Stored},
    watch::{Awaiting, Ending},
};
use crate::{prune, remove, thread::ThreadState};

/// Tokens kept of a run whose first update was not read yet.
const EARLY_TOKENS_MAX: usize = 4_096;

/// For how long it is known that a run was in memory: longer than an update counts as one that can't be a repeat.
const LEFT_KEEP: Duration = Duration::from_secs(15);

/// Bounds of one partition, taken from [`crate::Config`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub hold_max: Duration,
    pub interest_keep: Duration,
    pub awaited_runs_max: usize,
    pub finished_keep: Duration,
    pub unwatched_keep: Duration,
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
    /// When this process took the partition over.
    pub taken_over_at: Millis,
    /// What was in the partition when it was taken over has not all been read.
    pub catching_up: bool,
    /// Keys of which something that was read of that waits for the store.
    pub late: BTreeSet<Key>,
    pub threads: BTreeMap<(String, String), LiveThread>,
    runs: BTreeMap<Uuid, Box<LiveRun>>,
    awaited: BTreeMap<Uuid, Awaited>,
    awaited_since: VecDeque<(Instant, Uuid)>,
    /// Runs that ended, with when: those that somebody watched, and the others.
    ended: VecDeque<(Instant, Uuid)>,
    ended_unwatched: VecDeque<(Instant, Uuid)>,
    /// Runs that left memory lately: a repeat of their first update must not begin them anew.
    left: BTreeSet<Uuid>,
    left_since: VecDeque<(Instant, Uuid)>,
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
            taken_over_at: 0,
            catching_up: true,
            late: BTreeSet::new(),
            threads: BTreeMap::new(),
            runs: BTreeMap::new(),
            awaited: BTreeMap::new(),
            awaited_since: VecDeque::new(),
            ended: VecDeque::new(),
            ended_unwatched: VecDeque::new(),
            left: BTreeSet::new(),
            left_since: VecDeque::new(),
            held: BTreeSet::new(),
            bytes: 0,
        }
    }

    pub fn run(&self, run_id: Uuid) -> Option<&LiveRun> {
        self.runs.get(&run_id).map(|run| &**run)
    }

    /// Whether the store knows the run, though its newest update is young.
    pub fn was_here_lately(&self, run_id: Uuid) -> bool {
        self.left.contains(&run_id)
    }

    /// Whether memory and store are behind what the owner before has shown of a thread.
    pub fn is_behind(&self, key: &Key) -> bool {
        self.catching_up || self.late.contains(key)
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
            self.note_ended(run_id, run.is_watched(), now);
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
        let ended = (run.is_over() && !was_over).then(|| run.is_watched());
        let held = run.held_since().is_some();
        let envelope = &run.state.envelope;
        let name = envelope.thread_id.as_ref().map(|thread_id| (envelope.tenant.clone(), thread_id.clone()));
        if remove::deletes_thread(&record) {
            self.forget_runs(&record, position, now);
            if let Some(name) = name {
                self.threads.remove(&name);
            }
        } else if let (Some(thread_id), Some(name)) = (&envelope.thread_id, name) {
            let thread = self
                .threads
                .entry(name)
                .or_insert_with(|| LiveThread { state: ThreadState::new(thread_id, &run.state), offset });
            thread.state.fold(&record, &run.state, position);
            thread.offset = offset;
            if prune::pruned(&record).is_some_and(|stands| !stands.is_empty()) {
                self.forget_runs(&record, position, now);
            }
        }
        self.set_held(run_id, held);
        if let Some(watched) = ended {
            self.note_ended(run_id, watched, now);
        }
        Applied::Yes
    }

    /// Nothing stays of what a deleted or pruned thread did but that it was here: what comes late of it must not begin it anew.
    fn forget_runs(&mut self, removal: &UpdateRecord, at: RowPosition, now: Instant) {
        let Envelope { tenant, thread_id, run_id, .. } = &*removal.envelope;
        let of_thread = |run: &LiveRun| {
            let of = &run.state.envelope;
            of.thread_id == *thread_id && of.tenant == *tenant && of.run_id != *run_id && run.position <= at
        };
        let gone: Vec<Uuid> =
            self.runs.values().filter(|run| of_thread(run)).map(|run| run.state.envelope.run_id).collect();
        for run_id in gone {
            if let Some(run) = self.runs.get_mut(&run_id) {
                // Whoever watches gets what was held back.
                while run.held_since().is_some() {
                    run.expire(now);
                }
            }
            self.set_held(run_id, false);
            self.evict(run_id, now);
        }
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
        while let Some((_, run_id)) = self.left_since.pop_front_if(|(at, _)| now.duration_since(*at) >= LEFT_KEEP) {
            self.left.remove(&run_id);
        }
        while self.let_go(now, bytes_max, self.limits.unwatched_keep, |shard| &mut shard.ended_unwatched) {}
        while self.let_go(now, bytes_max, self.limits.finished_keep, |shard| &mut shard.ended) {}
        if self.bytes > bytes_max {
            let freed: usize = self.runs.values_mut().map(|run| run.forget_tokens(self.tokens_next)).sum();
            self.bytes -= freed;
        }
    }

    /// Lets go of the run that ended first, where its time has come and its rows are in the store.
    fn let_go(
        &mut self,
        now: Instant,
        bytes_max: usize,
        keep: Duration,
        queue: impl Fn(&mut Self) -> &mut VecDeque<(Instant, Uuid)>,
    ) -> bool {
        let Some((since, run_id)) = queue(self).front().copied() else { return false };
        let old = now.duration_since(since) >= keep || self.bytes > bytes_max;
        let written = self.runs.get(&run_id).is_none_or(|run| run.offset < self.written);
        // What is held back is told first.
        if !old || !written || self.held.contains(&run_id) {
            return false;
        }
        queue(self).pop_front();
        self.evict(run_id, now);
        true
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

    fn evict(&mut self, run_id: Uuid, now: Instant) {
        let Some(run) = self.runs.remove(&run_id) else { return };
        if self.left.insert(run_id) {
            self.left_since.push_back((now, run_id));
        }
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

    fn note_ended(&mut self, run_id: Uuid, watched: bool, now: Instant) {
        let queue = if watched { &mut self.ended } else { &mut self.ended_unwatched };
        queue.push_back((now, run_id));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Run;

    const KEEP: Duration = Duration::from_secs(30);
    const UNWATCHED: Duration = Duration::from_secs(2);

    fn shard() -> Shard {
        let limits = Limits {
            hold_max: Duration::ZERO,
            interest_keep: KEEP,
            awaited_runs_max: 9,
            finished_keep: KEEP,
            unwatched_keep: UNWATCHED,
            buffer_events_max: 9,
        };
        Shard::new(limits, 0, 0)
    }

    fn end(shard: &mut Shard, run: &Run, watched: bool, now: Instant) {
        shard.begin(&run.started(0), Vec::new(), now);
        if watched {
            shard.with_run(run.id, |run| drop(run.join(None, 9, Duration::ZERO)));
        }
        for record in [run.started(0), run.prepared(1), run.ended(2)] {
            let offset = record.position.offset;
            let stored = Stored { record: Arc::new(record), payload: bytes::Bytes::new() };
            assert_eq!(shard.apply(stored, RowPosition::default(), offset, now), Applied::Yes);
        }
    }

    #[test]
    fn only_what_somebody_streamed_stays_for_long() {
        let (mut shard, now) = (shard(), Instant::now());
        let (watched, unwatched) = (Run::new(1, 0), Run::new(2, 0));
        end(&mut shard, &watched, true, now);
        end(&mut shard, &unwatched, false, now);
        let left = |shard: &Shard| {
            [&watched, &unwatched].map(|run| shard.run(run.id).is_none() && shard.was_here_lately(run.id))
        };
        shard.sweep(now + UNWATCHED, usize::MAX);
        assert_eq!(left(&shard), [false, false], "their rows are not in the store yet");
        shard.written = 3;
        shard.sweep(now + UNWATCHED, usize::MAX);
        assert_eq!(left(&shard), [false, true]);
        // What is held back for a watcher is told before.
        shard.expire_held(now + KEEP);
        shard.sweep(now + KEEP, usize::MAX);
        assert_eq!(left(&shard), [true, false], "the first left long ago");
        shard.sweep(now + 2 * KEEP, usize::MAX);
        assert_eq!(left(&shard), [false, false]);
    }
}
