//! The member's side of its poll thread: filters what it must not give out, and commits.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::{
    Offset as KafkaOffset, TopicPartitionList,
    consumer::{CommitMode, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    answers::blocking,
    config::Config,
    fetch::{Partitions, weight},
    member_thread::{self, Command, Event, Handle, TopicPartition},
};
use crate::{Consumer, Fetched, GroupEvent, LogError, Offset, Partition, Subscription};

const METADATA_BYTES_MAX: usize = 4096;
/// A commit that meets a change of the group's epoch is made again when the member has caught up with it.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
const COMMIT_RETRY: Duration = Duration::from_millis(20);
/// Of the prefetch budget, the share that partitions paused for a moment may hold before fetching stops too:
/// librdkafka drops what it has prefetched when it pauses.
const HELD_SHARE: usize = 4;

pub(super) struct Member {
    group: String,
    handle: Handle,
    events: mpsc::UnboundedReceiver<Event>,
    closing: CancellationToken,
    owned: Partitions<Owned>,
    /// How many partitions are paused or were moved by a seek: records pass unseen while there are none.
    special: usize,
    seeks: u64,
    ready: VecDeque<GroupEvent>,
    held_bytes_max: usize,
}

#[derive(Default)]
struct Owned {
    paused: bool,
    /// Fetching of it stopped as well.
    fetch_paused: bool,
    held: Vec<Fetched>,
    held_bytes: usize,
    /// The number of its last seek: what was fetched before is not given out.
    seek: u64,
}

impl Member {
    pub async fn join(
        config: &Config,
        subscription: Subscription,
        closing: CancellationToken,
        threads: TaskTracker,
    ) -> Result<Member, LogError> {
        let (handle, events) = member_thread::start(config, &subscription, closing.clone(), threads.token()).await?;
        Ok(Member {
            group: subscription.group,
            handle,
            events,
            closing,
            owned: Partitions::new(),
            special: 0,
            seeks: 0,
            ready: VecDeque::new(),
            held_bytes_max: subscription.prefetch_bytes_max / HELD_SHARE,
        })
    }

    /// What the member shall hear of an event, if anything.
    fn take(&mut self, event: Event) -> Result<Option<GroupEvent>, LogError> {
        match event {
            Event::Failed(error) => Err(error),
            Event::Records { records, bytes, seeks } => {
                self.handle.budget.give_back(bytes, &self.handle.thread);
                let records = self.sift(records, seeks);
                Ok((!records.is_empty()).then_some(GroupEvent::Records(records)))
            }
            Event::Group(event) => {
                match &event {
                    GroupEvent::Assigned(assigned) => {
                        for part in assigned {
                            self.owned.insert(&part.topic, part.partition, Owned::default());
                        }
                    }
                    GroupEvent::Lost(partitions) => {
                        let mut lost = self.handle.commits.lost.lock().unwrap_or_else(PoisonError::into_inner);
                        lost.retain(|unheard| !partitions.contains(unheard));
                        drop(lost);
                        self.forget(partitions);
                    }
                    GroupEvent::Revoked(_) | GroupEvent::Records(_) => {}
                }
                Ok(Some(event))
            }
        }
    }

    /// Keeps back records of paused partitions, and drops those from before a seek.
    fn sift(&mut self, records: Vec<Fetched>, seeks: u64) -> Vec<Fetched> {
        if self.special == 0 {
            return records;
        }
        let (mut passed, mut sought) = (Vec::with_capacity(records.len()), false);
        for fetched in records {
            let Some(owned) = self.owned.get_mut(&fetched.topic, fetched.partition) else { continue };
            if seeks < owned.seek {
                continue;
            }
            // What comes from here on was fetched after the seek.
            sought |= std::mem::take(&mut owned.seek) > 0;
            if !owned.paused {
                passed.push(fetched);
                continue;
            }
            owned.held_bytes += weight(&fetched);
            if owned.held_bytes > self.held_bytes_max && !owned.fetch_paused {
                owned.fetch_paused = true;
                let of = (Arc::clone(&fetched.topic), fetched.partition);
                // A thread that ended has nothing to pause.
                let _ = self.handle.send(Command::Pause { of });
            }
            owned.held.push(fetched);
        }
        if sought {
            self.count_special();
        }
        passed
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for (topic, partition) in partitions {
            self.owned.remove(topic, *partition);
        }
        self.count_special();
    }

    fn count_special(&mut self) {
        self.special = self.owned.iter().filter(|(.., owned)| owned.paused || owned.seek > 0).count();
    }

    fn stale(&self, topic: &str, partition: Partition) -> LogError {
        LogError::StaleOwner { group: self.group.clone(), topic: topic.to_string(), partition }
    }

    /// The partition as the thread names it, where this member owns it.
    fn name(&self, topic: &str, partition: Partition) -> Result<TopicPartition, LogError> {
        let found = self.owned.iter().find(|(name, part, _)| &***name == topic && *part == partition);
        found.map(|(name, part, _)| (Arc::clone(name), part)).ok_or_else(|| self.stale(topic, partition))
    }

    /// `None` where the partition was lost, though the member has not heard of it yet.
    async fn commit_once(
        &self,
        of: TopicPartition,
        list: TopicPartitionList,
    ) -> Result<Option<Result<(), KafkaError>>, LogError> {
        let commits = Arc::clone(&self.handle.commits);
        let permit = Arc::clone(&commits.one).acquire_owned().await.map_err(|_| LogError::Closed)?;
        let consumer = self.handle.consumer.upgrade().ok_or(LogError::Closed)?;
        blocking(move || {
            let lost = commits.lost.lock().unwrap_or_else(PoisonError::into_inner).contains(&of);
            let committed = (!lost).then(|| consumer.commit(&list, CommitMode::Sync));
            drop((consumer, permit));
            committed
        })
        .await
    }
}

#[async_trait]
impl Consumer for Member {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        if let Some(event) = self.ready.pop_front() {
            return Ok(event);
        }
        loop {
            let event = tokio::select! {
                biased;
                () = self.closing.cancelled() => return Err(LogError::Closed),
                event = self.events.recv() => event.ok_or(LogError::Closed)?,
            };
            if let Some(event) = self.take(event)? {
                return Ok(event);
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
        if metadata.len() > METADATA_BYTES_MAX {
            return Err(LogError::MetadataTooLarge { bytes: metadata.len() });
        }
        let of = self.name(topic, partition)?;
        let deadline = Instant::now() + COMMIT_TIMEOUT;
        loop {
            let list = next_read(topic, partition, offset, metadata)?;
            let error = match self.commit_once(of.clone(), list).await? {
                None => return Err(self.stale(topic, partition)),
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => error,
            };
            match fate(&error) {
                Fate::Stale => return Err(self.stale(topic, partition)),
                Fate::TooLarge => return Err(LogError::MetadataTooLarge { bytes: metadata.len() }),
                Fate::Passing if Instant::now() < deadline => tokio::time::sleep(COMMIT_RETRY).await,
                Fate::Passing | Fate::Failed => {
                    return Err(self.handle.context.unavailable("take a commit", &error));
                }
            }
        }
    }

    async fn seek(&mut self, topic: &str, partition: Partition, offset: Offset) -> Result<(), LogError> {
        let of = self.name(topic, partition)?;
        self.seeks += 1;
        let count = self.seeks;
        if let Some(owned) = self.owned.get_mut(topic, partition) {
            owned.seek = count;
            owned.held.clear();
            owned.held_bytes = 0;
        }
        self.ready.retain_mut(|event| match event {
            GroupEvent::Records(records) => {
                records.retain(|fetched| *fetched.topic != *topic || fetched.partition != partition);
                !records.is_empty()
            }
            _ => true,
        });
        self.count_special();
        let (done, sought) = oneshot::channel();
        self.handle.send(Command::Seek { of, offset, count, done })?;
        sought.await.unwrap_or(Err(LogError::Closed))
    }

    async fn pause(&mut self, topic: &str, partition: Partition) -> Result<(), LogError> {
        self.name(topic, partition)?;
        if let Some(owned) = self.owned.get_mut(topic, partition) {
            owned.paused = true;
        }
        self.count_special();
        Ok(())
    }

    async fn resume(&mut self, topic: &str, partition: Partition) -> Result<(), LogError> {
        let of = self.name(topic, partition)?;
        let Some(owned) = self.owned.get_mut(topic, partition) else { return Ok(()) };
        owned.paused = false;
        owned.held_bytes = 0;
        let (held, fetch_paused) = (std::mem::take(&mut owned.held), std::mem::take(&mut owned.fetch_paused));
        if !held.is_empty() {
            self.ready.push_back(GroupEvent::Records(held));
        }
        self.count_special();
        if fetch_paused {
            self.handle.send(Command::Resume { of })?;
        }
        Ok(())
    }

    async fn release(&mut self, partitions: &[(Arc<str>, Partition)]) -> Result<(), LogError> {
        // A commit that is under way goes first: after the release it could move the new owner's position back.
        let permit = self.handle.commits.one.acquire().await.map_err(|_| LogError::Closed)?;
        let (done, released) = oneshot::channel();
        self.handle.send(Command::Release { partitions: partitions.to_vec(), done })?;
        let released = released.await.unwrap_or(Err(LogError::Closed));
        drop(permit);
        self.forget(partitions);
        released
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        let _permit = self.handle.commits.one.acquire().await.map_err(|_| LogError::Closed)?;
        let (done, left) = oneshot::channel();
        if self.handle.send(Command::Leave { done: Some(done) }).is_ok() {
            // A thread that ended has left.
            let _ = left.await;
        }
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.handle.send(Command::Leave { done: None });
    }
}

/// As it is committed.
fn next_read(
    topic: &str,
    partition: Partition,
    offset: Offset,
    metadata: &str,
) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::with_capacity(1);
    let mut part = list.add_partition(topic, partition as i32);
    part.set_metadata(metadata);
    match part.set_offset(KafkaOffset::Offset(offset as i64)) {
        Ok(()) => Ok(list),
        Err(error) => Err(LogError::Unavailable { reason: format!("offset {offset} can't be committed: {error}") }),
    }
}

enum Fate {
    /// Others own the partition.
    Stale,
    TooLarge,
    /// It may be taken soon.
    Passing,
    Failed,
}

fn fate(error: &KafkaError) -> Fate {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::UnknownMemberId | Code::FencedMemberEpoch | Code::IllegalGeneration | Code::AssignmentLost) => {
            Fate::Stale
        }
        Some(Code::OffsetMetadataTooLarge) => Fate::TooLarge,
        Some(
            Code::StaleMemberEpoch
            | Code::RebalanceInProgress
            | Code::NotCoordinator
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::WaitingForCoordinator,
        ) => Fate::Passing,
        _ => Fate::Failed,
    }
}
