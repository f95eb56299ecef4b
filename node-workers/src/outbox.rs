//! What a worker writes for others to read: results on `runs` with their large values in the store, and records set
//! aside on `dead-letters`.

use std::{sync::Arc, time::Duration};

use event_log::{EventLog, Fetched, LogError, Record, partition_for};
use graph::{
    envelope::Envelope,
    event::Event,
    ids,
    task::{Call, TaskResult},
    world::Clock,
};
use run_store::{Blobs, values::put_values_until_taken};
use schemas::{
    record::{DeadLetter, RunsRecord, Wire},
    reference::{self, Layout, PutAway},
};
use tokio::time::Instant;
use traces::TraceContext;

use crate::failure;

/// Waits between appends of the same record while the log is away.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// Values that no record names are collected a day later: when the log is away for this long they are written again.
const VALUES_AGAIN: Duration = Duration::from_secs(5 * 60);

/// The kind of the error of a result that is larger than a result may be.
const RESULT_TOO_LARGE: &str = "value_too_large";

pub struct Outbox {
    pub log: Arc<dyn EventLog>,
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
    pub runs: Arc<str>,
    pub dead_letters: Arc<str>,
    pub source: Arc<str>,
    pub result_bytes_max: usize,
}

impl Outbox {
    /// Appends an event of the run; returns when it is durable. Tries until the log is closed.
    ///
    /// `taken` is called once the record has its place in the log's order: what follows is waiting only.
    pub async fn tell(
        &self,
        envelope: &Arc<Envelope>,
        event: Event,
        trace: Option<TraceContext>,
        taken: impl FnOnce(),
    ) -> Result<(), LogError> {
        let (mut span, sent) = traces::send(envelope, trace, &self.runs);
        let traceparent = sent.as_deref();
        let Outgoing { record, wire, put } = self.fitting(envelope, event, traceparent);
        let partition = u32::from(ids::partition_of(envelope.run_id));
        let mut stored = self.store_values(put.as_ref()).await;
        let again_wire = put.is_some().then(|| wire.clone());
        let mut ack = self.log.append(&self.runs, partition, wire);
        taken();
        let mut again = AGAIN_FIRST;
        loop {
            match ack.await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(error = %error, topic = &*self.runs, partition, "a result is appended again");
                    tokio::time::sleep(again).await;
                    again = (again * 2).min(AGAIN_MAX);
                    if stored.elapsed() >= VALUES_AGAIN {
                        stored = self.store_values(put.as_ref()).await;
                    }
                    let wire = again_wire.clone().unwrap_or_else(|| self.wire(&record, traceparent));
                    ack = self.log.append(&self.runs, partition, wire);
                }
                Err(error) => {
                    span.fail("log", &error.to_string());
                    return Err(error);
                }
            }
        }
    }

    /// Sets a record aside, whole; returns when that is durable.
    pub async fn set_aside(&self, fetched: &Fetched, consumer: &str, reason: String) -> Result<(), LogError> {
        let Fetched { topic, partition, offset, record, .. } = fetched;
        let headers = record.headers.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        let letter = DeadLetter::of(
            self.clock.now(),
            consumer,
            reason,
            (topic, *partition, *offset),
            (&record.key, &record.payload),
            headers,
        );
        let partitions = self.log.partitions(&self.dead_letters).await?;
        let key = letter.key();
        let place = partition_for(key.as_bytes(), partitions);
        let wire = Record::json(key, letter.headers(&self.source, None), Arc::new(letter));
        self.log.append(&self.dead_letters, place, wire).await.map(|_| ())
    }

    /// What a record names stands in the store before it. Says when.
    async fn store_values(&self, put: Option<&PutAway>) -> Instant {
        if let Some(PutAway { references, values, json: _ }) = put {
            put_values_until_taken(&*self.blobs, &references.owner, values).await;
        }
        Instant::now()
    }

    /// The event as a record: a result over the limit becomes the task's failure.
    fn fitting(&self, envelope: &Arc<Envelope>, event: Event, traceparent: Option<&str>) -> Outgoing {
        let limit = self.result_bytes_max;
        let form = |event| {
            let record =
                Arc::new(RunsRecord { envelope: Arc::clone(envelope), at: self.clock.now(), event, references: None });
            let wire = self.wire(&record, traceparent);
            (record, wire)
        };
        let (mut record, mut wire) = form(event);
        let bytes = wire.size();
        if bytes > limit {
            (record, wire) = form(without_texts(record.event.clone()));
        }
        if wire.size() > limit {
            (record, wire) = form(too_large(&record.event, bytes, limit));
        }
        let put = reference::put_away(&wire.payload, &envelope.key(), &Layout::RUNS);
        if let Some(put) = &put {
            wire.headers.push(reference::BYTES_HEADER, wire.size().to_string());
            wire.replace_payload(put.json.clone());
        }
        Outgoing { record, wire, put }
    }

    fn wire(&self, record: &Arc<RunsRecord>, traceparent: Option<&str>) -> Record {
        Record::json(record.key(), record.headers(&self.source, traceparent), Arc::clone(record))
    }
}

/// A record on its way, and what has to stand in the store before it.
struct Outgoing {
    record: Arc<RunsRecord>,
    wire: Record,
    put: Option<PutAway>,
}

/// Calls keep their figures and lose their texts.
fn without_texts(mut event: Event) -> Event {
    let calls: &mut [Call] = match &mut event {
        Event::TaskFinished(result) => &mut result.calls,
        Event::TaskGivenBack { calls, .. } => calls,
        Event::Requested(_)
        | Event::TaskKept { .. }
        | Event::StateEdited(_)
        | Event::Cancelled { .. }
        | Event::TimerDue { .. }
        | Event::ThreadDeleted
        | Event::ThreadPruned
        | Event::ThreadCopied { .. }
        | Event::CopyBegun(_)
        | Event::ThreadTimed(_)
        | Event::RunFailed { .. } => &mut [],
    };
    for call in calls {
        (call.prompt, call.answer) = (None, None);
    }
    event
}

/// The failure of a task whose result is no record.
fn too_large(event: &Event, bytes: usize, limit: usize) -> Event {
    let Event::TaskFinished(result) = event else { return event.clone() };
    let message =
        format!("the result of node {} takes {bytes} bytes, over the limit of {limit}: write less", result.node);
    Event::TaskFinished(Box::new(TaskResult {
        task_id: result.task_id,
        issue: result.issue,
        execution: result.execution,
        attempt: result.attempt,
        node: result.node.clone(),
        calls: result.calls.clone(),
        last_token: result.last_token,
        error: Some(failure::of_kind(failure::node_failed(message), RESULT_TOO_LARGE)),
        ..TaskResult::default()
    }))
}
