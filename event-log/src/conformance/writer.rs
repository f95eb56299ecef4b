//! A process that appends until it is killed: the test binary, started again with a word in its environment.

use std::{future::Future, io::Write, process::Stdio, sync::Arc};

use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

use crate::{
    contract::EventLog,
    record::{Offset, Partition, Record},
};

/// Partitions that the writer appends to.
pub const PARTITIONS: u32 = 4;

const TARGET: &str = "MILLSTREAM_CONFORMANCE_TARGET";
const TOPIC: &str = "MILLSTREAM_CONFORMANCE_TOPIC";
/// The test in which the writer runs.
const TEST: &str = "conformance_writer";
const IN_FLIGHT_MAX: usize = 256;

/// A record that the writer was told is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acked {
    pub partition: Partition,
    pub offset: Offset,
    pub payload: String,
}

/// Starts this test binary anew as a writer on `target` (whatever [`run_if_asked`]'s opener takes), kills it by
/// SIGKILL once it was acked `acks_min` records, and returns everything that it was acked.
///
/// # Panics
/// Where it can't be started.
pub async fn write_until_killed(target: &str, topic: &str, acks_min: usize) -> Vec<Acked> {
    let mut child = Command::new(std::env::current_exe().expect("a path of this binary"))
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(TARGET, target)
        .env(TOPIC, topic)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("a second process of this binary");
    let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let mut acked = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        acked.extend(parse(&line));
        if acked.len() == acks_min {
            child.start_kill().expect("to kill it");
        }
    }
    child.wait().await.expect("its end");
    acked
}

/// The body of the test `conformance_writer`: returns at once where this process was not started as a writer.
///
/// # Panics
/// Where the log refuses a record.
pub fn run_if_asked<F>(open: impl FnOnce(String) -> F)
where
    F: Future<Output = Arc<dyn EventLog>>,
{
    let (Ok(target), Ok(topic)) = (std::env::var(TARGET), std::env::var(TOPIC)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let log = open(target).await;
        write(&*log, &topic).await;
    });
}

async fn write(log: &dyn EventLog, topic: &str) {
    let mut in_flight = FuturesOrdered::new();
    for number in 0u64.. {
        let partition = (number % u64::from(PARTITIONS)) as Partition;
        let payload = format!("{}:{}", "x".repeat((number % 200) as usize), number / u64::from(PARTITIONS));
        let ack = log.append(topic, partition, Record::new("key", payload.clone()));
        in_flight.push_back(async move { (payload, ack.await) });
        if in_flight.len() >= IN_FLIGHT_MAX
            && let Some((payload, ack)) = in_flight.next().await
        {
            let appended = ack.expect("an ack");
            // The line ends in a mark, since a kill may cut it.
            let line = format!("acked {} {} {payload} .\n", appended.partition, appended.offset);
            std::io::stdout().write_all(line.as_bytes()).expect("the parent reads");
        }
    }
}

fn parse(line: &str) -> Option<Acked> {
    let mut words = line.strip_prefix("acked ")?.strip_suffix(" .")?.split(' ');
    let (partition, offset, payload) = (words.next()?, words.next()?, words.next()?);
    Some(Acked { partition: partition.parse().ok()?, offset: offset.parse().ok()?, payload: payload.to_owned() })
}
