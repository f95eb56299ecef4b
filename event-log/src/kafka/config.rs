//! How clients of Kafka are set up. Settings that a promise of the log rests on can't be overridden.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::ClientConfig;

use crate::{LogError, Subscription};

/// Settings that this log decides: another value would lose, reorder or stall records.
const RESERVED: &[&str] = &[
    "acks",
    "auto.offset.reset",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "group.id",
    "group.protocol",
    "heartbeat.interval.ms",
    "max.in.flight.requests.per.connection",
    "message.timeout.ms",
    "partition.assignment.strategy",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.required.acks",
    "session.timeout.ms",
    "transactional.id",
];

/// What a batch adds to the records in it; generous.
const BATCH_OVERHEAD_BYTES: usize = 64 * 1024;
/// How long a broker waits for more before it answers a fetch. Short, because a run waits in series.
const FETCH_WAIT_MS: u32 = 5;
/// A member that doesn't release revoked partitions for so long is cut off by the broker.
const REBALANCE_TIMEOUT_MS: u32 = 60_000;
const TOKEN_LINGER_MS: u32 = 20;
/// Ephemeral records older than this are of no use to anyone.
const TOKEN_TIMEOUT_MS: u32 = 10_000;
const TOKEN_QUEUE_KBYTES: u32 = 32 * 1024;
const READER_PREFETCH_BYTES: usize = 16 * 1024 * 1024;

#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// Further settings of librdkafka, such as `security.protocol` and `sasl.*`.
    pub client: BTreeMap<String, String>,
    /// Key, headers and payload of the largest record.
    pub record_bytes_max: usize,
    /// Bytes taken and not yet acked. Over it an append is refused as unavailable; what begins work should stop at
    /// [`super::KafkaLog::pressure`] 0.9, so that what ends work still finds room.
    pub queue_bytes_max: usize,
    /// Copies of each partition of topics that are made here; the broker's default where it isn't given.
    pub replication: Option<u32>,
    /// `min.insync.replicas` of topics that are made here; the broker's default where it isn't given.
    pub in_sync_min: Option<u32>,
    /// What a member does whose position was removed by retention.
    pub out_of_range: OutOfRange,
    /// How long [`super::KafkaLog::connect`] tries to reach a broker.
    pub connect_timeout: Duration,
}

/// What a member does whose position was removed by retention while it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    /// Goes on at the oldest record kept, with a warning in the log of this process.
    StartOver,
    /// Ends with an error.
    Fail,
}

impl Config {
    pub fn new(brokers: impl Into<String>) -> Self {
        Config {
            brokers: brokers.into(),
            client: BTreeMap::new(),
            record_bytes_max: 1024 * 1024,
            queue_bytes_max: 64 * 1024 * 1024,
            replication: None,
            in_sync_min: None,
            out_of_range: OutOfRange::StartOver,
            connect_timeout: Duration::from_secs(10),
        }
    }

    pub(super) fn check(&self) -> Result<(), LogError> {
        match self.client.keys().find(|name| RESERVED.contains(&name.as_str())) {
            Some(name) => Err(LogError::Misconfigured {
                reason: format!("the client setting {name} is decided by millstream; remove it from [log]"),
            }),
            None => Ok(()),
        }
    }

    /// Largest batch that a producer sends, and so the least `max.message.bytes` of a topic.
    pub(super) fn batch_bytes_max(&self) -> usize {
        self.record_bytes_max + BATCH_OVERHEAD_BYTES
    }

    /// For questions about topics, offsets and bounds.
    pub(super) fn asking(&self) -> ClientConfig {
        let mut client = self.base("millstream-ask");
        client.set("allow.auto.create.topics", "false");
        client
    }

    /// For questions in the name of a group that is not joined.
    pub(super) fn asking_group(&self, group: &str) -> ClientConfig {
        let mut client = self.asking();
        client.set("group.id", group).set("enable.auto.commit", "false");
        client
    }

    /// All in order, without holes, for as long as it takes. The queue is bounded before librdkafka's, whose refusal
    /// would leave a hole that the next record fills.
    pub(super) fn producing_records(&self) -> ClientConfig {
        let mut client = self.base("millstream-records");
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("enable.gapless.guarantee", "true")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "0")
            .set("compression.type", "lz4")
            .set("batch.size", self.batch_bytes_max().min(1_000_000).to_string())
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", "2147483647");
        client
    }

    /// Few round trips, in order, and dropped rather than waited for.
    pub(super) fn producing_tokens(&self) -> ClientConfig {
        let mut client = self.base("millstream-tokens");
        client
            .set("acks", "1")
            .set("max.in.flight.requests.per.connection", "1")
            .set("linger.ms", TOKEN_LINGER_MS.to_string())
            .set("compression.type", "lz4")
            .set("message.timeout.ms", TOKEN_TIMEOUT_MS.to_string())
            .set("delivery.report.only.error", "true")
            .set("queue.buffering.max.kbytes", TOKEN_QUEUE_KBYTES.to_string());
        client
    }

    /// A member of a group, under the protocol of KIP-848: its session belongs to the broker.
    pub(super) fn joining(&self, subscription: &Subscription) -> ClientConfig {
        let mut client = self.fetching(subscription.prefetch_bytes_max);
        client
            .set("group.id", &subscription.group)
            .set("group.protocol", "consumer")
            .set("max.poll.interval.ms", REBALANCE_TIMEOUT_MS.to_string())
            .set(
                "auto.offset.reset",
                match self.out_of_range {
                    OutOfRange::StartOver => "earliest",
                    OutOfRange::Fail => "error",
                },
            );
        client
    }

    /// Partitions read outside of any group. librdkafka wants a group's name all the same; it is never joined.
    pub(super) fn reading(&self) -> ClientConfig {
        let mut client = self.fetching(READER_PREFETCH_BYTES);
        client.set("group.id", "millstream-readers").set("auto.offset.reset", "error");
        client
    }

    fn fetching(&self, prefetch_bytes_max: usize) -> ClientConfig {
        let mut client = self.base("millstream-fetch");
        let batch = self.batch_bytes_max();
        let fetch = prefetch_bytes_max.clamp(batch, 64 * 1024 * 1024);
        client
            .set("allow.auto.create.topics", "false")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("fetch.wait.max.ms", FETCH_WAIT_MS.to_string())
            .set("fetch.error.backoff.ms", "100")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.message.max.bytes", batch.to_string())
            .set("fetch.max.bytes", fetch.to_string())
            .set("receive.message.max.bytes", (fetch + 1024 * 1024).to_string())
            .set("queued.min.messages", "10000")
            .set("queued.max.messages.kbytes", (prefetch_bytes_max / 1024).max(1).to_string());
        client
    }

    fn base(&self, client_id: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", client_id)
            .set("message.max.bytes", self.batch_bytes_max().to_string())
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("retry.backoff.ms", "50")
            .set("topic.metadata.refresh.interval.ms", "30000")
            .set("socket.keepalive.enable", "true");
        for (name, value) in &self.client {
            client.set(name, value);
        }
        client
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_a_promise_rests_on_is_refused() {
        let mut config = Config::new("localhost:9092");
        config.client.insert("security.protocol".into(), "ssl".into());
        assert!(config.check().is_ok());
        config.client.insert("acks".into(), "1".into());
        assert!(config.check().unwrap_err().to_string().contains("acks"));
    }
}
