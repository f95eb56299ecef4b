//! Questions to Kafka that block the thread that asks: they are asked on threads for that.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    admin::AdminClient,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::time::Instant;

use super::{config::Config, context::Context};
use crate::{LogError, Offset, Partition};

/// How long one question may take.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Events looked at before an error is reported.
const EVENTS_MAX: usize = 32;

pub(super) struct Answers {
    client: Arc<BaseConsumer<Context>>,
    pub admin: AdminClient<Context>,
}

impl Answers {
    pub fn new(config: &Config) -> Result<Self, LogError> {
        let client =
            BaseConsumer::from_config_and_context(&config.asking(), Context::default()).map_err(misconfigured)?;
        let admin =
            AdminClient::from_config_and_context(&config.asking(), Context::default()).map_err(misconfigured)?;
        Ok(Answers { client: Arc::new(client), admin })
    }

    /// Returns when any broker has answered.
    pub async fn wait_for_broker(&self, within: Duration) -> Result<(), LogError> {
        let deadline = Instant::now() + within;
        loop {
            // A topic that nobody has: the answer is small, however many there are.
            let asked =
                self.ask(|client| client.fetch_metadata(Some("millstream-probe"), FIRST_ANSWER_TIMEOUT).map(|_| ()));
            match asked.await? {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => return Err(self.unavailable("answer", &error)),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The number of partitions, each of which has a leader; `None` where there is no such topic or one lacks its
    /// leader.
    pub async fn led_partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        let name = topic.to_string();
        let asked = self.ask(move |client| {
            let metadata = client.fetch_metadata(Some(&name), ANSWER_TIMEOUT)?;
            let topic = metadata.topics().iter().find(|topic| topic.name() == name);
            Ok(topic.filter(|topic| topic.error().is_none()).and_then(|topic| {
                let led = topic.partitions().iter().all(|part| part.leader() >= 0 && part.error().is_none());
                (led && !topic.partitions().is_empty()).then_some(topic.partitions().len() as u32)
            }))
        });
        asked.await?.map_err(|error| self.unavailable("describe a topic", &error))
    }

    pub async fn bounds(&self, topic: &str, partition: Partition) -> Result<(Offset, Offset), LogError> {
        let name = topic.to_string();
        let asked = self.ask(move |client| watermarks(client, &name, partition as i32));
        asked.await?.map_err(|error| self.unavailable("give the bounds of a partition", &error))
    }

    /// Asked by a client of its own: the group is a client's, not a question's.
    pub async fn committed(
        &self,
        config: &Config,
        group: &str,
        topic: &str,
        partition: Partition,
    ) -> Result<Option<(Offset, String)>, LogError> {
        let (settings, topic) = (config.asking_group(group), topic.to_string());
        let asked = blocking(move || {
            let client: BaseConsumer<Context> =
                BaseConsumer::from_config_and_context(&settings, Context::default()).map_err(misconfigured)?;
            let mut partitions = TopicPartitionList::new();
            partitions.add_partition(&topic, partition as i32);
            let found = committed(&client, partitions)
                .map_err(|error| client.context().unavailable("give a group's offsets", &error))?;
            Ok(found.into_iter().next().and_then(|found| found.committed))
        });
        asked.await?
    }

    pub fn unavailable(&self, doing: &str, error: &KafkaError) -> LogError {
        // Troubles of connections arrive as events, and nobody else polls this client.
        for _ in 0..EVENTS_MAX {
            self.client.poll(Duration::ZERO);
        }
        self.client.context().unavailable(doing, error)
    }

    async fn ask<T, F>(&self, question: F) -> Result<T, LogError>
    where
        T: Send + 'static,
        F: FnOnce(&BaseConsumer<Context>) -> T + Send + 'static,
    {
        let client = Arc::clone(&self.client);
        blocking(move || question(&client)).await
    }
}

/// A partition and what its group committed.
pub(super) struct Committed {
    pub topic: String,
    pub partition: i32,
    pub committed: Option<(Offset, String)>,
}

/// Blocks until Kafka answers.
pub(super) fn committed(
    client: &BaseConsumer<Context>,
    partitions: TopicPartitionList,
) -> Result<Vec<Committed>, KafkaError> {
    let found = client.committed_offsets(partitions, ANSWER_TIMEOUT)?;
    let mut committed = Vec::with_capacity(found.count());
    for part in found.elements() {
        part.error()?;
        committed.push(Committed {
            topic: part.topic().to_string(),
            partition: part.partition(),
            committed: match part.offset() {
                KafkaOffset::Offset(offset) => Some((offset as u64, part.metadata().to_string())),
                _ => None,
            },
        });
    }
    Ok(committed)
}

/// The oldest offset kept and the next one to be written. Blocks until Kafka answers.
pub(super) fn watermarks(
    client: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
) -> Result<(Offset, Offset), KafkaError> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        match client.fetch_watermarks(topic, partition, ANSWER_TIMEOUT) {
            Ok((low, high)) => return Ok((low.max(0) as u64, high.max(0) as u64)),
            // A leader moves: the next answer is another broker's.
            Err(error) if is_passing(&error) && Instant::now() < deadline => {
                std::thread::park_timeout(Duration::from_millis(50));
            }
            Err(error) => return Err(error),
        }
    }
}

pub(super) fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::NotCoordinator
                | Code::CoordinatorNotAvailable
                | Code::CoordinatorLoadInProgress
                | Code::StaleMemberEpoch
                | Code::UnstableOffsetCommit
                | Code::BrokerTransportFailure
                | Code::UnknownPartition
        )
    )
}

/// Settings that librdkafka refuses, or a client that it can't make.
pub(super) fn misconfigured(error: KafkaError) -> LogError {
    LogError::Misconfigured { reason: format!("a setting under [log] is wrong: {error}") }
}

pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, LogError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| LogError::Unavailable { reason: format!("a question to kafka was broken off: {error}") })
}
