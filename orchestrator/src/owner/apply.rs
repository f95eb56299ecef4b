//! One record into its key's state, and what follows into the log.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use event_log::{Fetched, Offset, Partition};
use futures_util::FutureExt;
use graph::{
    advance::{Command, Need, Step, advance},
    envelope::Key,
    event::Event,
    graph_loop::Recalled,
    state::KeyState,
    update::Happened,
};
use run_store::{Position, StoreError};
use schemas::{
    record::{DeadLetter, RunsRecord},
    topic::{Names, ORCHESTRATOR_GROUP, RUNS},
};
use tokio::time::Instant;
use traces::{Read, Span};

use super::{
    Done, Owner, Parked, Resident, Slot, fresh,
    values::{StoredState, stored_state},
};
use crate::{
    decode::{Decoded, decode},
    error::Error,
    graphs::Loaded,
    metrics,
    outputs::{Cause, Formed},
};

/// How long a key waits before the store is asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_millis(200);

impl Owner {
    /// Takes a record: applies it now, or parks it until its key is there.
    pub(super) fn take(&mut self, fetched: Fetched) -> Result<(), Error> {
        let offset = fetched.offset;
        if offset < self.marks.next() {
            // Read again after a seek or a rejoin.
            return Ok(());
        }
        self.tail = self.tail.max(offset + 1);
        self.marks.take(offset);
        match decode(&fetched) {
            Decoded::Record(record) => {
                let sent = traces::is_on().then(|| fetched.record.headers.get_str("traceparent")).flatten();
                let payload = record.references.as_ref().map(|_| fetched.record.payload.clone());
                let sent = sent.map(str::to_owned);
                self.admit(Parked { offset, record, payload, sent, recalled: Recalled::new() })
            }
            Decoded::Garbage(reason) => {
                self.bury(&fetched, reason);
                Ok(())
            }
            Decoded::Unknown(reason) => Err(Error::UnknownRecord { partition: self.partition, offset, reason }),
        }
    }

    fn admit(&mut self, parked: Parked) -> Result<(), Error> {
        let key = parked.record.envelope.key();
        match self.slots.get_mut(&key) {
            Some(Slot::Ready(_)) => self.apply(&key, parked),
            Some(Slot::Waiting { records, .. }) => {
                records.push_back(parked);
                Ok(())
            }
            None if begins_anew(&parked.record) => {
                // Below the tail of the assignment a former owner may have stored a row of it.
                let stored = self.recovery.is_some();
                let resident = Resident::new(fresh(&key), None, stored, Instant::now());
                self.slots.insert(key.clone(), Slot::Ready(Box::new(resident)));
                self.apply(&key, parked)
            }
            None => {
                self.load(key, Some(parked));
                Ok(())
            }
        }
    }

    /// Asks the store for a key; its records wait meanwhile, and only they.
    pub(super) fn load(&mut self, key: Key, first: Option<Parked>) {
        let records: VecDeque<Parked> = first.into_iter().collect();
        self.slots.insert(key.clone(), Slot::Waiting { resident: None, records });
        self.ask_state(key, Duration::ZERO);
    }

    fn ask_state(&mut self, key: Key, after: Duration) {
        let (states, blobs) = (Arc::clone(&self.deps.states), Arc::clone(&self.deps.blobs));
        let partition = self.partition;
        self.work.push(
            async move {
                tokio::time::sleep(after).await;
                let loaded = match states.state(partition, &key).await {
                    Ok(Some(row)) => Ok(stored_state(&*blobs, row).await),
                    Ok(None) => Ok(Ok(None)),
                    Err(error) => Err(error),
                };
                Done::Loaded { key, loaded }
            }
            .boxed(),
        );
    }

    pub(super) fn on_loaded(
        &mut self,
        key: Key,
        loaded: Result<Result<Option<StoredState>, Error>, StoreError>,
    ) -> Result<(), Error> {
        let stored = match loaded {
            Ok(stored) => stored?,
            Err(error) => {
                tracing::warn!(key = key.as_str(), %error, "a state can't be read, asking again");
                self.ask_state(key, ASK_AGAIN);
                return Ok(());
            }
        };
        self.wakes.awake(&key);
        let resident = match stored {
            Some(StoredState { position, state }) => {
                Resident::new(*state, Some(position.offset()), true, Instant::now())
            }
            None => Resident::new(fresh(&key), None, false, Instant::now()),
        };
        self.resume(key, Box::new(resident))
    }

    pub(super) fn on_spec(
        &mut self,
        key: Key,
        hash: &str,
        loaded: Result<Option<Arc<Loaded>>, Error>,
    ) -> Result<(), Error> {
        let missing = match loaded {
            Ok(Some(_)) => None,
            Ok(None) => Some("the store does not have it yet".to_owned()),
            Err(error @ Error::Spec { .. }) => return Err(error),
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = missing {
            tracing::warn!(key = key.as_str(), graph.hash = hash, reason, "a run waits for its graph version");
            self.ask_spec(key, hash.to_owned(), ASK_AGAIN);
            return Ok(());
        }
        match self.slots.remove(&key) {
            Some(Slot::Waiting { resident: Some(resident), records }) => {
                self.slots.insert(key.clone(), Slot::Waiting { resident: None, records });
                self.resume(key, resident)
            }
            Some(slot) => {
                self.slots.insert(key, slot);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn ask_spec(&mut self, key: Key, hash: String, after: Duration) {
        let graphs = Arc::clone(&self.graphs);
        self.work.push(
            async move {
                tokio::time::sleep(after).await;
                let loaded = graphs.load(&hash).await;
                Done::Spec { key, hash, loaded }
            }
            .boxed(),
        );
    }

    /// The key is there: applies what waited for it, in order.
    pub(super) fn resume(&mut self, key: Key, resident: Box<Resident>) -> Result<(), Error> {
        let Some(Slot::Waiting { records, .. }) = self.slots.remove(&key) else { return Ok(()) };
        self.slots.insert(key.clone(), Slot::Ready(resident));
        let mut records = records;
        while let Some(parked) = records.pop_front() {
            match self.slots.get_mut(&key) {
                // It waits again, for a graph version: what is left waits behind the one that asked.
                Some(Slot::Waiting { records: waiting, .. }) => {
                    waiting.push_back(parked);
                    waiting.extend(records);
                    return Ok(());
                }
                Some(Slot::Ready(_)) => self.apply(&key, parked)?,
                None => self.admit(parked)?,
            }
        }
        if self.recovery.is_none() {
            let now = self.now();
            self.fire_timers_of(&key, now);
        }
        self.drop_if_closed(&key);
        Ok(())
    }

    pub(super) fn apply(&mut self, key: &Key, parked: Parked) -> Result<(), Error> {
        let Some(Slot::Ready(resident)) = self.slots.get_mut(key) else { return Ok(()) };
        if resident.contains(parked.offset) {
            self.marks.applied(parked.offset, false);
            return Ok(());
        }
        if parked.payload.is_some() {
            self.park_for_values(key, parked);
            return Ok(());
        }
        let state = resident.state.take().expect("the state is away only while it is advanced");
        let record = &parked.record;
        if self.poisoned.contains(&parked.offset) {
            self.fail_run(record);
            self.applied(key, &parked, state, Vec::new());
            return Ok(());
        }
        let step = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            crate::tests::panic_where_asked(record);
            advance(&*self.graphs, &parked.recalled, state, &record.envelope, record.at, &record.event)
        }));
        match step {
            Ok(Step::Done { state, commands }) => self.applied(key, &parked, state, commands),
            Ok(Step::Need { state, need }) => {
                resident.state = Some(state);
                match need {
                    Need::Spec(hash) => self.park_for_spec(key, parked, hash),
                    Need::Checkpoint(wanted) => self.recall(key, parked, wanted)?,
                }
            }
            // The state went with it. A copy kept for this case would cost every record; so the partition is folded anew.
            Err(_) => return Err(Error::FoldPanicked { partition: self.partition, offset: parked.offset }),
        }
        Ok(())
    }

    fn applied(&mut self, key: &Key, parked: &Parked, state: KeyState, mut commands: Vec<Command>) {
        let Some(Slot::Ready(resident)) = self.slots.get_mut(key) else { return };
        let Parked { offset, record, payload: _, sent: _, recalled: _ } = parked;
        resident.state = Some(state);
        resident.applied = Some(*offset);
        resident.touched = Instant::now();
        resident.put_away(*offset, &mut commands);
        let position = Position::new(self.config.generation, *offset);
        let pruned = position.is_some_and(|position| resident.forget(position, &commands));
        if let (Event::RunFailed { .. }, Some(recovery)) = (&record.event, &mut self.recovery) {
            recovery.forget_broken(record.envelope.run_id);
        }
        self.mark_dirty(key, *offset);
        if pruned {
            self.store_soon(key);
        }
        // A replay was traced when it was first done.
        let span = match self.recovery {
            Some(_) => Span::default(),
            None => process(&self.deps.names, self.partition, parked),
        };
        let trace = span.context();
        self.put_out(key, Cause { offset: *offset, at: record.at, trace }, commands);
        ::metrics::counter!(metrics::EVENTS, "event" => event_name(&record.event)).increment(1);
        self.rearm(key);
        self.drop_if_closed(key);
    }

    fn park_for_spec(&mut self, key: &Key, parked: Parked, hash: String) {
        let Some(Slot::Ready(resident)) = self.slots.remove(key) else { return };
        let records = VecDeque::from([parked]);
        self.slots.insert(key.clone(), Slot::Waiting { resident: Some(resident), records });
        self.ask_spec(key.clone(), hash, Duration::ZERO);
    }

    /// The fold panics on a record: its run ends by a record of its own, so that every replay sees the same.
    fn fail_run(&mut self, record: &Arc<RunsRecord>) {
        tracing::error!(
            run.id = %record.envelope.run_id,
            event = event_name(&record.event),
            "the fold panicked on a record; its run ends as an internal error"
        );
        match &mut self.recovery {
            // The record that ends it may stand further down the log.
            Some(recovery) => recovery.keep_broken(Arc::clone(record)),
            None => self.append_failure(record),
        }
    }

    pub(super) fn append_failure(&mut self, record: &RunsRecord) {
        let message = format!("a record of type {} could not be applied", event_name(&record.event));
        let failed = RunsRecord {
            envelope: Arc::clone(&record.envelope),
            at: self.now(),
            event: Event::RunFailed { message },
            references: None,
        };
        let ack = self.outputs.append_to_runs(failed);
        self.work.push(async move { Done::Appended(ack.await.map(drop)) }.boxed());
    }

    /// Puts out what a record caused, or keeps it until the tail while the owner recovers.
    pub(super) fn put_out(&mut self, key: &Key, cause: Cause, commands: Vec<Command>) {
        for command in &commands {
            count(command);
        }
        if let Some(recovery) = &mut self.recovery {
            recovery.keep(key, cause, commands);
            self.marks.applied(cause.offset, false);
            return;
        }
        self.issue(key, cause, commands);
    }

    pub(super) fn issue(&mut self, key: &Key, cause: Cause, commands: Vec<Command>) {
        let formed = self.outputs.form(cause, commands);
        if !formed.is_awaited() {
            drop(self.outputs.append(formed));
            self.marks.applied(cause.offset, false);
            return;
        }
        self.marks.applied(cause.offset, true);
        if let Some(Slot::Ready(resident)) = self.slots.get_mut(key) {
            resident.in_flight += 1;
        }
        match self.held.get_mut(key) {
            Some(held) => held.push_back(formed),
            None if formed.is_held() => self.hold(key, formed),
            None => self.send(key, formed),
        }
    }

    /// Appends a key's next outputs.
    pub(super) fn send(&mut self, key: &Key, formed: Formed) {
        let Some(issued) = self.outputs.append(formed) else { return };
        let key = key.clone();
        self.work.push(async move { Done::Issued { key, issued: issued.await } }.boxed());
    }

    pub(super) fn on_issued(&mut self, key: &Key, offset: Offset) {
        self.marks.issued(offset);
        let resident = match self.slots.get_mut(key) {
            Some(Slot::Ready(resident) | Slot::Waiting { resident: Some(resident), .. }) => resident,
            Some(Slot::Waiting { resident: None, .. }) | None => return,
        };
        resident.in_flight = resident.in_flight.saturating_sub(1);
        self.drop_if_closed(key);
    }

    fn bury(&mut self, fetched: &Fetched, reason: String) {
        tracing::warn!(partition = self.partition, offset = fetched.offset, reason, "a record of runs is set aside");
        metrics::dead_letters().increment(1);
        let headers = fetched.record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        let letter = DeadLetter::of(
            self.now(),
            "orchestrator",
            reason,
            (&fetched.topic, fetched.partition, fetched.offset),
            (&fetched.record.key, &fetched.record.payload),
            headers,
        );
        let offset = fetched.offset;
        let ack = self.outputs.bury(letter);
        self.marks.applied(offset, true);
        let key = Key(String::new());
        self.work.push(async move { Done::Issued { key, issued: (offset, ack.await.map(drop)) } }.boxed());
    }
}

/// The span of a record that was applied, while what it caused is put out.
fn process(names: &Names, partition: Partition, parked: &Parked) -> Span {
    if !traces::is_on() {
        return Span::default();
    }
    let (topic, group) = (names.of(RUNS), names.of(ORCHESTRATOR_GROUP));
    let read = Read { topic: &topic, partition, offset: parked.offset, group: &group, sent: parked.sent.as_deref() };
    traces::process(&parked.record.envelope, read)
}

/// Whether the store can't have anything of the key: a run without a thread, or a thread made by this request.
fn begins_anew(record: &RunsRecord) -> bool {
    match &record.event {
        Event::Requested(request) => !request.repeat && (record.envelope.thread_id.is_none() || request.new_thread),
        Event::TaskFinished(_)
        | Event::TaskKept { .. }
        | Event::TaskGivenBack { .. }
        | Event::StateEdited(_)
        | Event::ThreadDeleted
        | Event::ThreadPruned
        | Event::ThreadCopied { .. }
        | Event::CopyBegun(_)
        | Event::ThreadTimed(_)
        | Event::Cancelled { .. }
        | Event::TimerDue { .. }
        | Event::RunFailed { .. } => false,
    }
}

fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Requested(_) => "requested",
        Event::TaskFinished(_) => "task_finished",
        Event::TaskKept { .. } => "task_kept",
        Event::TaskGivenBack { .. } => "task_given_back",
        Event::StateEdited(_) => "state_edited",
        Event::ThreadDeleted => "thread_deleted",
        Event::ThreadPruned => "thread_pruned",
        Event::ThreadCopied { .. } => "thread_copied",
        Event::CopyBegun(_) => "copy_begun",
        Event::ThreadTimed(_) => "thread_timed",
        Event::Cancelled { .. } => "cancelled",
        Event::TimerDue { .. } => "timer_due",
        Event::RunFailed { .. } => "run_failed",
    }
}

fn count(command: &Command) {
    let Command::Update { envelope, update } = command else { return };
    for happened in &update.happened {
        match happened {
            Happened::Started(_) => {
                ::metrics::counter!(metrics::RUNS_STARTED, "graph" => envelope.graph.name.clone()).increment(1);
            }
            Happened::Spent { .. } => ::metrics::counter!(metrics::DUPLICATES).increment(1),
            Happened::Queued(_)
            | Happened::Continued(_)
            | Happened::TaskDone(_)
            | Happened::StepDone(_)
            | Happened::Paused(_)
            | Happened::Kept(_)
            | Happened::Ended(_)
            | Happened::Edited(_) => {}
        }
    }
}
