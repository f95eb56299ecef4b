//! Logs that break the contract in one way each, made of a log that keeps it.

mod consumer;
mod log;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use event_log::{
    EventLog, Offset, Partition,
    conformance::{Harness, Instance, writer::Acked},
};

use crate::harness::{Embedded, Opened};

pub use log::BrokenLog;

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: shows that it is the fault, not the wrapping, that a case finds.
    None,
    AcksBeforeTheSync,
    LosesTheLastRecordAtReopen,
    SwapsTwoRecords,
    SkipsOneAfterARebalance,
    CutsMetadataShort,
    ForgetsMetadata,
    TakesAStaleOwnersCommit,
    AcksAnOffsetTwice,
    IgnoresPause,
    SharesOffsetsBetweenGroups,
    MissesTheFirstAtTheTail,
    CutsALargeRecordShort,
    LosesWhatACancelledReadHad,
    HandsOverBeforeTheRelease,
    IsSilentOfAPartitionThatComesBack,
}

pub struct BrokenHarness {
    pub fault: Fault,
    pub good: Embedded,
}

#[async_trait]
impl Harness for BrokenHarness {
    async fn fresh(&self) -> Box<dyn Instance> {
        Box::new(BrokenInstance {
            fault: self.fault,
            good: Opened::new(self.good.config.clone()),
            hidden: Arc::default(),
        })
    }

    fn patience(&self) -> Duration {
        self.good.patience
    }
}

/// Records that are there but not handed over.
pub type Hidden = Arc<Mutex<BTreeMap<(String, Partition), Offset>>>;

struct BrokenInstance {
    fault: Fault,
    good: Opened,
    hidden: Hidden,
}

#[async_trait]
impl Instance for BrokenInstance {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::new(BrokenLog::new(self.good.log(), self.fault, Arc::clone(&self.hidden)))
    }

    async fn reopen(&mut self) {
        self.good.reopen().await;
        if self.fault == Fault::LosesTheLastRecordAtReopen {
            let log = self.good.log();
            for topic in ["reopened", "commits"] {
                for partition in 0..log.partitions(topic).await.unwrap_or(0) {
                    let (_, end) = log.bounds(topic, partition).await.unwrap();
                    let last = end.saturating_sub(1);
                    self.hidden.lock().unwrap().entry((topic.to_owned(), partition)).or_insert(last);
                }
            }
        }
    }

    async fn write_and_kill(&mut self, topic: &str, acks_min: usize) -> Option<Vec<Acked>> {
        self.good.write_and_kill(topic, acks_min).await
    }

    async fn pass_retention(&mut self) -> bool {
        self.good.pass_retention().await
    }
}
