//! A member of a group, and what it reads.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::{
    sync::{Notify, oneshot},
    time::timeout_at,
};

use super::{
    balance::{Key, MemberId},
    config::{BATCH_BYTES_MAX, BATCH_PARTITION_RECORDS_MAX, BATCH_RECORDS_MAX, METADATA_BYTES_MAX},
    feed::{Feed, Quota, Source},
    group::{Assignment, Group, MemberEvent},
    jobs::Jobs,
    meta::{Commit, Order},
    topics::Topics,
};
use crate::{
    contract::{Consumer, GroupEvent},
    error::LogError,
    record::{Fetched, Offset, Partition},
};

pub(super) struct GroupMember {
    pub(super) group: Arc<Group>,
    pub(super) id: MemberId,
    pub(super) wake: Arc<Notify>,
    pub(super) source: Source,
    pub(super) meta: Arc<Jobs<Order>>,
    pub(super) topics: Arc<Topics>,
    pub(super) prefetch_bytes_max: usize,
    pub(super) owned: Vec<Owned>,
    /// Whose turn it is to be read first.
    pub(super) turn: usize,
}

pub(super) struct Owned {
    feed: Feed,
    epoch: u64,
    paused: bool,
    revoked: bool,
}

impl GroupMember {
    fn hear(&mut self, event: MemberEvent) -> GroupEvent {
        match event {
            MemberEvent::Assigned(assignments) => {
                let assigned = assignments.iter().map(|assignment| assignment.assigned.clone()).collect();
                for Assignment { log, epoch, assigned } in assignments {
                    let position = assigned.committed.map_or(assigned.start, |(offset, _)| offset);
                    let feed = Feed::new(log, position, &self.wake);
                    self.owned.push(Owned { feed, epoch, paused: false, revoked: false });
                }
                GroupEvent::Assigned(assigned)
            }
            MemberEvent::Revoked(keys) => {
                for owned in self.owned.iter_mut().filter(|owned| owned.is_one_of(&keys)) {
                    owned.revoked = true;
                    owned.feed.forget();
                }
                GroupEvent::Revoked(keys)
            }
            MemberEvent::Lost(keys) => {
                self.owned.retain(|owned| !owned.is_one_of(&keys));
                GroupEvent::Lost(keys)
            }
        }
    }

    /// What is at hand, some of each partition, beginning with another one each time.
    fn collect(&mut self) -> Result<Vec<Fetched>, LogError> {
        let mut records = Vec::new();
        let (mut bytes_left, mut counted) = (BATCH_BYTES_MAX, 0);
        let reads_max = (self.prefetch_bytes_max / BATCH_BYTES_MAX).max(1);
        let mut ahead = self.owned.iter().filter(|owned| owned.feed.is_ahead()).count();
        let count = self.owned.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let owned = &mut self.owned[at];
            if owned.paused || owned.revoked {
                continue;
            }
            let was_ahead = owned.feed.is_ahead();
            let quota = Quota {
                records: BATCH_PARTITION_RECORDS_MAX.min(BATCH_RECORDS_MAX - records.len()),
                bytes: bytes_left,
                fetch: was_ahead || ahead < reads_max,
            };
            match owned.feed.take(&self.source, quota, &mut records) {
                // It comes up again when it is this partition's turn.
                Err(_) if !records.is_empty() => continue,
                taken => taken?,
            }
            ahead += usize::from(owned.feed.is_ahead() && !was_ahead);
            bytes_left = bytes_left.saturating_sub(records[counted..].iter().map(|new| new.record.size()).sum());
            counted = records.len();
            if counted >= BATCH_RECORDS_MAX || bytes_left == 0 {
                self.turn = at + 1;
                return Ok(records);
            }
        }
        self.turn = if count == 0 { 0 } else { (self.turn + 1) % count };
        Ok(records)
    }

    fn owned(&mut self, topic: &str, partition: Partition) -> Result<&mut Owned, LogError> {
        let stale = self.group.stale(topic, partition);
        let at = self.owned.iter().position(|owned| owned.is(topic, partition));
        match at {
            Some(at) => Ok(&mut self.owned[at]),
            None => {
                // A partition that there is not is another mistake than one that is not owned.
                self.topics.partition(topic, partition)?;
                Err(stale)
            }
        }
    }
}

impl Owned {
    fn is(&self, topic: &str, partition: Partition) -> bool {
        self.feed.log.number == partition && *self.feed.log.topic == *topic
    }

    fn is_one_of(&self, keys: &[Key]) -> bool {
        keys.iter().any(|(topic, partition)| self.is(topic, *partition))
    }
}

#[async_trait]
impl Consumer for GroupMember {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        loop {
            self.source.status.check()?;
            let news = self.group.news(self.id);
            if let Some(event) = news.event {
                return Ok(self.hear(event));
            }
            let records = self.collect()?;
            if !records.is_empty() {
                return Ok(GroupEvent::Records(records));
            }
            let woken = self.wake.notified();
            match news.deadline {
                // Woken or late, the group knows more.
                Some(deadline) => drop(timeout_at(deadline, woken).await),
                None => woken.await,
            }
        }
    }

    async fn commit(
        &mut self,
        topic: &str,
        partition: Partition,
        offset: Offset,
        metadata: &str,
    ) -> Result<(), LogError> {
        self.source.status.check()?;
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(LogError::MetadataTooLarge { bytes: metadata.len() });
        }
        let owned = self.owned(topic, partition)?;
        let (log, epoch) = (Arc::clone(&owned.feed.log), owned.epoch);
        let (reply, persisted) = oneshot::channel();
        let (group, metadata_owned) = (Arc::clone(&self.group.name), metadata.to_owned());
        let commit = Commit { group, topic: log.topic_id, partition, offset, metadata: metadata_owned };
        let meta = &self.meta;
        let passed_on =
            self.group.commit(self.id, epoch, &log, offset, metadata, || meta.push(Order::Commit { commit, reply }))?;
        if !passed_on {
            return Err(LogError::Closed);
        }
        match persisted.await {
            Ok(persisted) => persisted,
            Err(_) => Err(self.source.status.check().err().unwrap_or(LogError::Closed)),
        }
    }

    async fn seek(&mut self, topic: &str, partition: Partition, offset: Offset) -> Result<(), LogError> {
        let owned = self.owned(topic, partition)?;
        let (start, end) = owned.feed.log.bounds();
        if offset < start || offset > end {
            return Err(owned.feed.log.out_of_range(offset));
        }
        owned.feed.seek(offset);
        Ok(())
    }

    async fn pause(&mut self, topic: &str, partition: Partition) -> Result<(), LogError> {
        let owned = self.owned(topic, partition)?;
        owned.paused = true;
        owned.feed.forget();
        Ok(())
    }

    async fn resume(&mut self, topic: &str, partition: Partition) -> Result<(), LogError> {
        self.owned(topic, partition)?.paused = false;
        Ok(())
    }

    async fn release(&mut self, partitions: &[(Arc<str>, Partition)]) -> Result<(), LogError> {
        self.source.status.check()?;
        self.owned.retain(|owned| !(owned.revoked && owned.is_one_of(partitions)));
        self.group.release(self.id, partitions);
        Ok(())
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        // Dropping it leaves; commits were written before they returned.
        Ok(())
    }
}

impl Drop for GroupMember {
    fn drop(&mut self) {
        self.group.leave(self.id);
    }
}
