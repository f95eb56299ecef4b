//! A log or a member around another that differs in a few calls: what a layer doesn't say goes on to what it stands
//! around. Tests make logs that fail of them.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    contract::{Ack, Consumer, EventLog, GroupEvent, Reader, Start, Subscription},
    error::LogError,
    record::{Offset, Partition, Record},
    topic::TopicSpec,
};

/// An [`EventLog`] around another.
#[async_trait]
pub trait LogLayer: Send + Sync + 'static {
    fn inner(&self) -> &dyn EventLog;

    fn append(&self, topic: &str, partition: Partition, record: Record) -> Ack {
        self.inner().append(topic, partition, record)
    }

    async fn bounds(&self, topic: &str, partition: Partition) -> Result<(Offset, Offset), LogError> {
        self.inner().bounds(topic, partition).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, LogError> {
        self.inner().subscribe(subscription).await
    }

    async fn read(&self, topic: &str, partition: Partition, start: Start) -> Result<Box<dyn Reader>, LogError> {
        self.inner().read(topic, partition, start).await
    }
}

#[async_trait]
impl<L: LogLayer> EventLog for L {
    async fn create_topics(&self, topics: &[TopicSpec]) -> Result<(), LogError> {
        self.inner().create_topics(topics).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.inner().partitions(topic).await
    }

    fn append(&self, topic: &str, partition: Partition, record: Record) -> Ack {
        LogLayer::append(self, topic, partition, record)
    }

    fn append_lossy(&self, topic: &str, partition: Partition, record: Record) -> bool {
        self.inner().append_lossy(topic, partition, record)
    }

    async fn bounds(&self, topic: &str, partition: Partition) -> Result<(Offset, Offset), LogError> {
        LogLayer::bounds(self, topic, partition).await
    }

    async fn subscribe(&self, subscription: Subscription) -> Result<Box<dyn Consumer>, LogError> {
        LogLayer::subscribe(self, subscription).await
    }

    async fn read(&self, topic: &str, partition: Partition, start: Start) -> Result<Box<dyn Reader>, LogError> {
        LogLayer::read(self, topic, partition, start).await
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: Partition,
    ) -> Result<Option<(Offset, String)>, LogError> {
        self.inner().committed(group, topic, partition).await
    }

    fn record_bytes_max(&self) -> usize {
        self.inner().record_bytes_max()
    }

    async fn close(&self) {
        self.inner().close().await;
    }
}

/// A [`Consumer`] around another.
#[async_trait]
pub trait ConsumerLayer: Send + 'static {
    fn inner(&mut self) -> &mut dyn Consumer;

    fn into_inner(self: Box<Self>) -> Box<dyn Consumer>;

    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        self.inner().next().await
    }

    async fn commit(
        &mut self,
        topic: &str,
        partition: Partition,
        offset: Offset,
        metadata: &str,
    ) -> Result<(), LogError> {
        self.inner().commit(topic, partition, offset, metadata).await
    }

    async fn pause(&mut self, topic: &str, partition: Partition) -> Result<(), LogError> {
        self.inner().pause(topic, partition).await
    }
}

#[async_trait]
impl<C: ConsumerLayer> Consumer for C {
    async fn next(&mut self) -> Result<GroupEvent, LogError> {
        ConsumerLayer::next(self).await
    }

    async fn commit(
        &mut self,
        topic: &str,
        partition: Partition,
        offset: Offset,
        metadata: &str,
    ) -> Result<(), LogError> {
        ConsumerLayer::commit(self, topic, partition, offset, metadata).await
    }

    async fn seek(&mut self, topic: &str, partition: Partition, offset: Offset) -> Result<(), LogError> {
        self.inner().seek(topic, partition, offset).await
    }

    async fn pause(&mut self, topic: &str, partition: Partition) -> Result<(), LogError> {
        ConsumerLayer::pause(self, topic, partition).await
    }

    async fn resume(&mut self, topic: &str, partition: Partition) -> Result<(), LogError> {
        self.inner().resume(topic, partition).await
    }

    async fn release(&mut self, partitions: &[(Arc<str>, Partition)]) -> Result<(), LogError> {
        self.inner().release(partitions).await
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.into_inner().leave().await
    }
}
