//! The consumer of `updates`: one loop that owns the group's membership, applies records in memory and hands their rows
//! to the writer. Nothing in it waits for the store.

mod owned;
mod read;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use event_log::{Assigned, Consumer, Fetched, GroupEvent, LogError, Partition, Record, Subscription, partition_for};
use metrics::gauge;
use schemas::{
    record::{ControlFact, ControlRecord, Progress, Wire},
    topic::{CONTROL, SINK_GROUP, UPDATES},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::owned::{Loaded, Owned};
use crate::{
    error::Error,
    live::{Shard, lock},
    metrics::{self as names, INTAKE_PAUSED, RunMeters},
    shared::{Backoff, Shared},
    tokens,
    write::{Batch, Mark},
};

/// Who the sink is to readiness, progress and dead letters.
const CONSUMER: &str = "sink";
const SOURCE: &str = "millstream/sink";

pub struct Intake {
    shared: Arc<Shared>,
    topic: Arc<str>,
    owned: BTreeMap<Partition, Owned>,
    epochs: u64,
    paused: bool,
    meters: RunMeters,
    batches: mpsc::UnboundedSender<Batch>,
    marks: mpsc::UnboundedReceiver<Mark>,
    loaded: mpsc::UnboundedSender<Loaded>,
    loads: mpsc::UnboundedReceiver<Loaded>,
    said: Instant,
}

impl Intake {
    pub fn new(
        shared: Arc<Shared>,
        batches: mpsc::UnboundedSender<Batch>,
        marks: mpsc::UnboundedReceiver<Mark>,
    ) -> Self {
        let (loaded, loads) = mpsc::unbounded_channel();
        let topic = shared.deps.names.of(UPDATES).into();
        Intake {
            shared,
            topic,
            owned: BTreeMap::new(),
            epochs: 0,
            paused: false,
            meters: RunMeters::default(),
            batches,
            marks,
            loaded,
            loads,
            said: Instant::now(),
        }
    }

    /// Returns when asked to stop, with everything written that could be, or when the log ends.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let Some(partitions) = shutdown.run_until_cancelled(self.partitions()).await else { return Ok(()) };
        self.shared.live.set_partitions(partitions?);
        let subscription = Subscription {
            group: self.shared.deps.names.of(SINK_GROUP),
            topics: vec![self.topic.to_string()],
            prefetch_bytes_max: self.shared.config.prefetch_bytes_max,
        };
        let Some(consumer) = shutdown.run_until_cancelled(self.subscribe(subscription)).await else { return Ok(()) };
        let mut consumer = consumer?;
        let result = self.consume(&mut *consumer, &shutdown).await;
        let all: Vec<Partition> = self.owned.keys().copied().collect();
        self.let_go(&mut *consumer, &all).await;
        if let Err(failed) = consumer.leave().await {
            warn!(error = %failed, "the sink's group was not left in order; its partitions move after the session's end");
        }
        result
    }

    async fn partitions(&self) -> Result<u32, LogError> {
        let mut backoff = Backoff::new(self.shared.config.retry_pause);
        loop {
            match self.shared.deps.log.partitions(&self.topic).await {
                Err(failed) if failed.is_retryable() => {
                    warn!(error = %failed, "updates can't be read yet");
                    backoff.pause().await;
                }
                answer => return answer,
            }
        }
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, LogError> {
        let mut backoff = Backoff::new(self.shared.config.retry_pause);
        loop {
            match self.shared.deps.log.subscribe(subscription.clone()).await {
                Err(failed) if failed.is_retryable() => {
                    warn!(error = %failed, "the sink's group can't be joined yet");
                    backoff.pause().await;
                }
                answer => return answer,
            }
        }
    }

    async fn consume(&mut self, consumer: &mut dyn Consumer, shutdown: &CancellationToken) -> Result<(), Error> {
        let mut commits = tokio::time::interval(self.shared.config.commit_every);
        commits.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut backoff = Backoff::new(self.shared.config.retry_pause);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                Some(mark) = self.marks.recv() => {
                    self.note(mark);
                    self.press(consumer).await;
                }
                Some(loaded) = self.loads.recv() => self.apply_loaded(loaded),
                _ = commits.tick() => {
                    self.commit(consumer).await;
                    self.say_progress().await;
                }
                event = consumer.next() => match event {
                    Ok(event) => {
                        backoff.reset();
                        self.handle(consumer, event).await;
                    }
                    Err(LogError::Closed) => return Ok(()),
                    Err(failed) if failed.is_retryable() => {
                        warn!(error = %failed, "updates can't be read; this is tried again");
                        backoff.pause().await;
                    }
                    Err(failed) => return Err(failed.into()),
                },
            }
        }
    }

    async fn handle(&mut self, consumer: &mut dyn Consumer, event: GroupEvent) {
        match event {
            GroupEvent::Assigned(assigned) => {
                for assigned in assigned {
                    self.begin(assigned).await;
                }
                if self.paused {
                    self.set_paused(consumer, true).await;
                }
            }
            GroupEvent::Revoked(revoked) => {
                let partitions: Vec<Partition> = revoked.iter().map(|(_, partition)| *partition).collect();
                self.let_go(consumer, &partitions).await;
                if let Err(failed) = consumer.release(&revoked).await {
                    warn!(error = %failed, "partitions could not be released in order");
                }
            }
            GroupEvent::Lost(lost) => {
                for (_, partition) in lost {
                    self.end(partition);
                }
            }
            GroupEvent::Records(fetched) => {
                self.take(fetched);
                self.press(consumer).await;
            }
        }
    }

    async fn begin(&mut self, assigned: Assigned) {
        let Assigned { topic: _, partition, committed, start, end } = assigned;
        self.end(partition);
        self.epochs += 1;
        let next = committed.map_or(start, |(offset, _)| offset.max(start));
        let tokens_from = tokens::beginning(&self.shared, partition).await.unwrap_or_else(|failed| {
            warn!(error = %failed, partition, "the end of tokens is not known; they are read as far as they are kept");
            0
        });
        let shard = self.shared.live.open(partition, Shard::new(self.shared.limits(), tokens_from, next));
        {
            let mut shard = lock(&shard);
            shard.taken_over_at = self.shared.deps.clock.now();
            shard.catching_up = next < end;
        }
        let stop = CancellationToken::new();
        let read = tokens::read(Arc::clone(&self.shared), partition, Arc::clone(&shard), stop.clone());
        self.shared.tasks.spawn(read);
        self.owned.insert(partition, Owned::new(partition, self.epochs, shard, next, end, stop));
        self.say(ControlFact::Serves {
            role: CONSUMER.to_owned(),
            partition,
            address: self.shared.config.address.clone(),
        });
        info!(partition, offset = next, "the sink serves a partition");
    }

    /// Stops serving a partition, whatever is unwritten of it.
    fn end(&mut self, partition: Partition) {
        if let Some(owned) = self.owned.remove(&partition) {
            owned.stop.cancel();
            self.shared.live.close(partition);
            self.shared.deps.board.forget(CONSUMER, partition);
            names::lag(partition, 0);
            info!(partition, "the sink serves a partition no longer");
        }
    }

    /// Writes and commits what was read of some partitions, within bounds, then stops serving them.
    async fn let_go(&mut self, consumer: &mut dyn Consumer, partitions: &[Partition]) {
        let deadline = Instant::now() + self.shared.config.release_within;
        while partitions.iter().filter_map(|partition| self.owned.get(partition)).any(|owned| !owned.is_written()) {
            let more = async {
                tokio::select! {
                    biased;
                    Some(mark) = self.marks.recv() => Ok(mark),
                    Some(loaded) = self.loads.recv() => Err(loaded),
                }
            };
            match tokio::time::timeout_at(deadline, more).await {
                Ok(Ok(mark)) => self.note(mark),
                Ok(Err(loaded)) => self.apply_loaded(loaded),
                Err(_) => {
                    warn!("rows were not written in time; the next owner reads their updates again");
                    break;
                }
            }
        }
        self.commit(consumer).await;
        for partition in partitions {
            self.end(*partition);
        }
    }

    fn take(&mut self, fetched: Vec<Fetched>) {
        let mut batch = Batch::default();
        let mut fetched = fetched.into_iter().peekable();
        while let Some(partition) = fetched.peek().map(|record| record.partition) {
            let run = std::iter::from_fn(|| fetched.next_if(|record| record.partition == partition));
            let Some(owned) = self.owned.get_mut(&partition) else {
                run.for_each(drop);
                continue;
            };
            owned.take(&self.shared, &self.loaded, run, &mut self.meters, &mut batch);
        }
        self.hand_over(batch);
    }

    fn apply_loaded(&mut self, loaded: Loaded) {
        let mut batch = Batch::default();
        if let Some(owned) = self.owned.get_mut(&loaded.partition).filter(|owned| owned.epoch == loaded.epoch) {
            owned.apply_loaded(&self.shared, &self.loaded, loaded, &mut self.meters, &mut batch);
        }
        self.hand_over(batch);
    }

    fn hand_over(&mut self, batch: Batch) {
        if batch.marks.is_empty() {
            return;
        }
        self.shared.backlog_bytes.fetch_add(batch.bytes, Ordering::Relaxed);
        // The writer outlives intake; where it does not, nothing is committed.
        let _ = self.batches.send(batch);
    }

    fn note(&mut self, mark: Mark) {
        if let Some(owned) = self.owned.get_mut(&mark.partition).filter(|owned| owned.epoch == mark.epoch) {
            owned.note_written(mark.next);
        }
    }

    /// Stops taking in while too much waits for the store.
    async fn press(&mut self, consumer: &mut dyn Consumer) {
        let (backlog, max) = (self.shared.backlog(), self.shared.config.backlog_bytes_max);
        if !self.paused && backlog > max {
            warn!(bytes = backlog, "too many rows wait for the store; intake pauses");
            self.set_paused(consumer, true).await;
        } else if self.paused && backlog <= max / 2 {
            info!("intake goes on");
            self.set_paused(consumer, false).await;
        }
    }

    async fn set_paused(&mut self, consumer: &mut dyn Consumer, paused: bool) {
        self.paused = paused;
        gauge!(INTAKE_PAUSED).set(if paused { 1.0 } else { 0.0 });
        for partition in self.owned.keys() {
            let done = if paused {
                consumer.pause(&self.topic, *partition).await
            } else {
                consumer.resume(&self.topic, *partition).await
            };
            if let Err(failed) = done {
                warn!(error = %failed, partition, "a partition could not be paused or resumed");
            }
        }
    }

    async fn commit(&mut self, consumer: &mut dyn Consumer) {
        for (partition, owned) in &mut self.owned {
            let Some(next) = owned.to_commit() else { continue };
            match consumer.commit(&self.topic, *partition, next, "").await {
                Ok(()) => {
                    owned.note_committed(next);
                    names::committed(*partition, next);
                }
                Err(failed) => warn!(error = %failed, partition, "the offset was not committed; this is tried again"),
            }
        }
    }

    /// Says on `control` and to readiness how far each partition is.
    async fn say_progress(&mut self) {
        if self.said.elapsed() < self.shared.config.progress_every.saturating_sub(Duration::from_millis(5)) {
            return;
        }
        self.said = Instant::now();
        let mut facts = Vec::new();
        for (partition, owned) in &mut self.owned {
            let tail = match self.shared.deps.log.bounds(&self.topic, *partition).await {
                Ok((_, tail)) => tail,
                Err(_) => owned.next,
            };
            // What is done is what is written: a store that stands still is no progress.
            let applied = owned.written();
            self.shared.deps.board.report(CONSUMER, *partition, applied, tail);
            names::lag(*partition, tail.saturating_sub(applied));
            let progress = Progress {
                consumer: CONSUMER.to_owned(),
                partition: *partition,
                applied,
                tail,
                open_runs: lock(&owned.shard).runs_in_memory() as u64,
                oldest_ms: owned.oldest().as_millis() as u64,
                bytes: self.shared.backlog() as u64,
            };
            if owned.has_news(&progress) {
                facts.push(ControlFact::Progress(progress));
            }
        }
        facts.into_iter().for_each(|fact| self.say(fact));
    }

    fn say(&self, fact: ControlFact) {
        let shared = Arc::clone(&self.shared);
        self.shared.tasks.spawn(async move {
            let record = Arc::new(ControlRecord { at: shared.deps.clock.now(), fact });
            if let Err(failed) = append(&shared, CONTROL, &record).await {
                warn!(error = %failed, "a fact was not said on control");
            }
        });
    }
}

/// Appends to one of the topics that the sink writes, by the record's key.
async fn append<T: Wire>(shared: &Shared, topic: &str, record: &Arc<T>) -> Result<(), LogError> {
    let topic = shared.deps.names.of(topic);
    let partitions = shared.deps.log.partitions(&topic).await?;
    let (key, headers) = (record.key(), record.headers(SOURCE, None));
    let partition = partition_for(key.as_bytes(), partitions);
    shared.deps.log.append(&topic, partition, Record::json(key, headers, Arc::clone(record))).await.map(|_| ())
}
