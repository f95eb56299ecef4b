//! The embedded log alone: small appends by many producers, each waiting for its ack (so: for the sync) before its next,
//! read back by a group, every record compared.
//!
//! `cargo xtask bench log [smoke] [seconds=N]`

use std::{sync::Arc, time::Duration};

use anyhow::{bail, ensure};
use benches::{figures, options::Options, process::cpu_seconds};
use event_log::{Class, EmbeddedLog, EventLog, GroupEvent, Record, Subscription, TopicSpec, embedded};
use tokio::{task::JoinSet, time::Instant};

const TOPIC: &str = "bench";
const PARTITIONS: u32 = 4;
const PRODUCERS: u32 = 1_024;
/// As large as a small result.
const PAYLOAD_BYTES: usize = 512;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::read(10)?;
    figures::print_machine();
    let folder = tempfile::tempdir()?;
    let log = EmbeddedLog::open(folder.path(), embedded::Config::default(), Arc::new(|| 0))?;
    let class = Class::Durable { retention_ms: 3_600_000 };
    log.create_topics(&[TopicSpec { name: TOPIC.to_owned(), partitions: PARTITIONS, class }]).await?;

    let producers = if options.smoke { 16 } else { PRODUCERS };
    let cpu = cpu_seconds("self")?;
    let began = Instant::now();
    let until = began + Duration::from_secs(options.seconds);
    let mut running = JoinSet::new();
    for producer in 0..producers {
        let log = Arc::clone(&log);
        running.spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < until {
                log.append(TOPIC, producer % PARTITIONS, record(producer, count)).await?;
                count += 1;
            }
            anyhow::Ok((producer, count))
        });
    }
    let mut appended = vec![0_u64; producers as usize];
    while let Some(ended) = running.join_next().await {
        let (producer, count) = ended??;
        appended[producer as usize] = count;
    }
    let total: u64 = appended.iter().sum();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "embedded log: {:.0} synced appends of {PAYLOAD_BYTES} bytes a second by {producers} producers, {:.1} us of CPU each",
        total as f64 / seconds,
        (cpu_seconds("self")? - cpu) * 1e6 / total as f64
    );
    read_back(&log, &appended).await?;
    log.close().await;
    Ok(())
}

fn record(producer: u32, count: u64) -> Record {
    let mut payload = format!("{producer} {count} ").into_bytes();
    payload.resize(PAYLOAD_BYTES, b'x');
    Record::new(producer.to_string(), payload)
}

/// A group reads everything from the start: each producer's records, all of them, in order.
async fn read_back(log: &Arc<EmbeddedLog>, appended: &[u64]) -> anyhow::Result<()> {
    let total: u64 = appended.iter().sum();
    let mut next = vec![0_u64; appended.len()];
    let topics = vec![TOPIC.to_owned()];
    let began = Instant::now();
    let mut consumer =
        log.subscribe(Subscription { group: "bench".to_owned(), topics, prefetch_bytes_max: 16 << 20 }).await?;
    let mut read = 0;
    while read < total {
        let GroupEvent::Records(records) = consumer.next().await? else { continue };
        for fetched in records {
            let text = std::str::from_utf8(&fetched.record.payload)?;
            let mut words = text.split(' ');
            let (Some(producer), Some(count)) = (words.next(), words.next()) else { bail!("a record is {text:?}") };
            let (producer, count): (usize, u64) = (producer.parse()?, count.parse()?);
            ensure!(count == next[producer], "producer {producer}: {count} was read where {} comes", next[producer]);
            next[producer] += 1;
            read += 1;
        }
    }
    ensure!(next == appended, "what was read is not what was acked");
    println!(
        "embedded log: {:.0} records a second read back by a group, {read} in all",
        total as f64 / began.elapsed().as_secs_f64()
    );
    consumer.leave().await?;
    Ok(())
}
