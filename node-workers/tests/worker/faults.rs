//! A log whose acks or commits don't come for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use event_log::{
    Ack, Consumer, EventLog, LogError, Offset, Partition, Record, Subscription,
    layer::{ConsumerLayer, LogLayer},
};
use graph::event::Event;
use schemas::{record::RunsRecord, topic::RUNS};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    bench::{Bench, PATIENCE},
    consumer::{FILE, Gate},
};

/// The embedded log, with faults that a test turns on and off.
#[derive(Clone)]
struct Faulty {
    log: Arc<dyn EventLog>,
    /// Records are taken and durable, but the worker isn't told.
    acks_held: watch::Sender<bool>,
    commits_fail: Arc<AtomicBool>,
}

impl Faulty {
    fn new(bench: &Bench) -> Self {
        Faulty {
            log: Arc::clone(&bench.log) as Arc<dyn EventLog>,
            acks_held: watch::channel(false).0,
            commits_fail: Arc::default(),
        }
    }
}

#[async_trait]
impl LogLayer for Faulty {
    fn inner(&self) -> &dyn EventLog {
        &*self.log
    }

    fn append(&self, topic: &str, partition: Partition, record: Record) -> Ack {
        let ack = self.log.append(topic, partition, record);
        let mut held = self.acks_held.subscribe();
        Box::pin(async move {
            let appended = ack.await;
            // The sender lives as long as the log.
            let _ = held.wait_for(|held| !held).await;
            appended
        })
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, LogError> {
        let member = self.log.subscribe(subscription).await?;
        Ok(Box::new(FaultyMember { member, commits_fail: Arc::clone(&self.commits_fail) }))
    }
}

struct FaultyMember {
    member: Box<dyn Consumer>,
    commits_fail: Arc<AtomicBool>,
}

#[async_trait]
impl ConsumerLayer for FaultyMember {
    fn inner(&mut self) -> &mut dyn Consumer {
        &mut *self.member
    }

    fn into_inner(self: Box<Self>) -> Box<dyn Consumer> {
        self.member
    }

    async fn commit(
        &mut self,
        topic: &str,
        partition: Partition,
        offset: Offset,
        metadata: &str,
    ) -> Result<(), LogError> {
        if self.commits_fail.load(Ordering::Acquire) {
            return Err(LogError::Unavailable { reason: "cut off".to_owned() });
        }
        self.member.commit(topic, partition, offset, metadata).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_done_before_its_result_is_acked() {
    let bench = Bench::new(FILE).await;
    let (gate, log) = (Gate::new(), Faulty::new(&bench));
    log.acks_held.send_replace(true);
    let worker = bench.start_on(Arc::new(log.clone()), gate.registry(), |_| {});
    for n in 0..5 {
        bench.issue_to(0, &bench.task("work", json!({"n": n}))).await;
    }
    bench.results(5).await;
    // Many times as long as a commit takes.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let group = bench.names.node_group("g", "work");
    assert_eq!(bench.log.committed(&group, &bench.topic("work"), 0).await.unwrap(), None);
    log.acks_held.send_replace(false);
    bench.committed("work", 0, |offset, _| offset == 5).await;
    worker.stop().await;
}

/// A result that has its place in the log when its partition moves is neither kept nor repeated.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_on_its_way_is_waited_for_at_shutdown() {
    let bench = Bench::new(FILE).await;
    let (gate, log) = (Gate::new(), Faulty::new(&bench));
    log.acks_held.send_replace(true);
    let worker = bench.start_on(Arc::new(log.clone()), gate.registry(), |_| {});
    bench.issue_to(0, &bench.task("work", json!({"n": 1}))).await;
    bench.results(1).await;
    worker.ask_to_stop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    log.acks_held.send_replace(false);
    worker.stop().await;
    bench.committed("work", 0, |offset, _| offset == 1).await;
    let records = bench.read::<RunsRecord>(RUNS, |records| !records.is_empty()).await;
    assert!(records.iter().all(|record| matches!(record.event, Event::TaskFinished(_))), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_commits_fail_nothing_new_is_begun() {
    let bench = Bench::new(FILE).await;
    let (gate, log) = (Gate::new(), Faulty::new(&bench));
    log.commits_fail.store(true, Ordering::Release);
    let worker = bench.start_on(Arc::new(log.clone()), gate.registry(), |config| {
        config.commit_failing_max = Duration::from_millis(100);
    });
    bench.issue_to(0, &bench.task("work", json!({"n": 0}))).await;
    bench.results(1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let late = bench.task("work", json!({"n": 1}));
    bench.issue_to(0, &late).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(gate.begun(&late), 0);
    log.commits_fail.store(false, Ordering::Release);
    gate.wait_begun(std::slice::from_ref(&late), 1).await;
    bench.committed("work", 0, |offset, _| offset == 2).await;
    tokio::time::timeout(PATIENCE, worker.stop()).await.unwrap();
}
