//! What a record caused, appended: tasks to nodes, updates to the sink, hints to workers.

use std::sync::Arc;

use event_log::{Ack, EventLog, LogError, Offset, Partition, Record, partition_for};
use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use graph::{advance::Command, envelope::Millis, update::Happened};
use schemas::{
    record::{ControlRecord, DeadLetter, RunsPosition, RunsRecord, SignalRecord, TaskRecord, UpdateRecord, Wire},
    topic::{CONTROL, DEAD_LETTERS, Names, RUNS, SIGNALS, UPDATES},
};
use traces::TraceContext;

use crate::{graphs::GraphCache, metrics};

/// How a record's outputs ended: with the record's offset.
pub type Issued = (Offset, Result<(), LogError>);

pub struct Outputs {
    log: Arc<dyn EventLog>,
    graphs: Arc<GraphCache>,
    runs: String,
    updates: String,
    signals: String,
    dead_letters: String,
    control: String,
    source: String,
    generation: u32,
    partition: Partition,
}

/// What an output is caused by.
#[derive(Clone, Copy)]
pub struct Cause {
    pub offset: Offset,
    pub at: Millis,
    /// The span of its record; the run's own where there is none.
    pub trace: Option<TraceContext>,
}

impl Outputs {
    pub fn new(
        log: Arc<dyn EventLog>,
        graphs: Arc<GraphCache>,
        names: &Names,
        generation: u32,
        partition: Partition,
    ) -> Self {
        Outputs {
            log,
            graphs,
            runs: names.of(RUNS),
            updates: names.of(UPDATES),
            signals: names.of(SIGNALS),
            dead_letters: names.of(DEAD_LETTERS),
            control: names.of(CONTROL),
            source: names.of("orchestrator"),
            generation,
            partition,
        }
    }

    /// Appends in order now. The future reports when all are durable; None where there was nothing to append.
    pub fn put(&self, cause: Cause, commands: Vec<Command>) -> Option<BoxFuture<'static, Issued>> {
        let mut acks: Vec<Ack> = Vec::with_capacity(commands.len());
        for command in commands {
            acks.extend(self.append(cause, command));
        }
        let offset = cause.offset;
        match acks.len() {
            0 => None,
            1 => acks.pop().map(|ack| async move { (offset, ack.await.map(drop)) }.boxed()),
            _ => Some(async move { (offset, try_join_all(acks).await.map(drop)) }.boxed()),
        }
    }

    /// Appends a record that the owner itself adds to its partition. It counts when it is read back.
    pub fn append_to_runs(&self, record: RunsRecord) -> Ack {
        let (_span, sent) = traces::send(&record.envelope, None, &self.runs);
        self.log.append(&self.runs, self.partition, self.wire(record, sent))
    }

    /// Tells the other roles; the next saying replaces it, so a lost one is no loss.
    pub fn say(&self, record: ControlRecord) {
        drop(self.log.append(&self.control, 0, self.wire(record, None)));
    }

    /// The end of the owner's partition.
    pub fn tail(&self) -> BoxFuture<'static, Result<Offset, LogError>> {
        let (log, topic, partition) = (Arc::clone(&self.log), self.runs.clone(), self.partition);
        async move { log.bounds(&topic, partition).await.map(|(_, end)| end) }.boxed()
    }

    /// Sets bytes aside that no version can read.
    pub fn bury(&self, letter: DeadLetter) -> Ack {
        self.log.append(&self.dead_letters, 0, self.wire(letter, None))
    }

    fn append(&self, cause: Cause, command: Command) -> Option<Ack> {
        match command {
            Command::Issue { envelope, task } => {
                let loaded = self.graphs.get(&envelope.graph.hash)?;
                let (topic, partitions) = loaded.topics.get(&task.node)?;
                let record = TaskRecord { envelope, at: cause.at, task };
                metrics::count_task(&record.envelope.graph.name, &record.task.node);
                let partition = partition_for(record.key().as_bytes(), *partitions);
                let (_span, sent) = traces::send(&record.envelope, cause.trace, topic);
                Some(self.log.append(topic, partition, self.wire(record, sent)))
            }
            Command::Update { envelope, update } => {
                let position =
                    RunsPosition { generation: self.generation, partition: self.partition, offset: cause.offset };
                let record = UpdateRecord { envelope, position, update };
                let (_span, sent) = traces::send(&record.envelope, cause.trace, &self.updates);
                trace_end(&record);
                Some(self.log.append(&self.updates, self.partition, self.wire(record, sent)))
            }
            Command::Cancel { envelope, node, tasks } => {
                let record = SignalRecord { envelope, at: cause.at, cancelled: tasks, node };
                // A hint: nobody waits for it, and losing it costs time only.
                let (_span, sent) = traces::send(&record.envelope, cause.trace, &self.signals);
                let ack = self.log.append(&self.signals, 0, self.wire(record, sent));
                drop(ack);
                None
            }
        }
    }

    fn wire<T: Wire>(&self, record: T, traceparent: Option<String>) -> Record {
        Record::json(record.key(), record.headers(&self.source, traceparent.as_deref()), Arc::new(record))
    }
}

/// A run that ends is a span that is over. After a kill it may be said twice, as the update may.
fn trace_end(record: &UpdateRecord) {
    for happened in &record.update.happened {
        if let Happened::Ended(ended) = happened {
            let error = ended.error.as_ref().map(|error| (error.code.as_str(), error.message.as_str()));
            let ended = traces::Ended { at: record.update.at, status: ended.status.as_str(), error };
            traces::ended(&record.envelope, ended);
        }
    }
}
