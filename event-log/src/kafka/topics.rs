//! Topics: which exist, with how many partitions, and how those of each class are made.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    admin::{AdminOptions, NewTopic, TopicReplication},
    error::RDKafkaErrorCode,
};
use tokio::time::Instant;

use super::{
    answers::Answers,
    config::Config,
    producer::{self, Line, RecordProducer},
};
use crate::{Ack, Class, LogError, Partition, Record, TopicSpec};

const LEADERS_TIMEOUT: Duration = Duration::from_secs(30);
const LEADERS_POLL: Duration = Duration::from_millis(25);

/// Records that wait for a topic to be described: a question's time long.
const WAITING_RECORDS_MAX: usize = 65_536;

/// Retention takes whole segments, so a segment lasts for a part of the retention, within these.
const SEGMENT_MS_MIN: u64 = 10_000;
const SEGMENT_MS_MAX: u64 = 24 * 3600 * 1000;
/// The segment that is written to is never compacted, and who starts reads all of it.
const COMPACTED_SEGMENT_BYTES: u64 = 16 << 20;

pub(super) struct Topics {
    answers: Arc<Answers>,
    known: RwLock<BTreeMap<Arc<str>, Arc<Topic>>>,
    /// Records for topics that are being asked for, in the order of their appends.
    waiting: Mutex<BTreeMap<Arc<str>, Vec<Waiting>>>,
}

/// A topic that exists.
pub(super) struct Topic {
    pub name: Arc<str>,
    appends: Vec<Appends>,
}

/// The appends of this process to a partition.
#[derive(Default)]
struct Appends {
    /// How many were refused whose callers have not seen it yet.
    unseen_refusals: AtomicUsize,
    line: Mutex<Line>,
}

/// An append that was refused: until its caller sees that, nothing is taken behind it.
pub(super) struct Refusal {
    topic: Arc<Topic>,
    partition: Partition,
}

impl Topic {
    pub fn partitions(&self) -> u32 {
        self.appends.len() as u32
    }

    /// Fails where there is no such partition.
    pub fn require(&self, partition: Partition) -> Result<(), LogError> {
        let partitions = self.partitions();
        if partition < partitions {
            return Ok(());
        }
        Err(LogError::UnknownPartition { topic: self.name.to_string(), partition, partitions })
    }

    /// Held while a record is sent, so that none overtakes another.
    pub fn line(&self, partition: Partition) -> MutexGuard<'_, Line> {
        self.appends[partition as usize].line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn refuses(&self, partition: Partition) -> bool {
        self.appends[partition as usize].unseen_refusals.load(Ordering::Acquire) > 0
    }

    pub fn refuse(self: &Arc<Self>, partition: Partition) -> Refusal {
        self.appends[partition as usize].unseen_refusals.fetch_add(1, Ordering::AcqRel);
        Refusal { topic: Arc::clone(self), partition }
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        self.topic.appends[self.partition as usize].unseen_refusals.fetch_sub(1, Ordering::AcqRel);
    }
}

struct Waiting {
    partition: Partition,
    record: Record,
    ack: producer::AckSender,
}

impl Topics {
    pub fn new(answers: Arc<Answers>) -> Self {
        Topics { answers, known: RwLock::default(), waiting: Mutex::default() }
    }

    pub fn known(&self, topic: &str) -> Option<Arc<Topic>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(topic).map(Arc::clone)
    }

    pub async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        if let Some(known) = self.known(topic) {
            return Ok(known.partitions());
        }
        match self.answers.led_partitions(topic).await? {
            Some(partitions) => Ok(self.learn(topic, partitions)),
            None => Err(LogError::UnknownTopic { topic: topic.to_string() }),
        }
    }

    /// Fails where there is no such partition.
    pub async fn require(&self, topic: &str, partition: Partition) -> Result<(), LogError> {
        let partitions = self.partitions(topic).await?;
        if partition < partitions {
            return Ok(());
        }
        Err(LogError::UnknownPartition { topic: topic.to_string(), partition, partitions })
    }

    pub async fn create(&self, config: &Config, topics: &[TopicSpec]) -> Result<(), LogError> {
        let settings: Vec<_> = topics.iter().map(|topic| settings(config, topic)).collect();
        let wanted: Vec<NewTopic<'_>> =
            topics.iter().zip(&settings).map(|(topic, set)| wanted(config, topic, set)).collect();
        let options = AdminOptions::new().operation_timeout(Some(LEADERS_TIMEOUT));
        let made = self.answers.admin.create_topics(&wanted, &options).await;
        let made = made.map_err(|error| self.answers.unavailable("make topics", &error))?;
        for result in made {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((topic, code)) => {
                    return Err(LogError::Unavailable { reason: format!("kafka did not make topic {topic}: {code}") });
                }
            }
        }
        let deadline = Instant::now() + LEADERS_TIMEOUT;
        for topic in topics {
            self.wait_for_leaders(topic, deadline).await?;
        }
        Ok(())
    }

    /// Appends once the topic's partitions are known: asks for them, and keeps what is appended meanwhile in order.
    /// Without it a broker that makes topics by itself would make this one with a number of partitions of its own.
    pub fn append_when_known(
        self: &Arc<Self>,
        records: &Arc<RecordProducer>,
        topic: &str,
        partition: Partition,
        record: Record,
    ) -> Ack {
        let (ack, future) = producer::ack();
        let mut waiting = self.waiting();
        if let Some(known) = self.known(topic) {
            // It became known while this waited for the lock: whoever waited before is in the producer's queue.
            drop(waiting);
            send(records, &known, Waiting { partition, record, ack });
            return future;
        }
        let asked = waiting.contains_key(topic);
        let line = waiting.entry(topic.into()).or_default();
        if line.len() >= WAITING_RECORDS_MAX {
            let reason = format!("{WAITING_RECORDS_MAX} records wait for kafka to describe topic {topic}");
            return producer::refused(LogError::Unavailable { reason });
        }
        line.push(Waiting { partition, record, ack });
        if !asked {
            self.ask_for(topic.into(), Arc::clone(records));
        }
        future
    }

    /// Asks for a topic, unless that is under way.
    pub fn get_to_know(self: &Arc<Self>, records: &Arc<RecordProducer>, topic: &str) {
        let mut waiting = self.waiting();
        if self.known(topic).is_none() && !waiting.contains_key(topic) {
            waiting.insert(topic.into(), Vec::new());
            self.ask_for(topic.into(), Arc::clone(records));
        }
    }

    fn ask_for(self: &Arc<Self>, topic: Arc<str>, records: Arc<RecordProducer>) {
        let topics = Arc::clone(self);
        // Not a task of the caller's runtime: an append must go through though that runtime ends.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            let answer = match runtime {
                Ok(runtime) => runtime.block_on(topics.answers.led_partitions(&topic)),
                Err(error) => Err(LogError::Unavailable { reason: format!("no runtime to ask kafka with: {error}") }),
            };
            let mut waiting = topics.waiting();
            let line = waiting.remove(&topic).unwrap_or_default();
            match answer {
                Ok(Some(partitions)) => {
                    let known = new_topic(&topic, partitions);
                    line.into_iter().for_each(|one| send(&records, &known, one));
                    // Known only now, and under the lock: an append that sees it comes after those that waited.
                    topics.known.write().unwrap_or_else(PoisonError::into_inner).insert(topic, known);
                }
                Ok(None) => {
                    line.into_iter().for_each(|one| one.ack.fail(LogError::UnknownTopic { topic: topic.to_string() }))
                }
                Err(error) => {
                    let reason = error.to_string();
                    line.into_iter().for_each(|one| one.ack.fail(LogError::Unavailable { reason: reason.clone() }));
                }
            }
        });
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Vec<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait_for_leaders(&self, topic: &TopicSpec, deadline: Instant) -> Result<(), LogError> {
        loop {
            match self.answers.led_partitions(&topic.name).await? {
                Some(partitions) if partitions == topic.partitions => {
                    self.learn(&topic.name, partitions);
                    return Ok(());
                }
                Some(partitions) => {
                    return Err(LogError::UnknownPartition {
                        topic: topic.name.clone(),
                        partition: topic.partitions.max(partitions + 1) - 1,
                        partitions,
                    });
                }
                None if Instant::now() >= deadline => {
                    let reason = format!("partitions of topic {} have no leader yet", topic.name);
                    return Err(LogError::Unavailable { reason });
                }
                None => tokio::time::sleep(LEADERS_POLL).await,
            }
        }
    }

    /// A topic that records wait for stays unknown until they are sent, or later ones would overtake them.
    fn learn(&self, topic: &str, partitions: u32) -> u32 {
        let waiting = self.waiting();
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // One that is known keeps its lines.
        let is_new = known.get(topic).is_none_or(|known| known.partitions() != partitions);
        if is_new && !waiting.contains_key(topic) {
            known.insert(topic.into(), new_topic(topic, partitions));
        }
        partitions
    }
}

fn new_topic(name: &str, partitions: u32) -> Arc<Topic> {
    let appends = (0..partitions).map(|_| Appends::default()).collect();
    Arc::new(Topic { name: name.into(), appends })
}

fn send(records: &RecordProducer, known: &Arc<Topic>, waiting: Waiting) {
    let Waiting { partition, record, ack } = waiting;
    match known.require(partition) {
        Ok(()) => records.send(known, partition, &record, ack),
        Err(error) => ack.fail(error),
    }
}

fn wanted<'a>(config: &Config, topic: &'a TopicSpec, settings: &'a [(&'static str, String)]) -> NewTopic<'a> {
    // -1 asks for the broker's default.
    let replication = TopicReplication::Fixed(config.replication.map_or(-1, |copies| copies as i32));
    let new = NewTopic::new(&topic.name, topic.partitions as i32, replication);
    settings.iter().fold(new, |new, (name, value)| new.set(name, value))
}

fn settings(config: &Config, topic: &TopicSpec) -> Vec<(&'static str, String)> {
    let mut settings = vec![
        ("max.message.bytes", (2 * config.batch_bytes_max()).to_string()),
        ("message.timestamp.type", "LogAppendTime".to_string()),
    ];
    match topic.class {
        Class::Durable { retention_ms } | Class::Ephemeral { retention_ms } => {
            settings.push(("cleanup.policy", "delete".into()));
            settings.push(("retention.ms", retention_ms.to_string()));
            settings.push(("segment.ms", (retention_ms / 4).clamp(SEGMENT_MS_MIN, SEGMENT_MS_MAX).to_string()));
        }
        Class::Compacted => {
            settings.push(("cleanup.policy", "compact".into()));
            settings.push(("segment.bytes", COMPACTED_SEGMENT_BYTES.to_string()));
            settings.push(("min.cleanable.dirty.ratio", "0.1".into()));
        }
    }
    if let Some(in_sync) = config.in_sync_min {
        settings.push(("min.insync.replicas", in_sync.to_string()));
    }
    settings
}
