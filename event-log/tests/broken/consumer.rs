//! The faults of groups.

use std::sync::Arc;

use async_trait::async_trait;
use event_log::{Consumer, GroupEvent, LogError, Offset, Partition, layer::ConsumerLayer};

use super::Fault;

pub struct BrokenConsumer {
    good: Box<dyn Consumer>,
    fault: Fault,
    skips: bool,
    was_revoked: Vec<(Arc<str>, Partition)>,
}

impl BrokenConsumer {
    pub fn new(good: Box<dyn Consumer>, fault: Fault) -> Self {
        BrokenConsumer { good, fault, skips: false, was_revoked: Vec::new() }
    }
}

#[async_trait]
impl ConsumerLayer for BrokenConsumer {
    fn inner(&mut self) -> &mut dyn Consumer {
        &mut *self.good
    }

    fn into_inner(self: Box<Self>) -> Box<dyn Consumer> {
        self.good
    }

    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        loop {
            let mut event = self.good.next().await?;
            match &mut event {
                GroupEvent::Assigned(assigned) => {
                    let taken_over = assigned.iter().any(|assigned| assigned.committed.is_some());
                    self.skips |= self.fault == Fault::SkipsOneAfterARebalance && taken_over;
                    if self.fault == Fault::ForgetsMetadata {
                        for (_, metadata) in assigned.iter_mut().filter_map(|assigned| assigned.committed.as_mut()) {
                            metadata.clear();
                        }
                    }
                }
                GroupEvent::Revoked(keys) if self.fault == Fault::HandsOverBeforeTheRelease => {
                    self.good.release(keys).await?;
                }
                GroupEvent::Records(records) => {
                    if self.fault == Fault::LosesWhatACancelledReadHad {
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                    if std::mem::take(&mut self.skips) {
                        records.remove(0);
                    }
                    records.retain(|fetched| {
                        !self.was_revoked.iter().any(|key| *key == (Arc::clone(&fetched.topic), fetched.partition))
                    });
                    if records.is_empty() {
                        continue;
                    }
                }
                GroupEvent::Revoked(keys) if self.fault == Fault::IsSilentOfAPartitionThatComesBack => {
                    self.was_revoked.extend(keys.iter().cloned());
                }
                GroupEvent::Revoked(_) | GroupEvent::Lost(_) => {}
            }
            return Ok(event);
        }
    }

    async fn commit(
        &mut self,
        topic: &str,
        partition: Partition,
        offset: Offset,
        metadata: &str,
    ) -> Result<(), LogError> {
        let metadata = match self.fault {
            Fault::CutsMetadataShort if metadata.len() <= 4_096 => &metadata[..metadata.len().min(4_000)],
            _ => metadata,
        };
        match self.good.commit(topic, partition, offset, metadata).await {
            Err(LogError::StaleOwner { .. }) if self.fault == Fault::TakesAStaleOwnersCommit => Ok(()),
            result => result,
        }
    }

    async fn pause(&mut self, topic: &str, partition: Partition) -> Result<(), LogError> {
        if self.fault == Fault::IgnoresPause {
            return Ok(());
        }
        self.good.pause(topic, partition).await
    }
}
