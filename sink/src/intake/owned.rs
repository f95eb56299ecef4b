//! One partition of `updates` while it is ours: what was read, what waits for the store, what is written.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use event_log::Fetched;
use graph::{
    envelope::Key,
    update::{Happened, RunStatus},
};
use run_store::rows::ThreadRow;
use schemas::{
    record::{Progress, UpdateRecord},
    topic::SINK_GROUP,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use traces::{Read, Span};
use uuid::Uuid;

use super::read::{Update, decode, set_aside};
use crate::{
    live::{Applied, LiveThread, Shard, Stored, lock},
    load::{self, Found, Missing, Waits},
    materialize::{run_row, thread_row},
    metrics::{self as names, RunMeters},
    remove,
    run::RunState,
    shared::Shared,
    thread::ThreadState,
    write::{Batch, Mark},
};

/// An update this old, or one of a run that was here lately, may be the repeat of a run that has ended and left memory: the store knows.
const MAYBE_REPEATED_AFTER_MS: i64 = 5_000;
/// A partition without news still says once in a while that it is alive.
const PROGRESS_SILENCE_MAX: Duration = Duration::from_secs(5);

pub struct Owned {
    pub partition: u32,
    pub epoch: u64,
    pub shard: Arc<Mutex<Shard>>,
    /// The next offset to take in.
    pub next: u64,
    pub stop: CancellationToken,
    /// Everything below was in the partition when it was taken over.
    caught_up_at: u64,
    written: u64,
    committed: u64,
    /// Records of keys that are being read from the store, by key.
    parked: BTreeMap<Key, VecDeque<Parked>>,
    parked_offsets: BTreeSet<u64>,
    /// Since when something is read and not written.
    behind_since: Option<Instant>,
    said: Option<(Progress, Instant)>,
}

struct Parked {
    update: Update,
    offset: u64,
}

/// What records waited for that were parked.
pub struct Loaded {
    pub partition: u32,
    pub epoch: u64,
    answer: Answer,
}

enum Answer {
    Found {
        key: Key,
        found: Box<Found>,
    },
    /// A record that nobody can read is among the dead letters.
    SetAside {
        offset: u64,
    },
}

/// Runs and threads that one poll touched, with the last run that touched the thread.
#[derive(Default)]
struct Touched {
    runs: BTreeSet<Uuid>,
    threads: BTreeMap<(String, String), Uuid>,
}

impl Owned {
    pub fn new(
        partition: u32,
        epoch: u64,
        shard: Arc<Mutex<Shard>>,
        next: u64,
        caught_up_at: u64,
        stop: CancellationToken,
    ) -> Self {
        Owned {
            partition,
            epoch,
            shard,
            next,
            stop,
            caught_up_at,
            written: next,
            committed: next,
            parked: BTreeMap::new(),
            parked_offsets: BTreeSet::new(),
            behind_since: None,
            said: None,
        }
    }

    /// Applies records in order; those of keys that must be read from the store first wait aside.
    pub fn take(
        &mut self,
        shared: &Arc<Shared>,
        loaded: &mpsc::UnboundedSender<Loaded>,
        fetched: impl Iterator<Item = Fetched>,
        meters: &mut RunMeters,
        batch: &mut Batch,
    ) {
        let shard = Arc::clone(&self.shard);
        let mut shard = lock(&shard);
        let mut touched = Touched::default();
        for fetched in fetched {
            // Redelivered after a move of the reading position.
            if fetched.offset < self.next {
                continue;
            }
            self.next = fetched.offset + 1;
            batch.bytes += fetched.record.size();
            let offset = fetched.offset;
            match decode(&fetched) {
                Ok(update) => {
                    let _span = process(shared, &fetched, &update);
                    self.take_one(shared, loaded, &mut shard, update, offset, meters, batch, &mut touched);
                }
                Err(reason) => {
                    self.parked_offsets.insert(offset);
                    let (partition, epoch, loaded) = (self.partition, self.epoch, loaded.clone());
                    let done =
                        move || drop(loaded.send(Loaded { partition, epoch, answer: Answer::SetAside { offset } }));
                    set_aside(shared, &fetched, reason, done);
                }
            }
        }
        shard.catching_up = self.next < self.caught_up_at;
        self.finish(&shard, touched, batch);
    }

    /// Applies what waited for a load.
    pub fn apply_loaded(
        &mut self,
        shared: &Arc<Shared>,
        loaded: &mpsc::UnboundedSender<Loaded>,
        answer: Loaded,
        meters: &mut RunMeters,
        batch: &mut Batch,
    ) {
        let shard = Arc::clone(&self.shard);
        let mut shard = lock(&shard);
        let mut touched = Touched::default();
        let (key, mut found) = match answer.answer {
            Answer::Found { key, found } => (key, found),
            Answer::SetAside { offset } => {
                self.parked_offsets.remove(&offset);
                return self.finish(&shard, touched, batch);
            }
        };
        let Some(mut waiting) = self.parked.remove(&key) else { return };
        if found.late {
            if let Some(late) = waiting.pop_front() {
                self.parked_offsets.remove(&late.offset);
            }
            names::duplicate();
        } else if let Some(first) = waiting.front_mut() {
            if let Some(whole) = found.whole.take() {
                (first.update.record, first.update.is_whole) = (whole, true);
            }
            first.update.is_removed = true;
            admit_found(&mut shard, &first.update.record, *found, first.offset);
        }
        while let Some(parked) = waiting.pop_front() {
            let missing = missing(shared, &shard, &parked.update);
            if !missing.nothing() {
                let (waits, offset) = (waits(&parked.update), parked.offset);
                waiting.push_front(parked);
                self.parked.insert(key.clone(), waiting);
                self.begin_load(shared, loaded, key.clone(), (waits, offset), missing);
                break;
            }
            self.parked_offsets.remove(&parked.offset);
            apply(shared, &mut shard, parked.update, parked.offset, meters, batch, &mut touched);
        }
        if !self.parked.contains_key(&key) {
            shard.late.remove(&key);
        }
        self.finish(&shard, touched, batch);
    }

    pub fn note_written(&mut self, next: u64) {
        self.written = self.written.max(next);
        self.behind_since = (!self.is_written()).then(Instant::now);
        lock(&self.shard).written = self.written;
    }

    /// Whether all that was read is written.
    pub fn is_written(&self) -> bool {
        self.written >= self.next
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    pub fn to_commit(&self) -> Option<u64> {
        (self.written > self.committed).then_some(self.written)
    }

    pub fn note_committed(&mut self, next: u64) {
        self.committed = self.committed.max(next);
    }

    /// For how long the oldest unwritten record has waited, about.
    pub fn oldest(&self) -> Duration {
        self.behind_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether others should hear of it.
    pub fn has_news(&mut self, progress: &Progress) -> bool {
        let silent =
            self.said.as_ref().is_some_and(|(said, at)| said == progress && at.elapsed() < PROGRESS_SILENCE_MAX);
        if !silent {
            self.said = Some((progress.clone(), Instant::now()));
        }
        !silent
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one step, borrowed apart")]
    fn take_one(
        &mut self,
        shared: &Arc<Shared>,
        loaded: &mpsc::UnboundedSender<Loaded>,
        shard: &mut Shard,
        update: Update,
        offset: u64,
        meters: &mut RunMeters,
        batch: &mut Batch,
        touched: &mut Touched,
    ) {
        if !self.parked.is_empty()
            && let Some(waiting) = self.parked.get_mut(&update.record.envelope.key())
        {
            self.parked_offsets.insert(offset);
            return waiting.push_back(Parked { update, offset });
        }
        let missing = missing(shared, shard, &update);
        if missing.nothing() {
            return apply(shared, shard, update, offset, meters, batch, touched);
        }
        let key = update.record.envelope.key();
        let waits = waits(&update);
        if offset < self.caught_up_at {
            shard.late.insert(key.clone());
        }
        self.parked_offsets.insert(offset);
        self.parked.insert(key.clone(), VecDeque::from([Parked { update, offset }]));
        self.begin_load(shared, loaded, key, (waits, offset), missing);
    }

    fn begin_load(
        &self,
        shared: &Arc<Shared>,
        loaded: &mpsc::UnboundedSender<Loaded>,
        key: Key,
        (waits, offset): (Waits, u64),
        missing: Missing,
    ) {
        let (partition, epoch, loaded, stop) = (self.partition, self.epoch, loaded.clone(), self.stop.clone());
        let (shared, shard) = (Arc::clone(shared), Arc::clone(&self.shard));
        shared.tasks.clone().spawn(async move {
            let load = async {
                let found = {
                    // A closed semaphore can't be: nobody closes it.
                    let _permit = shared.loads.acquire().await;
                    load::load(&shared, &waits, missing).await
                };
                if missing.removal && !found.knows(&waits.record) {
                    remove::after_all_before(&shared, &shard, offset, &waits).await;
                }
                found
            };
            if let Some(found) = stop.run_until_cancelled(load).await {
                let answer = Answer::Found { key, found: Box::new(found) };
                let _ = loaded.send(Loaded { partition, epoch, answer });
            }
        });
    }

    /// Adds the newest views to the rows, and says up to where these rows are everything.
    fn finish(&mut self, shard: &Shard, touched: Touched, batch: &mut Batch) {
        for run_id in touched.runs {
            if let Some(run) = shard.run(run_id).filter(|run| !run.state.is_edit && !run.state.undone) {
                let view = batch.rows.put_away(&run.state.envelope.key(), run.view(), |hash| run.names(hash));
                batch.rows.set_run(run_row(&run.state, view, run.position));
            }
        }
        for (name, run_id) in touched.threads {
            if let Some(thread) = shard.threads.get(&name) {
                let row = thread_row(&thread.state);
                let owner = Key::thread(&row.tenant, &row.thread_id);
                let named = |hash: &str| shard.run(run_id).is_some_and(|run| run.names(hash));
                let view = batch.rows.put_away(&owner, row.view.clone(), named);
                batch.rows.set_thread(run_id, ThreadRow { view, ..row });
            }
        }
        let next = self.parked_offsets.first().copied().unwrap_or(self.next);
        batch.marks.push(Mark { partition: self.partition, epoch: self.epoch, next });
        self.behind_since.get_or_insert_with(Instant::now);
    }
}

/// What has to be read from the store before the update can be applied.
fn missing(shared: &Shared, shard: &Shard, update: &Update) -> Missing {
    let (record, values) = (&update.record, !update.is_whole);
    let Some(number) = record.update.number else { return Missing { values, ..Missing::default() } };
    let known = shard.run(record.envelope.run_id);
    let unknown = known.is_none();
    let applied = known.is_some_and(|run| run.state.number >= number);
    let removal = !applied && !update.is_removed && remove::waits_for_store(record);
    let run = unknown
        && (number > 1
            || removal
            || shared.deps.clock.now() - record.update.at > MAYBE_REPEATED_AFTER_MS
            || is_of_before(shard, record)
            || shard.was_here_lately(record.envelope.run_id));
    let thread = record.envelope.thread_id.as_ref().is_some_and(|thread_id| {
        !remove::deletes_thread(record)
            && !begins_thread(record)
            && !shard.threads.contains_key(&(record.envelope.tenant.clone(), thread_id.clone()))
    });
    Missing { run, thread, values, removal }
}

/// Whether a thread's update may have been told before this process had the partition: the thread may have been deleted or
/// pruned since.
fn is_of_before(shard: &Shard, record: &UpdateRecord) -> bool {
    record.envelope.thread_id.is_some() && record.update.at - MAYBE_REPEATED_AFTER_MS < shard.taken_over_at
}

fn waits(update: &Update) -> Waits {
    Waits { record: Arc::clone(&update.record), payload: update.payload.clone(), position: update.position }
}

/// Whether the thread has no checkpoint older than this run's first.
fn begins_thread(record: &UpdateRecord) -> bool {
    record.update.number == Some(1)
        && record.update.happened.iter().any(
            |happened| matches!(happened, Happened::StepDone(step) if step.ns.is_empty() && step.parent_id.is_none()),
        )
}

fn admit_found(shard: &mut Shard, record: &Arc<UpdateRecord>, found: Found, offset: u64) {
    if let (Some(found), Some(thread_id)) = (found.thread, &record.envelope.thread_id) {
        let name = (record.envelope.tenant.clone(), thread_id.clone());
        let state = found.unwrap_or_else(|| ThreadState::new(thread_id, &RunState::new(record)));
        shard.threads.entry(name).or_insert(LiveThread { state, offset });
    }
    if let Some(stored) = found.run {
        shard.begin(record, stored, Instant::now());
    }
}

/// Applies an update of which nothing is missing.
fn apply(
    shared: &Shared,
    shard: &mut Shard,
    update: Update,
    offset: u64,
    meters: &mut RunMeters,
    batch: &mut Batch,
    touched: &mut Touched,
) {
    let Update { record, payload, position, is_whole: _, is_removed: _ } = update;
    let now = Instant::now();
    let run_id = record.envelope.run_id;
    if record.update.number.is_none() {
        return batch.rows.add_update(&record, &payload, position);
    }
    if shard.run(run_id).is_none() {
        shard.begin(&record, Vec::new(), now);
    }
    let stored = Stored { record: Arc::clone(&record), payload: payload.clone() };
    if shard.apply(stored, position, offset, now) == Applied::Duplicate {
        return names::duplicate();
    }
    // A run that was undone has no rows: its thread has.
    if !remove::undoes_run(&record) {
        batch.rows.add_update(&record, &payload, position);
        touched.runs.insert(run_id);
    }
    if let Some(thread_id) = &record.envelope.thread_id {
        touched.threads.insert((record.envelope.tenant.clone(), thread_id.clone()), run_id);
    }
    count(shared, shard, &record, meters);
}

fn count(shared: &Shared, shard: &Shard, record: &UpdateRecord, meters: &mut RunMeters) {
    let Some(run) = shard.run(record.envelope.run_id).filter(|run| !run.state.is_edit) else { return };
    let since = |at| Duration::from_millis(u64::try_from(at - run.state.created_at).unwrap_or(0));
    if record.update.number == Some(1) {
        meters.began(&record.envelope, since(shared.deps.clock.now()));
    }
    let status: RunStatus = run.state.status;
    if status.is_terminal() {
        meters.ended(&record.envelope, status, since(record.update.at));
    }
}

/// The span of one update being shown to those who watch and turned into rows.
fn process(shared: &Shared, fetched: &Fetched, update: &Update) -> Span {
    if !traces::is_on() {
        return Span::default();
    }
    let Fetched { topic, partition, offset, record, .. } = fetched;
    let group = shared.deps.names.of(SINK_GROUP);
    let sent = record.headers.get_str("traceparent");
    let read = Read { topic, partition: *partition, offset: *offset, group: &group, sent };
    traces::process(&update.record.envelope, read)
}
