//! The contract that every log keeps.
//!
//! ```text
//! partition:   start            committed        tail (end)
//!   offset      12 13 14 15 16 17 | 18 19 20 21 22 | 23
//!               ^ oldest kept       ^ next to read   ^ the offset that the next append gets
//!                 of a group
//! ```
//!
//! - An append is acked when it would survive the death of this process (and, embedded, of the machine's power).
//!   Acks of one partition come in the order of the calls, and its offsets have no holes while the log lives
//!   (a reader must still tolerate holes: Kafka has them).
//! - A group's partition has one owner. A commit by a former owner is refused with [`LogError::StaleOwner`].
//! - Offsets committed are *the next record to read*; up to 4,096 bytes of metadata go with them.
//! - Groups know nothing of each other. Readers belong to no group.

use std::{future::Future, pin::Pin, sync::Arc};

use async_trait::async_trait;

use crate::{
    error::LogError,
    record::{Appended, Fetched, Offset, Partition, Record},
    topic::TopicSpec,
};

/// Resolves when the record is durable, or says why it may not be.
pub type Ack = Pin<Box<dyn Future<Output = Result<Appended, LogError>> + Send>>;

#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Makes the topics that don't exist and returns when they can be appended to.
    ///
    /// A topic that exists with another number of partitions is [`LogError::UnknownPartition`].
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError>;

    async fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// Takes the record into the partition's order now, at the call; the future only reports.
    /// Dropping the future drops nothing.
    ///
    /// A record over the size limit is refused without being taken. Records taken before the log failed may be in
    /// the log or not; a refused or failed one never leaves a hole that a later one of the same caller fills.
    fn append(&self, topic: &str, partition: Partition, record: Record) -> Ack;

    /// As [`EventLog::append`] for ephemeral topics: never waits, and drops the record where a queue is full.
    /// Returns whether it was taken.
    fn append_lossy(&self, topic: &str, partition: Partition, record: Record) -> bool;

    /// The oldest offset kept and the offset that the next append gets.
    async fn bounds(&self, topic: &str, partition: Partition) -> Result<(Offset, Offset), LogError>;

    /// Joins a group. Partitions arrive as [`GroupEvent::Assigned`].
    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, LogError>;

    /// Reads one partition from `start` and goes on at the tail, outside of any group.
    async fn read(&self, topic: &str, partition: Partition, start: Start) -> Result<Box<dyn Reader>, LogError>;

    /// The group's committed offset and metadata, read without joining it.
    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: Partition,
    ) -> Result<Option<(Offset, String)>, LogError>;

    /// Largest record in bytes, as [`Record::size`] counts.
    fn record_bytes_max(&self) -> usize;

    /// Takes no more appends, ends readers and consumers, and returns when everything taken is acked or failed.
    async fn close(&self);
}

/// What a member of a group wants to read.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub group: String,
    pub topics: Vec<String>,
    /// Bytes fetched ahead of [`Consumer::next`], in all.
    pub prefetch_bytes_max: usize,
}

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    /// Only what is appended from now on.
    Tail,
    At(Offset),
}

/// A partition that this member owns from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub topic: Arc<str>,
    pub partition: Partition,
    /// What the group committed last: the next offset to read, and its metadata.
    pub committed: Option<(Offset, String)>,
    /// The oldest offset kept.
    pub start: Offset,
    /// The tail when the partition was assigned: everything below it may have been seen by a former owner.
    pub end: Offset,
}

#[derive(Debug)]
pub enum GroupEvent {
    /// Reading begins at the committed offset, else at the start, unless [`Consumer::seek`] says otherwise before
    /// the next call of [`Consumer::next`].
    Assigned(Vec<Assigned>),
    /// The member must let go of these. It may commit them until it calls [`Consumer::release`], and has to call it
    /// within 5 s: no new owner is assigned before.
    Revoked(Vec<(Arc<str>, Partition)>),
    /// The member was cut off (its session ended): these are owned by others already, and commits are refused.
    Lost(Vec<(Arc<str>, Partition)>),
    /// In the order of offsets within a partition.
    Records(Vec<Fetched>),
}

/// A member of a group. Dropping it leaves the group without committing.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for what comes next. Cancelling the future loses nothing.
    async fn next(&mut self) -> Result<GroupEvent, LogError>;

    /// Makes `offset` the next one that an owner of the partition reads.
    async fn commit(
        &mut self,
        topic: &str,
        partition: Partition,
        offset: Offset,
        metadata: &str,
    ) -> Result<(), LogError>;

    /// Reads on from `offset`.
    async fn seek(&mut self, topic: &str, partition: Partition, offset: Offset) -> Result<(), LogError>;

    /// Stops delivery of a partition; what [`Consumer::next`] has given out stays given out, nothing is skipped later.
    async fn pause(&mut self, topic: &str, partition: Partition) -> Result<(), LogError>;

    async fn resume(&mut self, topic: &str, partition: Partition) -> Result<(), LogError>;

    /// Lets go of partitions named by the last [`GroupEvent::Revoked`].
    async fn release(&mut self, partitions: &[(Arc<str>, Partition)]) -> Result<(), LogError>;

    /// Leaves the group; its partitions may be assigned to others when this returns.
    async fn leave(self: Box<Self>) -> Result<(), LogError>;
}

/// Reads one partition in order, outside of any group.
#[async_trait]
pub trait Reader: Send {
    /// Waits for at least one record. Cancelling the future loses nothing.
    async fn next(&mut self) -> Result<Vec<Fetched>, LogError>;
}
