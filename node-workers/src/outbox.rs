//! What a worker writes for others to read: results on `runs`, and records set aside on `dead-letters`.

use std::{sync::Arc, time::Duration};

use event_log::{EventLog, Fetched, LogError, Record, partition_for};
use graph::{
    envelope::Envelope,
    event::Event,
    ids,
    task::{Call, TaskResult},
    world::Clock,
};
use schemas::record::{DeadLetter, RunsRecord, Wire};
use traces::TraceContext;

use crate::failure;

/// Waits between appends of the same record while the log is away.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// The kind of the error of a result that no record holds.
const RESULT_TOO_LARGE: &str = "value_too_large";

pub struct Outbox {
    pub log: Arc<dyn EventLog>,
    pub clock: Arc<dyn Clock>,
    pub runs: Arc<str>,
    pub dead_letters: Arc<str>,
    pub source: Arc<str>,
    pub record_bytes_max: usize,
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
        let (record, wire) = self.fitting(envelope, event, traceparent);
        let partition = u32::from(ids::partition_of(envelope.run_id));
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
                    ack = self.log.append(&self.runs, partition, self.wire(&record, traceparent));
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

    /// The event as a record within the size limit: a result over it becomes the task's failure.
    fn fitting(&self, envelope: &Arc<Envelope>, event: Event, traceparent: Option<&str>) -> (Arc<RunsRecord>, Record) {
        let limit = self.record_bytes_max.min(self.log.record_bytes_max());
        let form = |event| {
            let record = Arc::new(RunsRecord { envelope: Arc::clone(envelope), at: self.clock.now(), event });
            let wire = self.wire(&record, traceparent);
            (record, wire)
        };
        let (record, wire) = form(event);
        let bytes = wire.size();
        if bytes <= limit {
            return (record, wire);
        }
        let (record, wire) = form(without_texts(record.event.clone()));
        if wire.size() <= limit {
            return (record, wire);
        }
        form(too_large(&record.event, bytes, limit))
    }

    fn wire(&self, record: &Arc<RunsRecord>, traceparent: Option<&str>) -> Record {
        Record::json(record.key(), record.headers(&self.source, traceparent), Arc::clone(record))
    }
}

/// Calls keep their figures and lose their texts.
fn without_texts(mut event: Event) -> Event {
    let calls: &mut [Call] = match &mut event {
        Event::TaskFinished(result) => &mut result.calls,
        Event::TaskGivenBack { calls, .. } => calls,
        Event::Requested(_)
        | Event::TaskKept { .. }
        | Event::Cancelled { .. }
        | Event::TimerDue { .. }
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
    let message = format!(
        "the result of node {} takes {bytes} bytes, over the limit of {limit}: write less, or raise `record_bytes_max`",
        result.node
    );
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
