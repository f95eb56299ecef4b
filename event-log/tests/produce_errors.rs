//! What a broker may answer to produce requests, by librdkafka's mock broker: like a real one that has no state of a
//! producer, it takes a batch whatever its sequence number.

use std::time::Duration;

use event_log::{
    Ack, EventLog, Record, Start,
    kafka::{Config, KafkaLog},
};
use rdkafka::{
    mocking::MockCluster,
    producer::DefaultProducerContext,
    types::{RDKafkaApiKey, RDKafkaRespErr},
};

const TOPIC: &str = "runs";
/// Long enough for two appends to be under way as requests of their own.
const ROUND_TRIP: Duration = Duration::from_millis(200);

struct Broker(MockCluster<'static, DefaultProducerContext>);

impl Broker {
    async fn start() -> (Broker, KafkaLog) {
        let cluster = MockCluster::new(1).expect("a mock cluster");
        cluster.create_topic(TOPIC, 2, 1).expect("a topic");
        let log = KafkaLog::connect(Config::new(cluster.bootstrap_servers())).await.expect("the broker answers");
        // An id for the producer, too.
        log.append(TOPIC, 1, Record::new("key", "before")).await.expect("an ack");
        cluster.broker_round_trip_time(1, ROUND_TRIP).expect("a slow broker");
        (Broker(cluster), log)
    }

    /// The next produce request is refused as by a broker that has just ceased to lead, or doesn't lead yet.
    fn refuse_next(&self) {
        self.0.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
    }
}

/// Appends one by one, so far apart that each is a request of its own, and all before the first is answered.
async fn append(log: &KafkaLog, texts: &[&str]) -> Vec<Result<u64, String>> {
    let mut acks: Vec<Ack> = Vec::new();
    for text in texts {
        acks.push(log.append(TOPIC, 0, Record::new("key", text.to_string())));
        tokio::time::sleep(ROUND_TRIP / 10).await;
    }
    let mut offsets = Vec::new();
    for ack in acks {
        let acked = tokio::time::timeout(Duration::from_secs(20), ack).await.expect("an answer");
        offsets.push(acked.map(|appended| appended.offset).map_err(|error| error.to_string()));
    }
    offsets
}

async fn texts(log: &KafkaLog, count: usize) -> Vec<String> {
    let mut reader = log.read(TOPIC, 0, Start::Earliest).await.expect("a reader");
    let mut texts = Vec::new();
    while texts.len() < count {
        let records = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("records");
        let payload = |fetched: event_log::Fetched| String::from_utf8_lossy(&fetched.record.payload).into_owned();
        texts.extend(records.expect("records").into_iter().map(payload));
    }
    texts
}

/// The broker refuses the first record of a partition and would take the second. librdkafka holds the first for
/// persisted then, and acks it: it would be lost.
#[tokio::test]
async fn what_follows_a_refused_first_append_waits_for_it() {
    let (broker, log) = Broker::start().await;
    broker.refuse_next();
    assert_eq!(append(&log, &["first", "second", "third"]).await, [Ok(0), Ok(1), Ok(2)]);
    assert_eq!(texts(&log, 3).await, ["first", "second", "third"]);
    log.close().await;
}

/// No offset with an ack: librdkafka supposes that the record was written. The log does not.
#[tokio::test]
async fn an_ack_without_an_offset_is_none() {
    let (broker, log) = Broker::start().await;
    assert_eq!(append(&log, &["first"]).await, [Ok(0)]);
    broker.refuse_next();
    let answers = append(&log, &["second", "third"]).await;
    assert!(
        answers[0].as_ref().is_err_and(|error| error.contains("never acked") && error.contains("restart")),
        "{answers:?}"
    );
    let refused = append(&log, &["fourth"]).await;
    assert!(refused[0].is_err(), "{refused:?}");
    log.close().await;
}
