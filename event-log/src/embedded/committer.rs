//! The one thread that writes records: packs what gathered, syncs, publishes, acks. While it syncs, the next gathers.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    chain::{Chain, partitions_of},
    compacted::Compacted,
    config::{Clock, Config},
    ephemeral::Ephemerals,
    frame::{Packer, Row},
    partition::PartitionLog,
    queue::{Next, Pending, Queue},
    status::{Failure, Status},
    topics::Topics,
    window::{Window, bytes_of},
};
use crate::{
    error::LogError,
    metrics as names,
    record::{Appended, Fetched, Offset},
    topic::Class,
};

/// What a record takes in a row beside its bytes, about: lengths and numbers of its headers.
const RECORD_FRAME_BYTES: usize = 48;

pub(super) struct Committer {
    pub(super) folder: PathBuf,
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) topics: Arc<Topics>,
    pub(super) queue: Arc<Queue>,
    pub(super) status: Arc<Status>,
    pub(super) ephemerals: Arc<Ephemerals>,
    pub(super) chains: BTreeMap<u64, Chain>,
    pub(super) compacted: Compacted,
    pub(super) compacted_bytes: u64,
    pub(super) windows: BTreeMap<Class, Window>,
    /// Bytes on disk, for who asks.
    pub(super) size: Arc<AtomicU64>,
}

impl Committer {
    /// The body of the thread.
    pub(super) fn run(mut self) {
        let patience = Duration::from_millis(self.config.retention_check_ms);
        let mut checked = Instant::now();
        let mut spare = Vec::new();
        self.measure();
        loop {
            match self.queue.next(std::mem::take(&mut spare), patience) {
                Next::Group { pending, oldest } => spare = self.take_group(pending, oldest),
                Next::Retention(done) => {
                    self.enforce_retention();
                    checked = Instant::now();
                    if let Some(done) = done {
                        // Whoever asked may have gone.
                        let _ = done.send(());
                    }
                }
                Next::End => return,
            }
            if checked.elapsed() >= patience {
                self.enforce_retention();
                checked = Instant::now();
            }
        }
    }

    /// Commits a group class by class, and returns the emptied list for the next.
    fn take_group(&mut self, mut pending: Vec<Pending>, oldest: Option<Instant>) -> Vec<Pending> {
        let bytes: usize = pending.iter().map(|pending| pending.record.size()).sum();
        metrics::histogram!(names::COMMIT_RECORDS).record(pending.len() as f64);
        metrics::histogram!(names::COMMIT_BYTES).record(bytes as f64);
        // Stable: within a partition the order of the calls stays.
        pending.sort_by_key(|pending| (pending.log.class, pending.log.topic_id, pending.log.number));

        while let Some(class) = pending.first().map(|pending| pending.log.class) {
            let rest = pending.partition_point(|pending| pending.log.class == class);
            let later = pending.split_off(rest);
            let result = self.status.check().and_then(|()| {
                self.commit(class, &mut pending).map_err(|failure| {
                    self.status.fail(failure.clone());
                    failure.error()
                })
            });
            if result.is_err() {
                fail(&mut pending, &self.status);
            }
            if later.is_empty() {
                break;
            }
            pending = later;
        }
        self.queue.settle(bytes);
        metrics::gauge!(names::QUEUE_BYTES).set(self.queue.bytes() as f64);
        if let Some(oldest) = oldest {
            metrics::histogram!(names::APPEND_SECONDS).record(oldest.elapsed().as_secs_f64());
        }
        pending
    }

    fn commit(&mut self, class: Class, pending: &mut Vec<Pending>) -> Result<(), Failure> {
        match class {
            Class::Durable { retention_ms } => self.commit_durable(retention_ms, pending),
            Class::Compacted => self.commit_compacted(pending),
            Class::Ephemeral { .. } => Err(Failure::Damage("an ephemeral record reached the committer".into())),
        }
    }

    fn commit_durable(&mut self, retention_ms: u64, pending: &mut Vec<Pending>) -> Result<(), Failure> {
        let now = (self.clock)();
        let chain = match self.chains.entry(retention_ms) {
            std::collections::btree_map::Entry::Occupied(chain) => chain.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Chain::create(&self.folder, retention_ms, now)?)
            }
        };
        let (rows, lengths) = pack(pending, self.config.row_bytes_max);
        let ids = chain.append(&rows)?;
        let (segment, path) = chain.active();
        let window = window_of(&mut self.windows, &self.config, Class::Durable { retention_ms });
        let mut pending = pending.drain(..);
        for (id, length) in ids.into_iter().zip(lengths) {
            publish(pending.by_ref().take(length), Some((segment, path, id)), window);
        }
        drop(pending);
        if chain.is_full(&self.config, now) {
            chain.roll(&partitions_of(&self.topics.all(), retention_ms), now)?;
        }
        self.measure();
        Ok(())
    }

    fn commit_compacted(&mut self, pending: &mut Vec<Pending>) -> Result<(), Failure> {
        let mut next = NextOffset::default();
        self.compacted.append(pending.iter().map(|pending| {
            let log = &pending.log;
            (log.topic_id, log.number, next.of(log), pending.timestamp, &pending.record)
        }))?;
        let window = window_of(&mut self.windows, &self.config, Class::Compacted);
        publish(pending.drain(..), None, window);
        self.compacted_bytes = self.compacted.bytes()?;
        self.measure();
        Ok(())
    }

    fn enforce_retention(&mut self) {
        let now = (self.clock)();
        self.ephemerals.expire(now);
        for (retention_ms, chain) in &mut self.chains {
            if self.status.check().is_err() {
                return;
            }
            if let Err(failure) = chain.remove_expired(&partitions_of(&self.topics.all(), *retention_ms), now) {
                self.status.fail(failure);
            }
        }
        self.measure();
    }

    fn measure(&self) {
        let segments: u64 = self.chains.values().map(Chain::bytes).sum();
        let size = segments + self.compacted_bytes;
        self.size.store(size, Ordering::Relaxed);
        metrics::gauge!(names::SIZE_BYTES).set(size as f64);
    }
}

/// Acks what was not published with the reason.
fn fail(pending: &mut Vec<Pending>, status: &Status) {
    for pending in pending.drain(..) {
        if let Some(ack) = pending.ack {
            // Nobody needs to listen.
            let _ = ack.send(Err(status.check().err().unwrap_or(LogError::Closed)));
        }
    }
}

/// Offsets of a sorted group, before it is published.
#[derive(Default)]
struct NextOffset {
    current: Option<(Arc<PartitionLog>, Offset)>,
}

impl NextOffset {
    fn of(&mut self, log: &Arc<PartitionLog>) -> Offset {
        match &mut self.current {
            Some((known, next)) if Arc::ptr_eq(known, log) => {
                *next += 1;
                *next
            }
            current => {
                let next = log.end();
                *current = Some((Arc::clone(log), next));
                next
            }
        }
    }
}

/// Rows with the newest timestamp of each, and how many records went into each.
fn pack(pending: &[Pending], row_bytes_max: usize) -> (Vec<(i64, Row)>, Vec<usize>) {
    let mut next = NextOffset::default();
    let (mut rows, mut lengths) = (Vec::new(), Vec::new());
    let all: usize = pending.iter().map(|pending| pending.record.size() + RECORD_FRAME_BYTES).sum();
    let mut at = 0;
    while at < pending.len() {
        let mut packer = Packer::new(pending[at].timestamp, all.min(2 * row_bytes_max));
        let (began, mut newest) = (at, i64::MIN);
        while at < pending.len() && packer.bytes() < row_bytes_max {
            let Pending { log, timestamp, record, .. } = &pending[at];
            packer.push(log.topic_id, log.number, next.of(log), *timestamp, record);
            newest = newest.max(*timestamp);
            at += 1;
        }
        rows.push((newest, packer.finish()));
        lengths.push(at - began);
    }
    (rows, lengths)
}

/// Hands durable records to readers, partition by partition, then acks them.
fn publish(
    pending: impl Iterator<Item = Pending>,
    row: Option<(u64, &Arc<std::path::Path>, i64)>,
    window: &mut Window,
) {
    let mut acks = Vec::new();
    let mut pending = pending.peekable();
    while let Some(first) = pending.peek() {
        let log = Arc::clone(&first.log);
        let (mut end, mut bytes, mut newest) = (log.end(), 0, 0);
        let of_this = std::iter::from_fn(|| pending.next_if(|pending| Arc::ptr_eq(&pending.log, &log)));
        log.publish(
            of_this.map(|Pending { timestamp, record, ack, .. }| {
                let offset = end;
                end += 1;
                bytes += bytes_of(&record);
                newest = timestamp;
                acks.extend(ack.map(|ack| (ack, Appended { partition: log.number, offset })));
                Fetched { topic: Arc::clone(&log.topic), partition: log.number, offset, timestamp, record }
            }),
            row,
        );
        window.push(&log, end, bytes, newest);
    }
    for (ack, appended) in acks {
        // Nobody needs to listen.
        let _ = ack.send(Ok(appended));
    }
}

fn window_of<'a>(windows: &'a mut BTreeMap<Class, Window>, config: &Config, class: Class) -> &'a mut Window {
    windows.entry(class).or_insert_with(|| Window::new(config.tail_bytes_max))
}
