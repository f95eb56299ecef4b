//! What a record caused, formed and appended: tasks to nodes, updates to the sink, hints to workers.

use std::sync::Arc;

use event_log::{Ack, EventLog, LogError, Offset, Partition, Record, partition_for};
use futures_util::future::{BoxFuture, FutureExt, try_join_all};
use graph::{
    advance::Command,
    envelope::{Key, Millis, RunId},
    event::Event,
    graph_loop::GraphLoop,
    update::Happened,
};
use schemas::{
    record::{ControlRecord, DeadLetter, RunsPosition, RunsRecord, SignalRecord, TaskRecord, UpdateRecord, Wire},
    reference::{self, Referring, Values},
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
    updates: Arc<str>,
    signals: Arc<str>,
    dead_letters: String,
    control: String,
    source: String,
    generation: u32,
    partition: Partition,
}

/// Tasks that one hint names; a step may have more.
const CANCELLED_IN_A_HINT_MAX: usize = 4_096;

/// What one record caused, ready to be appended.
pub struct Formed {
    pub offset: Offset,
    records: Vec<Outgoing>,
    /// What has to stand in the store before: all of one key.
    pub values: Option<(Key, Values)>,
    /// The thread that has to begin before.
    pub copy: Option<Box<Copying>>,
}

/// The first record of a thread that begins as a copy, and what has to stand in the store before it.
pub struct Copying {
    pub id: RunId,
    pub key: Key,
    pub wire: Record,
    pub values: Values,
    /// Where the archive has what is copied too.
    pub namespaces: Vec<String>,
    /// What was put away up to this position is forgotten.
    pub forgets_up_to: Option<u64>,
    pub unstored: Vec<Arc<GraphLoop>>,
}

struct Outgoing {
    topic: Arc<str>,
    partition: Partition,
    wire: Record,
    is_hint: bool,
}

impl Formed {
    /// Whether somebody waits for it to be durable.
    pub fn is_awaited(&self) -> bool {
        self.records.iter().any(|record| !record.is_hint)
    }

    /// Whether something has to be stored before it is appended.
    pub fn is_held(&self) -> bool {
        self.values.is_some() || self.copy.is_some()
    }

    fn of(offset: Offset) -> Self {
        Formed { offset, records: Vec::new(), values: None, copy: None }
    }
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
            updates: names.of(UPDATES).into(),
            signals: names.of(SIGNALS).into(),
            dead_letters: names.of(DEAD_LETTERS),
            control: names.of(CONTROL),
            source: names.of("orchestrator"),
            generation,
            partition,
        }
    }

    /// Makes the records, in order. Their large values must be in the store before they are appended.
    pub fn form(&self, cause: Cause, commands: Vec<Command>) -> Formed {
        let mut formed = Formed { records: Vec::with_capacity(commands.len()), ..Formed::of(cause.offset) };
        for command in commands {
            self.form_one(cause, command, &mut formed);
        }
        formed
    }

    /// Appends in order now. The future reports when all are durable; None where nobody waits for any.
    pub fn append(&self, formed: Formed) -> Option<BoxFuture<'static, Issued>> {
        let Formed { offset, records, values: _, copy: _ } = formed;
        let mut acks: Vec<Ack> = Vec::with_capacity(records.len());
        for Outgoing { topic, partition, wire, is_hint } in records {
            let ack = self.log.append(&topic, partition, wire);
            // A hint: nobody waits for it, and losing it costs time only.
            if !is_hint {
                acks.push(ack);
            }
        }
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

    /// Adds a record that was formed to the owner's partition, when the future is first polled.
    pub fn append_formed(&self, wire: Record) -> impl Future<Output = Result<(), LogError>> + use<> {
        let (log, topic, partition) = (Arc::clone(&self.log), self.runs.clone(), self.partition);
        async move { log.append(&topic, partition, wire).await.map(drop) }
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

    fn form_one(&self, cause: Cause, command: Command, formed: &mut Formed) {
        match command {
            Command::Issue { envelope, task } => {
                let declares = task.graph.as_ref().unwrap_or(&envelope.graph);
                let Some(loaded) = self.graphs.get(&declares.hash) else { return };
                let Some((topic, partitions)) = loaded.topics.get(task.place_of_work()) else { return };
                let record = TaskRecord { envelope, at: cause.at, task: *task, references: None };
                metrics::count_task(&record.envelope.graph.name, &record.task.node);
                let partition = partition_for(record.key().as_bytes(), *partitions);
                let (_span, sent) = traces::send(&record.envelope, cause.trace, topic);
                let wire = self.referring(record, sent, formed);
                formed.records.push(Outgoing { topic: Arc::clone(topic), partition, wire, is_hint: false });
            }
            Command::Update { envelope, update } => {
                let position =
                    RunsPosition { generation: self.generation, partition: self.partition, offset: cause.offset };
                let record = UpdateRecord { envelope, position, update, references: None };
                let (_span, sent) = traces::send(&record.envelope, cause.trace, &self.updates);
                trace_end(&record);
                let (topic, partition) = (Arc::clone(&self.updates), self.partition);
                let wire = self.referring(record, sent, formed);
                formed.records.push(Outgoing { topic, partition, wire, is_hint: false });
            }
            // Kept with its key's state, and stored before that.
            Command::Archive { .. } => {}
            Command::Copy { envelope, copied, namespaces, forgets_up_to, unstored } => {
                let (id, key) = (envelope.run_id, envelope.key());
                let record = RunsRecord { envelope, at: cause.at, event: Event::CopyBegun(copied), references: None };
                let (_span, sent) = traces::send(&record.envelope, cause.trace, &self.runs);
                let mut beside = Formed::of(cause.offset);
                let wire = self.referring(record, sent, &mut beside);
                let values = beside.values.map(|(_, values)| values).unwrap_or_default();
                formed.copy = Some(Box::new(Copying { id, key, wire, values, namespaces, forgets_up_to, unstored }));
            }
            Command::Cancel { envelope, graph, node, tasks } => {
                for some in tasks.chunks(CANCELLED_IN_A_HINT_MAX) {
                    let (envelope, node) = (Arc::clone(&envelope), node.clone());
                    let (cancelled, graph) = (some.to_vec(), graph.clone());
                    let record = SignalRecord { envelope, at: cause.at, cancelled, node, graph };
                    let (_span, sent) = traces::send(&record.envelope, cause.trace, &self.signals);
                    let (topic, wire) = (Arc::clone(&self.signals), self.wire(record, sent));
                    formed.records.push(Outgoing { topic, partition: 0, wire, is_hint: true });
                }
            }
        }
    }

    /// A record whose large values are put away.
    fn referring<T: Referring>(&self, record: T, sent: Option<String>, formed: &mut Formed) -> Record {
        let mut wire = self.wire(record, sent);
        if wire.payload.len() <= reference::VALUE_BYTES_INLINE {
            return wire;
        }
        let Some(owner) = wire.local.as_ref().and_then(|local| local.downcast_ref::<T>()).map(Referring::owner) else {
            return wire;
        };
        if let Some(put) = reference::put_away(&wire.payload, &owner, &T::LAYOUT) {
            wire.headers.push(reference::BYTES_HEADER, wire.size().to_string());
            wire.replace_payload(put.json);
            formed.values.get_or_insert_with(|| (owner, Values::new())).1.extend(put.values);
        }
        wire
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
