//! How the embedded log meets what no contract can promise away: damage, a full queue, a second process, a member
//! that doesn't let go.

use std::{fs, path::Path, sync::Arc, time::Duration};

use event_log::{
    Class, EmbeddedLog, EventLog, GroupEvent, Local, LogError, Reader, Record, Start, Subscription, TopicSpec,
    embedded::{Clock, Config},
};

const TOPIC: &str = "runs";

fn open(folder: &Path, config: Config) -> Result<Arc<EmbeddedLog>, LogError> {
    let clock: Clock = Arc::new(|| 1_700_000_000_000);
    EmbeddedLog::open(folder, config, clock)
}

async fn make_topic(log: &EmbeddedLog, name: &str, partitions: u32, class: Class) {
    log.create_topics(&[TopicSpec { name: name.into(), partitions, class }]).await.unwrap();
}

#[tokio::test]
async fn a_folder_is_opened_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), Config::default()).unwrap();
    let error = open(folder.path(), Config::default()).err().unwrap();
    assert!(error.to_string().contains("another process has opened"), "{error}");
    log.close().await;
    open(folder.path(), Config::default()).unwrap();
}

#[tokio::test]
async fn a_damaged_record_stops_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), Config::default()).unwrap();
    make_topic(&log, TOPIC, 1, Class::Durable { retention_ms: 60_000 }).await;
    for payload in ["a payload of its own kind", "another"] {
        log.append(TOPIC, 0, Record::new("key", payload)).await.unwrap();
    }
    log.close().await;
    drop(log);

    let segments = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let segment = segments.into_iter().find(|path| path.extension().is_some_and(|end| end == "segment")).unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let wanted = b"a payload of its own kind";
    let at = bytes.windows(wanted.len()).position(|window| window == wanted).unwrap();
    bytes[at + 3] ^= 0x20;
    fs::write(&segment, bytes).unwrap();

    let log = open(folder.path(), Config::default()).unwrap();
    let mut reader = log.read(TOPIC, 0, Start::Earliest).await.unwrap();
    let error = reader.next().await.unwrap_err();
    assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
    assert!(matches!(log.failed().await, LogError::Corrupt { .. }));
    let error = log.append(TOPIC, 0, Record::new("key", "more")).await.unwrap_err();
    assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn behind_a_refusal_nothing_is_taken_until_it_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { queue_bytes_max: 4_000, record_bytes_max: 10_000, ..Config::default() };
    let log = open(folder.path(), config).unwrap();
    make_topic(&log, TOPIC, 2, Class::Durable { retention_ms: 60_000 }).await;

    let refused = log.append(TOPIC, 0, Record::new("", vec![b'x'; 5_000]));
    let behind = log.append(TOPIC, 0, Record::new("", "small"));
    let elsewhere = log.append(TOPIC, 1, Record::new("", "small"));
    elsewhere.await.unwrap();
    for ack in [behind, refused] {
        let error = ack.await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("queue is full"), "{error}");
    }
    log.append(TOPIC, 0, Record::new("", "small")).await.unwrap();
    // A caller that does not care for the ack has seen it too.
    drop(log.append(TOPIC, 0, Record::new("", vec![b'x'; 5_000])));
    assert_eq!(log.append(TOPIC, 0, Record::new("", "small")).await.unwrap().offset, 1);
    assert!(log.pressure() < 0.1, "nothing waits: {}", log.pressure());
}

#[tokio::test(start_paused = true)]
async fn a_member_that_does_not_let_go_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), Config::default()).unwrap();
    make_topic(&log, TOPIC, 2, Class::Compacted).await;
    let subscription = Subscription { group: "g".into(), topics: vec![TOPIC.into()], prefetch_bytes_max: 1 << 20 };
    let mut old = log.subscribe(subscription.clone()).await.unwrap();
    assert!(matches!(old.next().await.unwrap(), GroupEvent::Assigned(assigned) if assigned.len() == 2));
    let mut new = log.subscribe(subscription).await.unwrap();
    let GroupEvent::Revoked(revoked) = old.next().await.unwrap() else { panic!("nothing was revoked") };

    let before = tokio::time::Instant::now();
    let GroupEvent::Assigned(assigned) = new.next().await.unwrap() else { panic!("nothing was assigned") };
    assert!(before.elapsed() >= Duration::from_secs(5), "after {:?} it was taken", before.elapsed());
    assert_eq!(assigned[0].partition, revoked[0].1);
    assert!(matches!(old.next().await.unwrap(), GroupEvent::Lost(lost) if lost == revoked));
    let error = old.commit(TOPIC, revoked[0].1, 0, "").await.unwrap_err();
    assert!(matches!(error, LogError::StaleOwner { .. }), "{error}");
}

#[tokio::test]
async fn a_slow_reader_of_an_ephemeral_topic_goes_on_at_the_oldest_kept() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), Config { ephemeral_bytes_max: 100_000, ..Config::default() }).unwrap();
    make_topic(&log, "tokens", 1, Class::Ephemeral { retention_ms: 60_000 }).await;
    let mut reader = log.read("tokens", 0, Start::Earliest).await.unwrap();
    for _ in 0..5_000 {
        assert!(log.append_lossy("tokens", 0, Record::new("", vec![b'x'; 1_000])));
    }
    let (start, end) = log.bounds("tokens", 0).await.unwrap();
    assert!(start > 4_800 && end == 5_000, "{start} to {end} are kept");
    assert_eq!(reader.next().await.unwrap()[0].offset, start);
}

#[tokio::test]
async fn lag_is_counted_from_what_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), Config::default()).unwrap();
    make_topic(&log, TOPIC, 1, Class::Durable { retention_ms: 60_000 }).await;
    for _ in 0..10 {
        log.append(TOPIC, 0, Record::new("", "x")).await.unwrap();
    }
    let subscription = Subscription { group: "g".into(), topics: vec![TOPIC.into()], prefetch_bytes_max: 1 << 20 };
    let mut member = log.subscribe(subscription).await.unwrap();
    member.next().await.unwrap();
    member.commit(TOPIC, 0, 3, "").await.unwrap();
    let lag = log.lag("g");
    assert_eq!(lag.iter().map(|lag| (lag.partition, lag.committed, lag.records)).collect::<Vec<_>>(), [(0, 3, 7)]);
    assert!(log.lag("nobody").is_empty());
}

/// The parsed forms that a reader is handed with the next `count` records.
async fn handed_over(reader: &mut dyn Reader, count: usize) -> Vec<Option<Local>> {
    let mut forms = Vec::new();
    while forms.len() < count {
        forms.extend(reader.next().await.unwrap().into_iter().map(|fetched| fetched.record.local));
    }
    forms
}

#[tokio::test]
async fn the_only_reader_takes_parsed_forms_along() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path(), Config::default()).unwrap();
    make_topic(&log, TOPIC, 1, Class::Durable { retention_ms: 60_000 }).await;
    let value = Arc::new("parsed".to_owned());
    let record = || Record::json("key", [], Arc::clone(&value));

    let mut reader = log.read(TOPIC, 0, Start::Earliest).await.unwrap();
    log.append(TOPIC, 0, record()).await.unwrap();
    let form = handed_over(&mut *reader, 1).await.remove(0).expect("the writer's own value");
    assert_eq!(Arc::strong_count(&value), 2, "the log still holds what its reader took");
    drop(form);
    drop(reader);

    // Who comes later parses; of two at once both are handed it.
    let (mut one, mut other) =
        (log.read(TOPIC, 0, Start::Earliest).await.unwrap(), log.read(TOPIC, 0, Start::Earliest).await.unwrap());
    log.append(TOPIC, 0, record()).await.unwrap();
    for reader in [&mut one, &mut other] {
        let forms = handed_over(&mut **reader, 2).await;
        assert_eq!(forms.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    }
}
