//! What Kafka alone could get wrong.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use event_log::{
    Assigned, Class, Consumer, EventLog, GroupEvent, LogError, Record, Start, Subscription, TopicSpec,
    kafka::{Config, KafkaLog},
};

use crate::broker::{brokers, connect_to, new_name};

async fn connect() -> Option<Arc<KafkaLog>> {
    let Some(brokers) = brokers() else {
        println!("skipped: MILLSTREAM_TEST_KAFKA is not set");
        return None;
    };
    Some(connect_to(brokers).await)
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

/// What the log has no room for is refused, and so is all that its caller sends behind it before it knows.
#[tokio::test]
async fn a_full_queue_leaves_no_hole() {
    let Some(brokers) = brokers() else { return drop(connect().await) };
    let mut config = Config::new(brokers);
    config.queue_bytes_max = 40 * 1000;
    let log = KafkaLog::connect(config).await.expect("the broker answers");
    let topic = make_topic(&log, 1).await;
    let acks: Vec<_> = (0..200).map(|_| log.append(&topic, 0, Record::new("", vec![7; 1000]))).collect();
    let mut taken = Vec::new();
    for ack in acks {
        taken.push(ack.await.is_ok());
    }
    let first_refused = taken.iter().position(|taken| !taken).expect("200 KB don't fit into 40");
    assert!(first_refused >= 40 && !taken[first_refused..].contains(&true), "{taken:?}");
    let next = log.append(&topic, 0, Record::new("", "there is room again")).await.expect("all were seen");
    assert_eq!(next.offset, first_refused as u64);
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

/// A process that stood still longer than its session is no owner any more: what it commits when it wakes is refused,
/// and its successor's position stands.
#[tokio::test]
async fn a_commit_after_a_standstill_is_refused() {
    if let Ok(names) = std::env::var(SLEEPER) {
        return sleep(&names).await;
    }
    let Some(log) = connect().await else { return };
    let topic = make_topic(&log, 1).await;
    let group = new_name("group");
    let (mut sleeper, mut says) = start_sleeper(&topic, &group);
    assert_eq!(says.next().expect("a line").expect("readable"), "assigned");
    signal(&sleeper, "STOP");
    let subscription = Subscription { group: group.clone(), topics: vec![topic.clone()], prefetch_bytes_max: 1 << 20 };
    let mut successor = log.subscribe(subscription).await.expect("the group is joined");
    next_assigned(&mut successor).await;
    successor.commit(&topic, 0, 5, "the successor's").await.expect("it is the owner");
    signal(&sleeper, "CONT");
    writeln!(sleeper.stdin.as_mut().expect("it is piped"), "commit").expect("the sleeper listens");
    assert_eq!(says.next().expect("a line").expect("readable"), "stale");
    let committed = log.committed(&group, &topic, 0).await.expect("it is known");
    assert_eq!(committed, Some((5, "the successor's".to_string())));
    sleeper.kill().expect("it runs");
    sleeper.wait().expect("it ends");
    log.close().await;
}

const SLEEPER: &str = "MILLSTREAM_TEST_SLEEPER";

/// The same test again, as a process of its own that takes the sleeper's part.
fn start_sleeper(topic: &str, group: &str) -> (Child, impl Iterator<Item = std::io::Result<String>>) {
    let myself = std::env::current_exe().expect("this test has a file");
    let mut child = Command::new(myself)
        .args(["--exact", "promises::a_commit_after_a_standstill_is_refused", "--nocapture"])
        .env(SLEEPER, format!("{topic} {group}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let said = output.lines().filter_map(|line| match line {
        Ok(line) => line.strip_prefix("sleeper: ").map(|said| Ok(said.to_string())),
        Err(error) => Some(Err(error)),
    });
    (child, said)
}

async fn sleep(names: &str) {
    let (topic, group) = names.split_once(' ').expect("two names");
    let Some(log) = connect().await else { return };
    let subscription =
        Subscription { group: group.to_string(), topics: vec![topic.to_string()], prefetch_bytes_max: 1 << 20 };
    let mut consumer = log.subscribe(subscription).await.expect("the group is joined");
    next_assigned(&mut consumer).await;
    println!("\nsleeper: assigned");
    // Nothing awaits here: the member hears of nothing until it has tried to commit.
    std::io::stdin().read_line(&mut String::new()).expect("a line");
    match consumer.commit(topic, 0, 2, "the sleeper's").await {
        Err(LogError::StaleOwner { .. }) => println!("\nsleeper: stale"),
        other => println!("\nsleeper: {other:?}"),
    }
    std::io::stdin().read_line(&mut String::new()).expect("a line");
}

fn signal(process: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), process.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
}
