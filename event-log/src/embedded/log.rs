//! What callers hold.

use std::{
    collections::BTreeMap,
    fs::File,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
};

use async_trait::async_trait;
use futures_util::future::ready;
use tokio::sync::oneshot;

use super::{
    config::{Clock, Config},
    consumer::GroupMember,
    ephemeral::Ephemerals,
    feed::Source,
    group::Group,
    jobs::Jobs,
    meta::Order,
    partition::Refusal,
    queue::{Queue, Refused},
    reader::PartitionReader,
    topics::Topics,
};
use crate::{
    contract::{Ack, Consumer, EventLog, Reader, Start, Subscription},
    error::LogError,
    metrics as names,
    record::{Appended, Offset, Partition, Record},
    topic::{Class, TopicSpec},
};

/// The log of one process, in one folder.
///
/// It ends at the first error of the disk: what was being written may be lost, and every later call fails. A server
/// waits for [`EmbeddedLog::failed`] beside its other work and then ends its process; opening the folder anew finds
/// everything that was acked.
pub struct EmbeddedLog {
    pub(super) config: Config,
    pub(super) clock: Clock,
    pub(super) topics: Arc<Topics>,
    pub(super) groups: Mutex<BTreeMap<String, Arc<Group>>>,
    pub(super) queue: Arc<Queue>,
    pub(super) ephemerals: Arc<Ephemerals>,
    pub(super) orders: Arc<Jobs<Order>>,
    pub(super) source: Source,
    pub(super) size: Arc<AtomicU64>,
    /// Taken when the log closes.
    pub(super) threads: tokio::sync::Mutex<Option<Threads>>,
}

pub(super) struct Threads {
    pub(super) committer: Vec<JoinHandle<()>>,
    pub(super) others: Vec<JoinHandle<()>>,
    pub(super) lock: File,
}

/// How far a group is behind on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    pub topic: Arc<str>,
    pub partition: Partition,
    pub committed: Offset,
    /// Records between the committed offset and the tail.
    pub records: u64,
}

impl EmbeddedLog {
    /// How full the log is, 0 to 1: the larger share of its queue's and its disk's bound. What begins work (requests)
    /// stops at 0.9, so that what ends work (results, timers, cancels) still has room.
    pub fn pressure(&self) -> f32 {
        let queue = self.queue.bytes() as f32 / self.queue.bytes_max() as f32;
        let disk = self.config.disk_bytes_max.map_or(0.0, |max| self.size_bytes() as f32 / max as f32);
        queue.max(disk)
    }

    /// Bytes on disk.
    pub fn size_bytes(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// How far a group is behind, for each partition that it committed.
    pub fn lag(&self, group: &str) -> Vec<Lag> {
        let positions = self.find_group(group).map(|group| group.positions()).unwrap_or_default();
        let lag = |((topic, partition), committed): ((Arc<str>, Partition), Offset)| {
            let end = self.topics.partition(&topic, partition).ok()?.end();
            Some(Lag { topic, partition, committed, records: end.saturating_sub(committed) })
        };
        positions.into_iter().filter_map(lag).collect()
    }

    /// Resolves when the log has failed for good, with the reason; never before. The process should end then.
    pub async fn failed(&self) -> LogError {
        self.source.status.failed().await
    }

    /// Removes what is past its retention now, rather than at the next regular time.
    pub async fn enforce_retention(&self) {
        let (done, enforced) = oneshot::channel();
        self.queue.enforce_retention(done);
        // A closed log has nothing to remove.
        let _ = enforced.await;
    }

    fn take(&self, topic: &str, partition: Partition, record: Record) -> Result<Taken, Untaken> {
        let limit = self.config.record_bytes_max;
        let bytes = record.size();
        if bytes > limit {
            return Err(Untaken::new(LogError::RecordTooLarge { bytes, limit }, names::REASON_TOO_LARGE));
        }
        self.source.status.check().map_err(|error| Untaken::new(error, names::REASON_ENDED))?;
        let log = self.topics.partition(topic, partition).map_err(|error| Untaken { error, refusal: None })?;
        if let Class::Ephemeral { .. } = log.class {
            let offset = self.ephemerals.append(&log, (self.clock)(), record);
            let taken = offset.map(|offset| Taken::Now(Appended { partition, offset }));
            let reason = || "the next block of offsets is being reserved".to_owned();
            return taken.ok_or_else(|| Untaken::new(LogError::Unavailable { reason: reason() }, names::REASON_FULL));
        }
        let (ack, acked) = oneshot::channel();
        match self.queue.push(log, record, Some(ack), || (self.clock)()) {
            Ok(()) => Ok(Taken::Later(acked)),
            Err(Refused::Closed) => Err(Untaken::new(LogError::Closed, names::REASON_ENDED)),
            Err(Refused::Full(refusal)) => {
                let bytes_max = self.queue.bytes_max();
                let reason = format!("the log's queue is full: {bytes_max} bytes wait for the disk");
                let mut untaken = Untaken::new(LogError::Unavailable { reason }, names::REASON_FULL);
                untaken.refusal = Some(refusal);
                Err(untaken)
            }
        }
    }

    fn find_group(&self, name: &str) -> Option<Arc<Group>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(Arc::clone)
    }

    fn group(&self, name: &str) -> Arc<Group> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(groups.entry(name.to_owned()).or_insert_with(|| Arc::new(Group::new(name))))
    }
}

impl Threads {
    /// Ends the threads one after another: what was taken is acked before readers hear of the end.
    fn end(self, queue: &Queue, orders: &Jobs<Order>, source: &Source) {
        let join = |handles: Vec<JoinHandle<()>>| {
            for handle in handles {
                // Its panic was reported as the log's failure.
                let _ = handle.join();
            }
        };
        queue.close();
        join(self.committer);
        source.status.close();
        orders.close();
        source.reads.close();
        join(self.others);
        drop(self.lock);
    }
}

enum Taken {
    Now(Appended),
    Later(oneshot::Receiver<Result<Appended, LogError>>),
}

struct Untaken {
    error: LogError,
    refusal: Option<Refusal>,
}

impl Untaken {
    fn new(error: LogError, reason: &'static str) -> Self {
        metrics::counter!(names::APPENDS_REFUSED, "reason" => reason).increment(1);
        Untaken { error, refusal: None }
    }
}

#[async_trait]
impl EventLog for EmbeddedLog {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        self.source.status.check()?;
        let (reply, created) = oneshot::channel();
        if !self.orders.push(Order::Create { specs: topics.to_vec(), reply }) {
            return Err(LogError::Closed);
        }
        created.await.unwrap_or(Err(LogError::Closed))
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.source.status.check()?;
        Ok(self.topics.get(topic)?.partitions.len() as u32)
    }

    /// Where the queue is full the record is refused as unavailable, and so is what follows it in that partition until
    /// the ack that says so was polled or dropped: nothing is taken behind a refusal that its caller has not seen.
    fn append(&self, topic: &str, partition: Partition, record: Record) -> Ack {
        match self.take(topic, partition, record) {
            Ok(Taken::Now(appended)) => Box::pin(ready(Ok(appended))),
            Ok(Taken::Later(acked)) => {
                let status = Arc::clone(&self.source.status);
                Box::pin(async move {
                    acked.await.unwrap_or_else(|_| Err(status.check().err().unwrap_or(LogError::Closed)))
                })
            }
            Err(Untaken { error, refusal }) => Box::pin(async move {
                drop(refusal);
                Err(error)
            }),
        }
    }

    fn append_lossy(&self, topic: &str, partition: Partition, record: Record) -> bool {
        self.take(topic, partition, record).is_ok()
    }

    async fn bounds(&self, topic: &str, partition: Partition) -> Result<(Offset, Offset), LogError> {
        self.source.status.check()?;
        Ok(self.topics.partition(topic, partition)?.bounds())
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, LogError> {
        self.source.status.check()?;
        let topics = subscription.topics.iter().map(|topic| self.topics.get(topic)).collect::<Result<Vec<_>, _>>()?;
        let group = self.group(&subscription.group);
        let wake = self.source.status.waker();
        let id = group.join(topics, Arc::clone(&wake));
        Ok(Box::new(GroupMember {
            group,
            id,
            wake,
            source: self.source.clone(),
            meta: Arc::clone(&self.orders),
            topics: Arc::clone(&self.topics),
            prefetch_bytes_max: subscription.prefetch_bytes_max,
            owned: Vec::new(),
            turn: 0,
        }))
    }

    /// A reader of an ephemeral topic that falls behind what memory keeps goes on at the oldest that is kept; of any
    /// other topic it is told [`LogError::OutOfRange`].
    async fn read(&self, topic: &str, partition: Partition, start: Start) -> Result<Box<dyn Reader>, LogError> {
        self.source.status.check()?;
        let log = self.topics.partition(topic, partition)?;
        Ok(Box::new(PartitionReader::open(log, start, self.source.clone())?))
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: Partition,
    ) -> Result<Option<(Offset, String)>, LogError> {
        self.source.status.check()?;
        let topic = self.topics.get(topic)?;
        topic.partition(partition)?;
        Ok(self.find_group(group).and_then(|group| group.committed(&topic.name, partition)))
    }

    fn record_bytes_max(&self) -> usize {
        self.config.record_bytes_max
    }

    async fn close(&self) {
        // Held until the threads have ended, so that a second caller returns no earlier than the first.
        let mut threads = self.threads.lock().await;
        if let Some(threads) = threads.take() {
            let (queue, orders) = (Arc::clone(&self.queue), Arc::clone(&self.orders));
            let source = self.source.clone();
            // A panic in there leaves nothing to do.
            let _ = tokio::task::spawn_blocking(move || threads.end(&queue, &orders, &source)).await;
        }
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.get_mut().take() {
            threads.end(&self.queue, &self.orders, &self.source);
        }
    }
}
