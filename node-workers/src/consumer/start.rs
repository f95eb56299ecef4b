//! How tasks begin: what a partition remembers of its past, and one execution from record to result.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use event_log::{Assigned, EventLog, Fetched, LogError, Start};
use graph::{
    envelope::Millis,
    event::Event,
    task::{TaskError, TaskId},
};
use run_store::values::await_values;
use schemas::{
    record::{TASK_ID_HEADER, TaskRecord},
    reference::Referring,
};
use traces::{Read, Span};

use super::{Admission, Ended, NodeConsumer, Running, Worker};
use crate::{
    failure,
    metrics::NodeMetrics,
    window::{AGE_MS_MAX, ENTRIES_MAX, TaskIssue, Window, parse_task_issue},
};

/// How long reading back may hold up an assignment; what isn't read by then is not remembered.
const READ_BACK_MAX: Duration = Duration::from_secs(2);
/// Cancelled tasks that are remembered for the case that they still wait.
const CANCELLED_MAX: usize = 10_000;

/// The tasks that each partition gave out lately, read back from before its committed offset.
pub async fn windows(log: &dyn EventLog, assigned: &[Assigned], now: Millis) -> Vec<Window> {
    futures_util::future::join_all(assigned.iter().map(|assigned| window(log, assigned, now))).await
}

async fn window(log: &dyn EventLog, assigned: &Assigned, now: Millis) -> Window {
    let mut window = Window::default();
    let Some((committed, _)) = assigned.committed else { return window };
    let from = committed.saturating_sub(ENTRIES_MAX as u64).max(assigned.start);
    if from >= committed {
        return window;
    }
    match tokio::time::timeout(READ_BACK_MAX, read_back(log, assigned, from..committed, now, &mut window)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %error, topic = &*assigned.topic, partition = assigned.partition,
            "tasks given out before can't be read back: a copy of one may run"),
        Err(_) => tracing::warn!(
            topic = &*assigned.topic,
            partition = assigned.partition,
            "reading back took too long: a copy of a task given out before may run"
        ),
    }
    window
}

async fn read_back(
    log: &dyn EventLog,
    assigned: &Assigned,
    offsets: std::ops::Range<u64>,
    now: Millis,
    window: &mut Window,
) -> Result<(), LogError> {
    let mut reader = log.read(&assigned.topic, assigned.partition, Start::At(offsets.start)).await?;
    loop {
        for fetched in reader.next().await? {
            if fetched.offset >= offsets.end {
                return Ok(());
            }
            let task = fetched.record.headers.get_str(TASK_ID_HEADER).and_then(parse_task_issue);
            if let Some(task) = task.filter(|_| fetched.timestamp >= now - AGE_MS_MAX) {
                window.note(task, fetched.timestamp);
            }
            if fetched.offset + 1 >= offsets.end {
                return Ok(());
            }
        }
    }
}

/// Tasks that were cancelled before they began.
#[derive(Default)]
pub struct RecentlyCancelled {
    order: VecDeque<TaskId>,
    known: BTreeSet<TaskId>,
}

impl RecentlyCancelled {
    pub fn note(&mut self, tasks: Vec<TaskId>) {
        for task in tasks {
            if self.known.insert(task) {
                self.order.push_back(task);
            }
        }
        while self.order.len() > CANCELLED_MAX {
            if let Some(task) = self.order.pop_front() {
                self.known.remove(&task);
            }
        }
    }

    fn contains(&self, task: &TaskId) -> bool {
        self.known.contains(task)
    }
}

impl NodeConsumer {
    pub(super) fn begin(&mut self, fetched: Fetched, task: Option<TaskIssue>, ownership: u64, admitted: Admission) {
        let place = (fetched.partition, ownership, fetched.offset);
        let stop = self.worker.give_up.child_token();
        if task.is_some_and(|(task, _)| self.cancelled.contains(&task)) {
            stop.cancel();
        }
        let running = Arc::new(Running::new(task, stop));
        let execution = Beginning {
            worker: Arc::clone(&self.worker),
            metrics: Arc::clone(&self.metrics),
            group: Arc::clone(&self.served.group),
            fetched,
            running: Arc::clone(&running),
        };
        self.running.insert(place, running);
        self.metrics.in_flight.set(self.running.len() as f64);
        let ended = self.ended.clone();
        self.worker.executions.spawn(async move {
            let durable = execution.run(admitted).await;
            // The consumer may be gone: then nobody commits.
            let _ = ended.send(Ended { place, durable }).await;
        });
    }
}

/// A task, and why it can't be done.
struct ReadTask {
    record: Arc<TaskRecord>,
    unreadable: Option<TaskError>,
}

struct Beginning {
    worker: Arc<Worker>,
    metrics: Arc<NodeMetrics>,
    group: Arc<str>,
    fetched: Fetched,
    running: Arc<Running>,
}

impl Beginning {
    /// Whether what came of the task is durable.
    async fn run(self, admitted: Admission) -> bool {
        // Nothing has begun while its values are read: a move forgets it.
        let (read, unreadable) = match self.read().await {
            Ok(ReadTask { record, unreadable }) => (Ok(record), unreadable),
            Err(reason) => (Err(reason), None),
        };
        if !self.running.begin(read.as_ref().ok()) {
            return false;
        }
        let record = match read {
            Ok(record) => record,
            Err(reason) => return self.set_aside(reason).await,
        };
        let Admission { run, bytes } = admitted;
        let began = self.worker.executor.clock.now();
        self.metrics.queue_wait.record((began - self.fetched.timestamp).max(0) as f64 / 1_000.0);
        let span = self.trace(&record);
        let (executor, stop) = (&self.worker.executor, self.running.stop.clone());
        let event = match unreadable {
            Some(error) => executor.refuse(Arc::clone(&record), error, stop, &self.metrics, span.context()),
            None => executor.execute(Arc::clone(&record), stop, &self.metrics, span.context()).await,
        };
        self.metrics.duration.record((self.worker.executor.clock.now() - began).max(0) as f64 / 1_000.0);
        self.count(&event);
        let told = self
            .worker
            .outbox
            .tell(&record.envelope, event, span.context(), || {
                self.running.sent();
                drop(run);
            })
            .await;
        drop(bytes);
        match told {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(error = %error, run.id = %record.envelope.run_id, node = %record.task.node,
                    "a result could not be appended: its task will be done again");
                false
            }
        }
    }

    fn trace(&self, record: &TaskRecord) -> Span {
        let Fetched { topic, partition, offset, record: wire, .. } = &self.fetched;
        let sent = wire.headers.get_str("traceparent");
        traces::process(
            &record.envelope,
            Read { topic, partition: *partition, offset: *offset, group: &self.group, sent },
        )
    }

    /// The task with every value in its place; an error says why it is none.
    async fn read(&self) -> Result<ReadTask, String> {
        let record = self.fetched.json::<TaskRecord>().map_err(|error| error.to_string())?;
        let Some(references) = &record.references else { return Ok(ReadTask { record, unreadable: None }) };
        record.check_references().map_err(|error| error.to_string())?;
        match await_values(&*self.worker.outbox.blobs, &references.owner, &references.wanted()).await {
            Ok(values) => {
                let whole = TaskRecord::filled(&self.fetched.record.payload, references, &values);
                Ok(ReadTask { record: Arc::new(whole.map_err(|error| error.to_string())?), unreadable: None })
            }
            Err(missing) => {
                let error = failure::value_missing(format!("a value of the task is gone: {missing}"));
                Ok(ReadTask { record, unreadable: Some(error) })
            }
        }
    }

    async fn set_aside(&self, reason: String) -> bool {
        self.metrics.dead_letters.increment(1);
        tracing::error!(
            topic = &*self.fetched.topic,
            partition = self.fetched.partition,
            offset = self.fetched.offset,
            reason,
            "a record is no task: it is set aside"
        );
        loop {
            match self.worker.outbox.set_aside(&self.fetched, &self.group, reason.clone()).await {
                Ok(()) => return true,
                Err(error) if error.is_retryable() => tokio::time::sleep(super::LOG_AWAY).await,
                Err(error) => {
                    tracing::error!(error = %error, "a record could not be set aside");
                    return false;
                }
            }
        }
    }

    fn count(&self, event: &Event) {
        match event {
            Event::TaskFinished(result) if result.error.is_some() => self.metrics.failed.increment(1),
            Event::TaskFinished(_) => self.metrics.ok.increment(1),
            Event::TaskGivenBack { .. } => self.metrics.given_back.increment(1),
            Event::Requested(_)
            | Event::TaskKept { .. }
            | Event::StateEdited(_)
            | Event::ThreadDeleted
            | Event::ThreadPruned
            | Event::ThreadCopied { .. }
            | Event::CopyBegun(_)
            | Event::ThreadTimed(_)
            | Event::Cancelled { .. }
            | Event::TimerDue { .. }
            | Event::RunFailed { .. } => {}
        }
    }
}
