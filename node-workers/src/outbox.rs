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

use crate::failure;

/// Waits between appends of the same record while the log is away.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);

/// Calls of a result that is too large keep their figures and lose their texts.
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
        traceparent: Option<&str>,
        taken: impl FnOnce(),
    ) -> Result<(), LogError> {
        let record = self.fitting(envelope, event, traceparent);
        let partition = u32::from(ids::partition_of(envelope.run_id));
        let mut ack = self.log.append(&self.runs, partition, record.clone());
        taken();
        let mut again = AGAIN_FIRST;
        loop {
            match ack.await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(error = %error, topic = &*self.runs, partition, "a result is appended again");
                    tokio::time::sleep(again).await;
                    again = (again * 2).min(AGAIN_MAX);
                    ack = self.log.append(&self.runs, partition, record.clone());
                }
                Err(error) => return Err(error),
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
    fn fitting(&self, envelope: &Arc<Envelope>, event: Event, traceparent: Option<&str>) -> Record {
        let record = self.record(envelope, event, traceparent);
        let limit = self.record_bytes_max.min(self.log.record_bytes_max());
        let bytes = record.size();
        if bytes <= limit {
            return record;
        }
        let Some(local) = record.local.and_then(|local| local.downcast::<RunsRecord>().ok()) else {
            unreachable!("the record was made from one");
        };
        let Event::TaskFinished(result) = &local.event else {
            // Only calls make another event large.
            return self.record(envelope, without_texts_of(local.event.clone()), traceparent);
        };
        let shorter = Event::TaskFinished(Box::new(TaskResult {
            calls: without_texts(result.calls.clone()),
            ..TaskResult::clone(result)
        }));
        let record = self.record(envelope, shorter, traceparent);
        if record.size() <= limit {
            return record;
        }
        let message = format!(
            "the result of node {} takes {bytes} bytes, over the limit of {limit}: write less, or raise \
             `record_bytes_max`",
            result.node
        );
        let failed = TaskResult {
            task_id: result.task_id,
            issue: result.issue,
            execution: result.execution,
            attempt: result.attempt,
            node: result.node.clone(),
            calls: without_texts(result.calls.clone()),
            last_token: result.last_token,
            error: Some(failure::of_kind(failure::node_failed(message), RESULT_TOO_LARGE)),
            ..TaskResult::default()
        };
        self.record(envelope, Event::TaskFinished(Box::new(failed)), traceparent)
    }

    fn record(&self, envelope: &Arc<Envelope>, event: Event, traceparent: Option<&str>) -> Record {
        let record = RunsRecord { envelope: Arc::clone(envelope), at: self.clock.now(), event };
        Record::json(record.key(), record.headers(&self.source, traceparent), Arc::new(record))
    }
}

fn without_texts(calls: Vec<Call>) -> Vec<Call> {
    calls.into_iter().map(|call| Call { prompt: None, answer: None, ..call }).collect()
}

fn without_texts_of(event: Event) -> Event {
    match event {
        Event::TaskGivenBack { task_id, issue, attempt, not_before, calls } => {
            Event::TaskGivenBack { task_id, issue, attempt, not_before, calls: without_texts(calls) }
        }
        other => other,
    }
}
