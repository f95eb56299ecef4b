//! A log that fails as logs do: it loses an append, or takes it and doesn't say so. What the orchestrator puts out is kept here
//! as sinks and workers would read it, and checked where it comes again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use async_trait::async_trait;
use event_log::{
    Ack, Appended, Consumer, EmbeddedLog, EventLog, LogError, Offset, Partition, Record, Subscription,
    layer::{ConsumerLayer, LogLayer},
};
use graph::envelope::{Key, RunId};
use tokio::sync::{Notify, watch};

use crate::stage::Faults;

pub struct FaultyLog {
    pub inner: Arc<EmbeddedLog>,
    faults: Faults,
    runs: String,
    updates: String,
    nodes: String,
    state: Mutex<State>,
    issued: Arc<watch::Sender<Offset>>,
    /// Told when a process is to die.
    pub kill: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// Appends of outputs so far.
    appends: u64,
    failed: u64,
    repeats: u64,
    /// A producer that has failed takes nothing more: only whoever joins anew has another.
    broken: bool,
    outputs: BTreeMap<(Key, RunId), Vec<Output>>,
}

/// An output of a run that the log has.
pub struct Output {
    pub is_update: bool,
    pub record: Record,
}

impl FaultyLog {
    pub fn new(inner: Arc<EmbeddedLog>, names: &schemas::topic::Names, faults: Faults) -> Self {
        FaultyLog {
            inner,
            faults,
            runs: names.of(schemas::topic::RUNS),
            updates: names.of(schemas::topic::UPDATES),
            nodes: names.of("node."),
            state: Mutex::default(),
            issued: Arc::new(watch::Sender::new(0)),
            kill: Arc::default(),
        }
    }

    /// Returns when all that the record at `offset` causes is surely in the log.
    pub async fn issued(&self, offset: Offset) {
        self.issued.subscribe().wait_for(|issued| *issued > offset).await.expect("the log lives");
    }

    /// What was put out for a run since the last call.
    pub fn take(&self, key: &Key, run: RunId) -> Vec<Output> {
        self.state().outputs.remove(&(key.clone(), run)).unwrap_or_default()
    }

    pub fn note_repeat(&self) {
        self.state().repeats += 1;
    }

    pub fn repeats(&self) -> u64 {
        self.state().repeats
    }

    pub fn failed(&self) -> u64 {
        self.state().failed
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics here")
    }

    fn keep(state: &mut State, is_update: bool, record: &Record) {
        let (key, run) = crate::player::addressed(record);
        let record = Record { local: None, ..record.clone() };
        state.outputs.entry((key, run)).or_default().push(Output { is_update, record });
    }
}

fn unavailable() -> LogError {
    LogError::Unavailable { reason: "the test says so".to_owned() }
}

#[async_trait]
impl LogLayer for FaultyLog {
    fn inner(&self) -> &dyn EventLog {
        &*self.inner
    }

    fn append(&self, topic: &str, partition: Partition, record: Record) -> Ack {
        let is_update = topic == self.updates;
        if !is_update && !topic.starts_with(&self.nodes) {
            return self.inner.append(topic, partition, record);
        }
        let mut state = self.state();
        if state.broken {
            return Box::pin(async { Err(unavailable()) });
        }
        state.appends += 1;
        let due = |every: u64| every > 0 && state.appends.is_multiple_of(every);
        let (kill, fail) = (due(self.faults.kill_every), due(self.faults.fail_append_every));
        // Every other failure loses the record.
        let lost = fail && state.failed.is_multiple_of(2);
        state.failed += u64::from(fail);
        state.broken |= kill || fail;
        if kill {
            self.kill.notify_one();
        }
        if lost {
            return Box::pin(async { Err(unavailable()) });
        }
        Self::keep(&mut state, is_update, &record);
        let ack = self.inner.append(topic, partition, record);
        match kill || fail {
            true => Box::pin(async move {
                let _: Result<Appended, LogError> = ack.await;
                Err(unavailable())
            }),
            false => ack,
        }
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, LogError> {
        let inner = self.inner.subscribe(subscription).await?;
        self.state().broken = false;
        Ok(Box::new(Watching { inner, runs: self.runs.clone(), issued: Arc::clone(&self.issued) }))
    }
}

/// A member whose commits tell up to where outputs are in the log.
struct Watching {
    inner: Box<dyn Consumer>,
    runs: String,
    issued: Arc<watch::Sender<Offset>>,
}

#[async_trait]
impl ConsumerLayer for Watching {
    fn inner(&mut self) -> &mut dyn Consumer {
        &mut *self.inner
    }

    fn into_inner(self: Box<Self>) -> Box<dyn Consumer> {
        self.inner
    }

    async fn commit(
        &mut self,
        topic: &str,
        partition: Partition,
        offset: Offset,
        metadata: &str,
    ) -> Result<(), LogError> {
        self.inner.commit(topic, partition, offset, metadata).await?;
        if topic == self.runs {
            let issued: Offset =
                metadata.strip_prefix("i=").and_then(|issued| issued.parse().ok()).expect("the metadata");
            self.issued.send_if_modified(|known| {
                let more = issued > *known;
                *known = issued.max(*known);
                more
            });
        }
        Ok(())
    }
}
