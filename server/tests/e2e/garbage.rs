//! Records put on every topic by hand that no role has written: each is found among the dead letters, whole, or is plainly
//! ignored where a topic is only for eyes and hints; nothing stalls. What a newer version may have written is no
//! garbage: it stops its partition, in red.

use std::{path::Path, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use event_log::{EventLog, Record, Start};
use schemas::record::DeadLetter;
use serde_json::json;

use crate::{
    deployment::{Deployment, Parts},
    process::{PATIENCE, Process, dev, folder, get, post},
    runs::{begin_runs, check_run},
};

/// Topics whose records count: what can't be read of them is set aside.
const COUNTED: [&str; 5] = ["runs", "updates", "node.chat.prepare", "node.chat.answer", "node.chat.finish"];
/// Views, hints and facts that are said again: what can't be read of them is a record less.
const IGNORED: [&str; 4] = ["tokens", "signals", "control", "dead-letters"];

/// What is put on a topic.
struct Garbage {
    what: &'static str,
    record: Record,
}

fn garbage(keyed: bool) -> Vec<Garbage> {
    let of = |what, key: &str, payload: Vec<u8>| Garbage { what, record: Record::new(key.to_owned(), payload) };
    let mut not_json = of("no JSON", "some-key", b"\x00\xff not JSON".to_vec());
    not_json.record.headers.push("traceparent", &b"\xff\xfe"[..]);
    not_json.record.headers.push("ce-type", &b"millstream.unheard-of.v1"[..]);
    let mut all = vec![
        not_json,
        of("JSON of a wrong shape, without headers", "some-key", br#"{"envelope":{"run_id":7},"event":[]}"#.to_vec()),
        of("an empty value", "some-key", Vec::new()),
        of("a large one", "some-key", vec![b'x'; 500_000]),
        of("one that can't be wrapped whole", "some-key", vec![b'x'; 1_000_000]),
    ];
    if !keyed {
        all.push(of("no key", "", b"[1,2,3]".to_vec()));
    }
    all
}

/// A well-formed record of `runs` that this version does not know.
fn of_a_newer_version(rules: u32, kind: &str) -> Record {
    let record = json!({
        "envelope": {
            "tenant": "default", "principal": {}, "endpoint": "/x", "run_id": "0198c0de-0000-7000-8000-000000000000",
            "graph": {"name": "chat", "hash": "h"}, "rules": rules, "deadline": 1,
        },
        "at": 1,
        "event": {"type": kind, "data": {"reason": "x"}},
    });
    Record::new("some-key", record.to_string())
}

/// Puts garbage on every topic; what has to be found again, by topic, partition, offset and bytes.
async fn put_everywhere(log: &dyn EventLog, prefix: &str) -> Vec<(String, u32, u64, Record)> {
    let mut counted = Vec::new();
    for topic in COUNTED.iter().chain(&IGNORED) {
        let name = format!("{prefix}{topic}");
        // Kafka itself refuses a record without a key where it compacts by key.
        for Garbage { what, record } in garbage(*topic == "control") {
            let put = log.append(&name, 0, record.clone()).await;
            let at = put.unwrap_or_else(|error| panic!("{what} was not taken by {name}: {error}"));
            if COUNTED.contains(topic) {
                counted.push((name.clone(), at.partition, at.offset, record));
            }
        }
    }
    counted
}

/// Waits until each is among the dead letters, whole and with a reason, and nothing else is.
async fn are_set_aside(log: &dyn EventLog, prefix: &str, expected: &[(String, u32, u64, Record)]) {
    let mut reader = log.read(&format!("{prefix}dead-letters"), 0, Start::Earliest).await.unwrap();
    let mut letters: Vec<Arc<DeadLetter>> = Vec::new();
    let until = tokio::time::Instant::now() + PATIENCE;
    while letters.len() < expected.len() {
        let read = tokio::time::timeout_at(until, reader.next()).await;
        let read = read.unwrap_or_else(|_| panic!("only {} of {}: {letters:?}", letters.len(), expected.len()));
        // The garbage that lies here itself is none of ours.
        letters.extend(read.unwrap().iter().filter_map(|fetched| fetched.json::<DeadLetter>().ok()));
    }
    let more = tokio::time::timeout(Duration::from_secs(1), reader.next()).await;
    assert!(more.is_err(), "more was set aside than was put: {more:?}");
    for (topic, partition, offset, record) in expected {
        let mut found = letters
            .iter()
            .filter(|letter| (&letter.topic, letter.partition, letter.offset) == (topic, *partition, *offset));
        let letter =
            found.next().unwrap_or_else(|| panic!("{topic}/{partition}@{offset} is not among the dead letters"));
        assert!(found.next().is_none(), "{topic}/{partition}@{offset} is there twice");
        assert!(letter.reason.len() > 10, "{letter:?}");
        let kept = STANDARD.decode(&letter.payload).unwrap();
        assert!(record.payload.starts_with(&kept), "{topic}@{offset}");
        let is_whole = kept.len() == record.payload.len();
        assert!(is_whole || letter.reason.contains("1000000"), "{topic}@{offset}: {}", letter.reason);
        assert!(is_whole || kept.len() > 500_000, "{topic}@{offset}");
        assert_eq!(STANDARD.decode(&letter.key).unwrap(), record.key, "{topic}@{offset}");
        let headers = letter.headers.iter().map(|(name, value)| (name.clone(), STANDARD.decode(value).unwrap()));
        let put = record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec()));
        assert!(headers.eq(put), "{topic}@{offset}: {:?}", letter.headers);
    }
}

#[tokio::test]
async fn garbage_on_every_topic_of_kafka_is_set_aside_and_stalls_nothing() {
    let folder = folder();
    let Some(parts) = Parts::shared("garbage on Kafka") else { return };
    let deployment = Deployment::start_on(&parts, folder.path()).await;
    let log = kafka(&parts).await;
    let before = begin_runs(&deployment.ingest, 0, 6).await;
    let counted = put_everywhere(&log, &format!("{}-", parts.name)).await;
    let after = begin_runs(&deployment.ingest, 1, 6).await;
    for run in before.iter().chain(&after) {
        check_run(&deployment.ingest, run).await;
    }
    are_set_aside(&log, &format!("{}-", parts.name), &counted).await;
    // Each offset was passed: a restart reads none of it again.
    let (status, answer) = post(&deployment.ingest, "/chat", &json!({"message": "hello", "stream": false})).await;
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test]
async fn garbage_on_every_topic_of_the_embedded_log_is_set_aside_and_stalls_nothing() {
    let folder = folder();
    let mut server = dev(folder.path(), &[]).await;
    let before = begin_runs(&server, 0, 4).await;
    for run in &before {
        check_run(&server, run).await;
    }
    // One process at a time has the log open.
    server.kill();
    let log = embedded(folder.path());
    let counted = put_everywhere(&*log, "").await;
    log.close().await;
    drop(log);
    server.restart();
    server.wait_until_ready().await;
    let after = begin_runs(&server, 1, 8).await;
    for run in before.iter().chain(&after) {
        check_run(&server, run).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    server.kill();
    let log = embedded(folder.path());
    are_set_aside(&*log, "", &counted).await;
    log.close().await;
}

#[tokio::test]
async fn a_record_of_a_newer_version_stops_its_partition_in_red_and_no_other() {
    let folder = folder();
    let Some(parts) = Parts::shared("a newer version's record") else { return };
    let mut deployment = Deployment::start_on(&parts, folder.path()).await;
    let log = kafka(&parts).await;
    let runs = format!("{}-runs", parts.name);
    log.append(&runs, 0, of_a_newer_version(1, "forked")).await.unwrap();
    let orchestrator = deployment.role("orchestrator");
    let said = becomes_red(orchestrator).await;
    assert!(said.contains("partition 0") && said.contains("forked"), "{said}");
    let stopped = stops_where(&deployment.ingest, 0).await;
    assert!(stopped, "runs of partition 0 end though it is stopped");
    // It stays: no restart mends it, and partition 1 is served.
    let (status, _) = get(deployment.role("orchestrator"), "/health").await;
    assert_eq!(status, 200);
    log.append(&runs, 1, of_a_newer_version(999, "cancelled")).await.unwrap();
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let said = becomes_red(deployment.role("orchestrator")).await;
        if said.contains("partition 1") {
            assert!(said.contains("rules 999"), "{said}");
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let dead = log.bounds(&format!("{}-dead-letters", parts.name), 0).await.unwrap();
    assert_eq!(dead, (0, 0), "what a newer version can read is no dead letter");
}

#[tokio::test]
async fn a_record_of_a_newer_version_stops_a_partition_of_the_embedded_log_in_red() {
    let folder = folder();
    let mut server = dev(folder.path(), &[]).await;
    server.kill();
    let log = embedded(folder.path());
    log.append("runs", 0, of_a_newer_version(1, "forked")).await.unwrap();
    log.close().await;
    drop(log);
    server.restart();
    let said = becomes_red(&server).await;
    assert!(said.contains("partition 0") && said.contains("forked"), "{said}");
    assert!(stops_where(&server, 0).await, "runs of partition 0 end though it is stopped");
}

/// What `/ready` says when it is red.
async fn becomes_red(process: &Process) -> String {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Ok(response) = reqwest::get(process.url("/ready")).await
            && response.status() == 503
        {
            let said = response.text().await.unwrap_or_default();
            if said.contains("partition") {
                return said;
            }
        }
        assert!(tokio::time::Instant::now() < until, "{} did not turn red: {}", process.name(), process.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Begins runs, each in a partition by chance: those of others end; whether those of `partition` don't, or are refused
/// since nobody hears of their owner.
async fn stops_where(server: &Process, partition: u16) -> bool {
    let until = tokio::time::Instant::now() + PATIENCE;
    let (mut stopped, mut refusals, mut served) = (Vec::new(), 0, Vec::new());
    let body = json!({"input": {"messages": [{"role": "user", "content": "x"}]}, "mode": "background"});
    // At least one of each kind: which partition a run falls in is chance.
    while served.is_empty() || stopped.is_empty() && refusals == 0 || stopped.len() + refusals + served.len() < 12 {
        assert!(tokio::time::Instant::now() < until, "all runs fell into one kind");
        let (status, answer) = post(server, "/graphs/chat/runs", &body).await;
        if status == 503 {
            assert_eq!(answer["error"]["code"], json!("queue_full"), "{answer}");
            refusals += 1;
            continue;
        }
        let run = answer["run_id"].as_str().expect("a run id").to_owned();
        let of = graph::ids::partition_of(run.parse().expect("an id"));
        if of == partition { stopped.push(run) } else { served.push(run) }
    }
    for run in &served {
        check_run(server, run).await;
    }
    for run in &stopped {
        let (_, view) = get(server, &format!("/graphs/chat/runs/{run}")).await;
        if view["status"] == json!("success") {
            return false;
        }
    }
    true
}

async fn kafka(parts: &Parts) -> event_log::kafka::KafkaLog {
    let config = event_log::kafka::Config::new(parts.kafka.clone());
    event_log::kafka::KafkaLog::connect(config).await.expect("the broker answers")
}

fn embedded(folder: &Path) -> Arc<event_log::EmbeddedLog> {
    #[allow(clippy::disallowed_methods, reason = "the log's clock has to be the server's")]
    let clock = Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.expect("it is later than 1970").as_millis() as i64
    });
    let folder = folder.join("data/log");
    event_log::EmbeddedLog::open(&folder, event_log::embedded::Config::default(), clock).expect("the log opens")
}
