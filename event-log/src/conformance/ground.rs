//! What the cases share: a log to try, and short words for the usual steps.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{Instance, Stop, broken, member::Member};
use crate::{
    contract::{EventLog, Reader, Start, Subscription},
    record::{Appended, Fetched, Offset, Partition, Record},
    topic::{Class, TopicSpec},
};

pub struct Ground {
    pub(super) instance: Box<dyn Instance>,
    patience: Duration,
}

impl Ground {
    pub(super) fn new(instance: Box<dyn Instance>, patience: Duration) -> Self {
        Ground { instance, patience }
    }

    pub(super) fn log(&self) -> Arc<dyn EventLog> {
        self.instance.log()
    }

    /// Makes a durable topic and returns its name.
    pub(super) async fn topic(&self, name: &str, partitions: u32) -> Result<String, Stop> {
        self.topic_of(name, partitions, Class::Durable { retention_ms: super::RETENTION_MS }).await
    }

    pub(super) async fn topic_of(&self, name: &str, partitions: u32, class: Class) -> Result<String, Stop> {
        let name = self.instance.name(name);
        self.log().create_topics(&[TopicSpec { name: name.clone(), partitions, class }]).await?;
        Ok(name)
    }

    /// Appends `{prefix}0`, `{prefix}1` .. and returns when all are acked.
    pub(super) async fn append(
        &self,
        topic: &str,
        partition: Partition,
        prefix: &str,
        count: usize,
    ) -> Result<Vec<Appended>, Stop> {
        let log = self.log();
        let acks: Vec<_> =
            payloads(prefix, count).map(|text| log.append(topic, partition, Record::new(text.clone(), text))).collect();
        let mut appended = Vec::new();
        for ack in acks {
            appended.push(self.soon("an ack", ack).await??);
        }
        Ok(appended)
    }

    pub(super) async fn read(&self, topic: &str, partition: Partition, start: Start) -> Result<Box<dyn Reader>, Stop> {
        Ok(self.soon("a reader", self.log().read(topic, partition, start)).await??)
    }

    /// Reads at least `count` records.
    pub(super) async fn take(&self, reader: &mut dyn Reader, count: usize) -> Result<Vec<Fetched>, Stop> {
        let mut records = Vec::new();
        while records.len() < count {
            let what = format!("record {} of {count}", records.len());
            records.extend(self.soon(&what, reader.next()).await??);
        }
        Ok(records)
    }

    /// Everything in a partition from its start to its end.
    pub(super) async fn everything(&self, topic: &str, partition: Partition) -> Result<Vec<Fetched>, Stop> {
        let (start, end) = self.log().bounds(topic, partition).await?;
        let mut records: Vec<Fetched> = Vec::new();
        if start < end {
            let mut reader = self.read(topic, partition, Start::Earliest).await?;
            while records.last().is_none_or(|last| last.offset + 1 < end) {
                records.extend(self.take(&mut *reader, 1).await?);
            }
        }
        Ok(records)
    }

    pub(super) async fn join(&self, group: &str, topics: &[&str]) -> Result<Member, Stop> {
        let subscription = Subscription {
            group: self.instance.name(group),
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            prefetch_bytes_max: 1 << 20,
        };
        let consumer = self.soon("a consumer", self.log().subscribe(subscription)).await??;
        Ok(Member::new(consumer, self.patience))
    }

    pub(super) async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: Partition,
    ) -> Result<Option<(Offset, String)>, Stop> {
        Ok(self.log().committed(&self.instance.name(group), topic, partition).await?)
    }

    /// What should happen.
    pub(super) async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> Result<T, Stop> {
        soon(self.patience, what, future).await
    }

    /// How long to look out for what should not happen.
    pub(super) fn a_while(&self) -> Duration {
        self.patience / 10
    }
}

pub(super) async fn soon<T>(patience: Duration, what: &str, future: impl Future<Output = T>) -> Result<T, Stop> {
    match timeout(patience, future).await {
        Ok(value) => Ok(value),
        Err(_) => broken!("waited {patience:?} in vain for {what}"),
    }
}

pub(super) fn payloads(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("{prefix}{number}"))
}

pub(super) fn texts(records: &[Fetched]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.record.payload).into_owned()).collect()
}
