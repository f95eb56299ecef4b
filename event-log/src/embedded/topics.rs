//! The topics by name.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::partition::PartitionLog;
use crate::{
    error::LogError,
    record::{Offset, Partition},
    topic::Class,
};

pub(super) struct Topic {
    pub(super) name: Arc<str>,
    pub(super) id: u32,
    pub(super) class: Class,
    pub(super) partitions: Vec<Arc<PartitionLog>>,
}

impl Topic {
    /// `next` gives each partition's next offset.
    pub(super) fn new(name: &str, id: u32, class: Class, partitions: u32, next: impl Fn(Partition) -> Offset) -> Self {
        let name: Arc<str> = name.into();
        let partitions = (0..partitions)
            .map(|number| Arc::new(PartitionLog::new(Arc::clone(&name), id, class, number, next(number))))
            .collect();
        Topic { name, id, class, partitions }
    }

    pub(super) fn partition(&self, number: Partition) -> Result<&Arc<PartitionLog>, LogError> {
        self.partitions.get(number as usize).ok_or_else(|| LogError::UnknownPartition {
            topic: self.name.to_string(),
            partition: number,
            partitions: self.partitions.len() as u32,
        })
    }
}

#[derive(Default)]
pub(super) struct Topics {
    by_name: RwLock<BTreeMap<Arc<str>, Arc<Topic>>>,
}

impl Topics {
    pub(super) fn get(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        let topics = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        topics.get(name).map(Arc::clone).ok_or_else(|| LogError::UnknownTopic { topic: name.to_owned() })
    }

    pub(super) fn partition(&self, name: &str, number: Partition) -> Result<Arc<PartitionLog>, LogError> {
        let topics = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        let topic = topics.get(name).ok_or_else(|| LogError::UnknownTopic { topic: name.to_owned() })?;
        topic.partition(number).map(Arc::clone)
    }

    pub(super) fn insert(&self, topic: Topic) {
        let mut topics = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        topics.insert(Arc::clone(&topic.name), Arc::new(topic));
    }

    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).values().map(Arc::clone).collect()
    }

    pub(super) fn by_id(&self) -> BTreeMap<u32, Arc<Topic>> {
        self.all().into_iter().map(|topic| (topic.id, topic)).collect()
    }
}
