//! How a partition is let go: nothing waits for calls under way, and none of them is repeated.

use std::{sync::Arc, time::Duration};

use event_log::{Consumer, LogError, Partition};
use graph::{
    envelope::{Envelope, Millis},
    event::Event,
};
use tokio::time::Instant;

use super::{NodeConsumer, Place, Running};

/// A partition must be let go within 5 s; what isn't told by then is repeated by the next owner.
const TELL_MAX: Duration = Duration::from_secs(3);
const LEAVE_MAX: Duration = Duration::from_secs(5);
/// What a result may take to arrive after its call's end.
const REPORT_MARGIN: Duration = Duration::from_secs(5);

impl NodeConsumer {
    /// Forgets what hasn't begun, keeps the calls under way, commits. They go on outside of the group.
    pub(super) async fn let_go(&mut self, partitions: &[Partition], keep: Duration, consumer: &mut dyn Consumer) {
        let deadline = Instant::now() + TELL_MAX;
        self.forget_unbegun(partitions);
        self.keep_calls(partitions, keep, deadline).await;
        self.await_results(partitions, deadline).await;
        for &partition in partitions {
            self.commit(partition, consumer).await;
            self.forget(partition);
        }
    }

    /// Tells the runs of calls under way that these are kept, and counts them as finished.
    async fn keep_calls(&mut self, partitions: &[Partition], keep: Duration, deadline: Instant) {
        let until = self.worker.executor.clock.now() + (keep + REPORT_MARGIN).as_millis() as Millis;
        let telling = self.open(partitions).filter_map(|(place, running)| {
            let record = running.under_way()?;
            let (task_id, issue) = (record.task.id, record.task.issue);
            let envelope: Arc<Envelope> = Arc::clone(&record.envelope);
            let worker = Arc::clone(&self.worker);
            Some(async move {
                let kept = Event::TaskKept { task_id, issue, until };
                (place, worker.outbox.tell(&envelope, kept, None, || {}).await)
            })
        });
        let telling: Vec<_> = telling.map(|told| tokio::time::timeout_at(deadline, told)).collect();
        for told in futures_util::future::join_all(telling).await {
            if let Ok((place, Ok(()))) = told {
                self.metrics.kept.increment(1);
                self.finish(place);
            }
        }
    }

    /// Results that have their place in the log are durable in a moment.
    async fn await_results(&mut self, partitions: &[Partition], deadline: Instant) {
        while self.open(partitions).any(|(_, running)| running.is_sent()) {
            match tokio::time::timeout_at(deadline, self.endings.recv()).await {
                Ok(Some(ended)) => self.note(&ended),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Executions of the partitions as they are owned now, whose offsets aren't finished.
    fn open(&self, partitions: &[Partition]) -> impl Iterator<Item = (Place, &Arc<Running>)> {
        self.running.iter().map(|(place, running)| (*place, running)).filter(
            move |((partition, ownership, offset), _)| {
                partitions.contains(partition)
                    && self
                        .partitions
                        .get(partition)
                        .is_some_and(|owned| owned.ownership == *ownership && !owned.tracker.is_finished(*offset))
            },
        )
    }

    fn finish(&mut self, (partition, ownership, offset): Place) {
        if let Some(owned) = self.partitions.get_mut(&partition)
            && owned.ownership == ownership
        {
            owned.tracker.finish(offset);
        }
    }

    /// What hasn't begun is the next owner's.
    fn forget_unbegun(&mut self, partitions: &[Partition]) {
        for partition in partitions {
            if let Some(owned) = self.partitions.get_mut(partition) {
                owned.waiting.clear();
                owned.waiting_bytes = 0;
            }
        }
        self.open(partitions).for_each(|(_, running)| running.forget());
    }

    pub(super) fn forget(&mut self, partition: Partition) {
        self.forget_unbegun(&[partition]);
        self.partitions.remove(&partition);
        self.worker.progress.forget(&self.served.group, partition);
        self.metrics.partitions.set(self.partitions.len() as f64);
    }

    pub(super) fn lose_all(&mut self) {
        for partition in self.partitions.keys().copied().collect::<Vec<_>>() {
            self.forget(partition);
        }
    }

    /// Lets go of everything and leaves the group. Calls under way have until the end of the drain.
    pub(super) async fn leave(&mut self, mut consumer: Box<dyn Consumer>) {
        let partitions: Vec<Partition> = self.partitions.keys().copied().collect();
        self.let_go(&partitions, self.worker.config.drain, &mut *consumer).await;
        match tokio::time::timeout(LEAVE_MAX, consumer.leave()).await {
            Ok(Ok(()) | Err(LogError::Closed)) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, group = &*self.served.group, "the group was not left"),
            Err(_) => tracing::warn!(group = &*self.served.group, "leaving the group took too long"),
        }
    }
}
