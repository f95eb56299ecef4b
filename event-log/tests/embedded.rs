//! The embedded log keeps the contract.

use std::sync::Arc;

use event_log::{
    Class, EmbeddedLog, EventLog, GroupEvent, Record, Start, Subscription, TopicSpec,
    embedded::{Clock, Config},
};

fn clock() -> Clock {
    Arc::new(|| 1_700_000_000_000)
}

#[tokio::test]
async fn what_was_acked_is_there_when_the_log_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let topic = TopicSpec { name: "runs".into(), partitions: 2, class: Class::Durable { retention_ms: 60_000 } };
    for round in 0..3u64 {
        let log = EmbeddedLog::open(folder.path(), Config::default(), clock()).unwrap();
        log.create_topics(std::slice::from_ref(&topic)).await.unwrap();
        let acks: Vec<_> = (0..10).map(|n| log.append("runs", 1, Record::new("k", format!("{round}-{n}")))).collect();
        for (n, ack) in (0..).zip(acks) {
            assert_eq!(ack.await.unwrap().offset, round * 10 + n);
        }
        let mut reader = log.read("runs", 1, Start::Earliest).await.unwrap();
        let mut read = Vec::new();
        while read.len() < (round as usize + 1) * 10 {
            read.extend(reader.next().await.unwrap());
        }
        assert_eq!(read[0].record.payload, "0-0");

        let subscription = Subscription { group: "g".into(), topics: vec!["runs".into()], prefetch_bytes_max: 1 << 20 };
        let mut consumer = log.subscribe(subscription).await.unwrap();
        let GroupEvent::Assigned(assigned) = consumer.next().await.unwrap() else { panic!("not assigned") };
        assert_eq!(assigned.len(), 2);
        let GroupEvent::Records(records) = consumer.next().await.unwrap() else { panic!("no records") };
        assert_eq!(records[0].record.payload, format!("{round}-0"));
        consumer.commit("runs", 1, (round + 1) * 10, "m").await.unwrap();
        log.close().await;
    }
}
