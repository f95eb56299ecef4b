//! The log on real Kafka, whose address is in MILLSTREAM_TEST_KAFKA (`cargo xtask backends up` gives one).
#![allow(clippy::disallowed_methods, reason = "names have to be new in a broker that other tests use too")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use event_log::{
    Assigned, Class, Consumer, EventLog, GroupEvent, LogError, Record, Start, Subscription, TopicSpec,
    kafka::{Config, KafkaLog},
};

/// A log on the broker of the environment. Without one the test is skipped, except where CI would not notice.
async fn connect() -> Option<KafkaLog> {
    match std::env::var("MILLSTREAM_TEST_KAFKA") {
        Ok(brokers) => Some(KafkaLog::connect(Config::new(brokers)).await.expect("the broker answers")),
        Err(_) if std::env::var("CI").is_ok_and(|ci| ci == "true") => panic!("MILLSTREAM_TEST_KAFKA is not set"),
        Err(_) => {
            println!("skipped: MILLSTREAM_TEST_KAFKA is not set");
            None
        }
    }
}

fn new_name(of: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    format!("{of}-{}", since.as_nanos())
}

async fn make_topic(log: &KafkaLog, partitions: u32) -> String {
    let name = new_name("topic");
    let topic = TopicSpec { name: name.clone(), partitions, class: Class::Durable { retention_ms: 3_600_000 } };
    log.create_topics(&[topic]).await.expect("the topic is made");
    name
}

async fn next(consumer: &mut Box<dyn Consumer>) -> GroupEvent {
    let next = tokio::time::timeout(Duration::from_secs(30), consumer.next()).await;
    next.expect("an event comes within 30 s").expect("the consumer goes on")
}

async fn next_assigned(consumer: &mut Box<dyn Consumer>) -> Vec<Assigned> {
    loop {
        if let GroupEvent::Assigned(assigned) = next(consumer).await {
            return assigned;
        }
    }
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_said_plainly() {
    let mut config = Config::new("127.0.0.1:9");
    config.connect_timeout = Duration::from_millis(100);
    let error = KafkaLog::connect(config).await.err().expect("nothing listens on the discard port").to_string();
    assert!(error.contains("no broker answers") && error.contains("127.0.0.1:9"), "{error}");
}

#[tokio::test]
async fn an_append_to_a_topic_that_is_not_there_does_not_make_it() {
    let Some(log) = connect().await else { return };
    let topic = new_name("nobodys");
    let appended = log.append(&topic, 0, Record::new("key", "value")).await;
    assert!(matches!(appended, Err(LogError::UnknownTopic { .. })), "{appended:?}");
    assert!(matches!(log.partitions(&topic).await, Err(LogError::UnknownTopic { .. })));
    log.close().await;
}

/// Appends before anything is known of the topic wait in line, and none overtakes another.
#[tokio::test]
async fn first_appends_keep_their_order() {
    let Some(maker) = connect().await else { return };
    let topic = make_topic(&maker, 1).await;
    let Some(log) = connect().await else { return };
    let acks: Vec<_> = (0..500).map(|n| log.append(&topic, 0, Record::new("key", n.to_string()))).collect();
    for (n, ack) in acks.into_iter().enumerate() {
        assert_eq!(ack.await.expect("it is acked").offset, n as u64);
    }
    log.close().await;
}

/// librdkafka keeps an own idea of where a paused partition goes on: a seek made meanwhile must win.
#[tokio::test]
async fn a_seek_while_paused_is_kept() {
    let Some(log) = connect().await else { return };
    let topic = make_topic(&log, 1).await;
    let payload = vec![7; 1000];
    let acks: Vec<_> = (0..1000).map(|_| log.append(&topic, 0, Record::new("key", payload.clone()))).collect();
    for ack in acks {
        ack.await.expect("it is acked");
    }
    let subscription =
        Subscription { group: new_name("group"), topics: vec![topic.clone()], prefetch_bytes_max: 64 * 1024 };
    let mut consumer = log.subscribe(subscription).await.expect("the group is joined");
    next_assigned(&mut consumer).await;
    assert!(matches!(next(&mut consumer).await, GroupEvent::Records(_)));
    consumer.pause(&topic, 0).await.expect("it is owned");
    // Long enough for what is prefetched to be held, and fetching to stop.
    let silence = tokio::time::timeout(Duration::from_millis(500), consumer.next()).await;
    assert!(silence.is_err(), "a paused partition gave {silence:?}");
    consumer.seek(&topic, 0, 990).await.expect("it is owned");
    consumer.resume(&topic, 0).await.expect("it is owned");
    let mut offsets = Vec::new();
    while offsets.len() < 10 {
        if let GroupEvent::Records(records) = next(&mut consumer).await {
            offsets.extend(records.iter().map(|fetched| fetched.offset));
        }
    }
    assert_eq!(offsets, (990..1000).collect::<Vec<_>>());
    consumer.leave().await.expect("the group is left");
    log.close().await;
}

/// Two readers of a partition each get all of it, though one client can be assigned a partition only once.
#[tokio::test]
async fn readers_of_one_partition_do_not_disturb_each_other() {
    let Some(log) = connect().await else { return };
    let topic = make_topic(&log, 2).await;
    for n in 0..4 {
        log.append(&topic, 1, Record::new("key", n.to_string())).await.expect("it is acked");
    }
    let mut earliest = log.read(&topic, 1, Start::Earliest).await.expect("it is read");
    let mut late = log.read(&topic, 1, Start::At(3)).await.expect("it is read");
    assert_eq!(late.next().await.expect("there is one")[0].offset, 3);
    assert_eq!(earliest.next().await.expect("there are four")[0].offset, 0);
    drop(late);
    let mut again = log.read(&topic, 1, Start::At(2)).await.expect("it is read");
    assert_eq!(again.next().await.expect("there are two")[0].offset, 2);
    log.close().await;
}
