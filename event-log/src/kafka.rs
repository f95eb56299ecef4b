//! The log on Apache Kafka, through librdkafka.
//!
//! One producer for records and one for ephemeral ones; one thread that polls for each member of a group; one that
//! reads for all readers. Nothing in here waits for Kafka on a thread of the caller's runtime.

mod answers;
mod config;
mod context;
mod fetch;
mod member;
mod member_thread;
mod producer;
mod reader;
mod reader_thread;
mod topics;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use config::{Config, OutOfRange};

use crate::{
    Ack, Consumer, EventLog, LogError, Offset, Partition, Reader, Record, Start, Subscription, TopicSpec,
    kafka::{
        answers::Answers,
        member::Member,
        producer::{LossyProducer, RecordProducer},
        reader::Readers,
        topics::Topics,
    },
    metrics as names,
};

/// How long [`KafkaLog::close`] waits for acks before it gives up those that are still open.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// A log whose partitions are Kafka's.
pub struct KafkaLog {
    config: Config,
    answers: Arc<Answers>,
    topics: Arc<Topics>,
    records: Arc<RecordProducer>,
    lossy: LossyProducer,
    readers: Readers,
    /// Cancelled when the log closes.
    closing: CancellationToken,
    /// Counts the members' and readers' threads.
    threads: TaskTracker,
}

impl KafkaLog {
    /// Returns when a broker has answered, else says why none did.
    pub async fn connect(config: Config) -> Result<KafkaLog, LogError> {
        config.check()?;
        let answers = Arc::new(Answers::new(&config)?);
        answers.wait_for_broker(config.connect_timeout).await?;
        let topics = Arc::new(Topics::new(Arc::clone(&answers)));
        let (closing, threads) = (CancellationToken::new(), TaskTracker::new());
        Ok(KafkaLog {
            records: Arc::new(RecordProducer::start(&config)?),
            lossy: LossyProducer::start(&config)?,
            readers: Readers::new(config.clone(), Arc::clone(&answers), closing.clone(), threads.clone()),
            config,
            answers,
            topics,
            closing,
            threads,
        })
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        self.topics.create(&self.config, topics).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.topics.partitions(topic).await
    }

    fn append(&self, topic: &str, partition: Partition, record: Record) -> Ack {
        if self.closing.is_cancelled() {
            return producer::refused(LogError::Closed);
        }
        let (bytes, limit) = (record.size(), self.config.record_bytes_max);
        if bytes > limit {
            metrics::counter!(names::APPENDS_REFUSED, "reason" => names::REASON_TOO_LARGE).increment(1);
            return producer::refused(LogError::RecordTooLarge { bytes, limit });
        }
        let Some(known) = self.topics.known(topic) else {
            return self.topics.append_when_known(&self.records, topic, partition, record);
        };
        match known.require(partition) {
            Ok(()) => self.records.append(&known, partition, &record),
            Err(error) => producer::refused(error),
        }
    }

    fn append_lossy(&self, topic: &str, partition: Partition, record: Record) -> bool {
        if self.closing.is_cancelled() || record.size() > self.config.record_bytes_max {
            return false;
        }
        match self.topics.known(topic) {
            Some(known) => partition < known.partitions() && self.lossy.append(topic, partition, &record),
            None => {
                self.topics.get_to_know(&self.records, topic);
                false
            }
        }
    }

    async fn bounds(&self, topic: &str, partition: Partition) -> Result<(Offset, Offset), LogError> {
        self.topics.require(topic, partition).await?;
        self.answers.bounds(topic, partition).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, LogError> {
        self.refuse_when_closed()?;
        for topic in &subscription.topics {
            self.topics.partitions(topic).await?;
        }
        let member = Member::join(&self.config, subscription, self.closing.clone(), self.threads.clone()).await?;
        Ok(Box::new(member))
    }

    async fn read(&self, topic: &str, partition: Partition, start: Start) -> Result<Box<dyn Reader>, LogError> {
        self.refuse_when_closed()?;
        self.topics.require(topic, partition).await?;
        Ok(Box::new(self.readers.read(topic, partition, start).await?))
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: Partition,
    ) -> Result<Option<(Offset, String)>, LogError> {
        self.topics.require(topic, partition).await?;
        self.answers.committed(&self.config, group, topic, partition).await
    }

    fn record_bytes_max(&self) -> usize {
        self.config.record_bytes_max
    }

    async fn close(&self) {
        self.closing.cancel();
        self.threads.close();
        let drained = async {
            self.records.drained().await;
            self.threads.wait().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, drained).await.is_err() {
            tracing::warn!(kafka.brokers = %self.config.brokers, "kafka did not ack everything before the log closed");
        }
        self.lossy.stop();
        self.records.stop();
    }
}

impl KafkaLog {
    /// How full the queue of records is that Kafka has not acked: from 0 to 1.
    pub fn pressure(&self) -> f64 {
        self.records.queued_bytes() as f64 / self.config.queue_bytes_max.max(1) as f64
    }

    fn refuse_when_closed(&self) -> Result<(), LogError> {
        if self.closing.is_cancelled() { Err(LogError::Closed) } else { Ok(()) }
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.closing.cancel();
        self.lossy.stop();
        self.records.stop();
    }
}
