//! Graph versions by hash, compiled once, with the topics of their nodes.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use event_log::{Class, EventLog, LogError, TopicSpec};
use graph::{
    envelope::Lane,
    graph::{Graph, Graphs},
    reducers::Reducers,
    spec::GraphSpec,
};
use run_store::Specs;
use schemas::topic::Names;

use crate::{
    config::{Config, NodeTopics},
    error::Error,
};

/// What a run needs to know of its graph version.
pub struct Loaded {
    pub graph: Arc<Graph>,
    /// Topic and partition count, by place of work.
    pub topics: BTreeMap<String, (Arc<str>, u32)>,
}

/// Shared by the owners of one process.
pub struct GraphCache {
    loaded: RwLock<BTreeMap<String, Arc<Loaded>>>,
    specs: Arc<dyn Specs>,
    log: Arc<dyn EventLog>,
    names: Names,
    create_topics: Option<NodeTopics>,
    reducers: Reducers,
}

impl Graphs for GraphCache {
    fn graph(&self, hash: &str) -> Option<Arc<Graph>> {
        self.get(hash).map(|loaded| Arc::clone(&loaded.graph))
    }
}

impl GraphCache {
    pub fn new(specs: Arc<dyn Specs>, log: Arc<dyn EventLog>, names: Names, config: &Config) -> Self {
        let (create_topics, reducers) = (config.create_topics, config.reducers.clone());
        GraphCache { loaded: RwLock::default(), specs, log, names, create_topics, reducers }
    }

    pub fn get(&self, hash: &str) -> Option<Arc<Loaded>> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).get(hash).cloned()
    }

    /// Reads a version from the store. None where the store doesn't have it (yet).
    pub async fn load(&self, hash: &str) -> Result<Option<Arc<Loaded>>, Error> {
        if let Some(loaded) = self.get(hash) {
            return Ok(Some(loaded));
        }
        let Some(row) = self.specs.spec(hash).await? else { return Ok(None) };
        let unreadable = |reason: String| Error::Spec { hash: hash.to_owned(), reason };
        let spec: GraphSpec = serde_json::from_slice(&row.spec).map_err(|error| unreadable(error.to_string()))?;
        let mut topics = BTreeMap::new();
        // A node that is a graph never leaves the fold; its nodes' topics are those of the graph that declares them.
        for place in spec.places_of_work() {
            let topic = self.names.node(&spec.name, place, Lane::Interactive);
            let partitions = self.topic_partitions(&topic).await?;
            topics.insert(place.to_owned(), (Arc::from(topic), partitions));
        }
        let graph = Graph::with_reducers(spec, &self.reducers).map_err(|error| unreadable(error.to_string()))?;
        let loaded = Arc::new(Loaded { graph: Arc::new(graph), topics });
        self.loaded.write().unwrap_or_else(PoisonError::into_inner).insert(hash.to_owned(), Arc::clone(&loaded));
        Ok(Some(loaded))
    }

    async fn topic_partitions(&self, topic: &str) -> Result<u32, LogError> {
        match (self.log.partitions(topic).await, self.create_topics) {
            (Err(LogError::UnknownTopic { .. }), Some(NodeTopics { partitions, retention })) => {
                let class = Class::Durable { retention_ms: retention.as_millis() as u64 };
                self.log.create_topics(&[TopicSpec { name: topic.to_owned(), partitions, class }]).await?;
                Ok(partitions)
            }
            (answer, _) => answer,
        }
    }
}
