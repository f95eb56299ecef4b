//! Commits: on change, one at a time, never after a partition is let go.

use event_log::{Consumer, LogError, Partition};
use tokio::time::Instant;

use super::NodeConsumer;
use crate::metrics;

impl NodeConsumer {
    /// Commits every partition that changed.
    pub(super) async fn commit_due(&mut self, consumer: &mut dyn Consumer) {
        self.commit_at = None;
        let partitions: Vec<Partition> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.commit(partition, consumer).await;
        }
        self.report_progress();
    }

    /// Commits one partition, where it changed. A failure is tried again when the next commit is due.
    pub(super) async fn commit(&mut self, partition: Partition, consumer: &mut dyn Consumer) {
        let Some(owned) = self.partitions.get_mut(&partition) else { return };
        let Some((offset, map)) = owned.to_commit() else { return };
        let Some(topic) = self.served.topics.first() else { return };
        let began = Instant::now();
        let committed = consumer.commit(topic, partition, offset, &map).await;
        self.metrics.commit.record(began.elapsed().as_secs_f64());
        match committed {
            Ok(()) => {
                owned.committed((offset, map));
                metrics::committed_offset(&self.served.graph, &self.served.node, partition, offset);
            }
            Err(LogError::StaleOwner { .. }) => {
                tracing::warn!(topic, partition, "the partition has another owner: others do its open tasks again");
                self.forget(partition);
            }
            Err(error) => {
                owned.commit_failed();
                tracing::warn!(error = %error, topic, partition, "a commit failed");
                self.commit_soon();
            }
        }
    }

    /// Tells the board how far each partition is. Every execution has a time-out, so that while some are under way
    /// there is no stall; with none under way, what waits must move.
    pub(super) fn report_progress(&self) {
        let mut oldest = None;
        for (&partition, owned) in &self.partitions {
            let is_busy =
                self.running.keys().any(|(of, ownership, _)| (*of, *ownership) == (partition, owned.ownership));
            let applied = if is_busy { owned.tail } else { owned.tracker.watermark() };
            self.worker.progress.report(&self.served.group, partition, applied, owned.tail);
            let waiting = owned.waiting.front().map(|fetched| fetched.timestamp);
            oldest = [oldest, waiting].into_iter().flatten().min();
        }
        let age = oldest.map_or(0, |oldest| (self.worker.executor.clock.now() - oldest).max(0));
        self.metrics.oldest_age.set(age as f64 / 1_000.0);
    }
}
