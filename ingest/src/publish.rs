//! Publishing a version of a graph: topics, then the spec, then its name, then the news. In this order, so that no run
//! can begin with a version whose topics or spec are missing.

use std::sync::Arc;

use event_log::{Class, TopicSpec};
use graph::{
    envelope::Lane,
    spec::{GraphSpec, NodeKind, Serve, SubgraphNode},
};
use run_store::rows::SpecRow;
use schemas::{client::GraphPublished, error::Code, record::ControlFact};

use crate::{ingest::Ingest, published::Graph, refusal::Refusal, route};

/// Why a graph was not published.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct PublishError {
    /// The API's code, such as `graph_invalid` or `log_unavailable`.
    pub code: &'static str,
    pub message: String,
}

impl Ingest {
    /// Publishes a checked spec: new runs of its name begin with it when this returns. Publishing the current version
    /// again changes nothing.
    pub async fn publish(&self, spec: GraphSpec) -> Result<GraphPublished, PublishError> {
        self.publish_with(spec, Vec::new()).await
    }

    /// As [`Ingest::publish`], with the graphs that stand in its nodes, innermost first.
    pub async fn publish_with(
        &self,
        spec: GraphSpec,
        subgraphs: Vec<GraphSpec>,
    ) -> Result<GraphPublished, PublishError> {
        let published = self.publish_version(spec, subgraphs).await;
        published
            .map_err(|refusal| PublishError { code: refusal.code().as_str(), message: refusal.message().to_owned() })
    }

    pub(crate) async fn publish_version(
        &self,
        spec: GraphSpec,
        subgraphs: Vec<GraphSpec>,
    ) -> Result<GraphPublished, Refusal> {
        if let Some(serve) = &spec.serve {
            self.check_path(&spec.name, serve)?;
        }
        let now = self.deps.clock.now();
        for inner in subgraphs.iter().chain([&spec]) {
            self.check_subgraphs(inner, &subgraphs).await?;
            self.deps.log.create_topics(&self.topics(inner)).await?;
            let (name, hash) = (inner.name.clone(), inner.hash());
            let row = SpecRow { hash, name, spec: inner.canonical().into(), created_at: now };
            self.deps.specs.put_spec(&row).await?;
        }
        let (name, hash) = (spec.name.clone(), spec.hash());
        self.deps.specs.publish(&name, &hash, now).await?;
        self.tell(ControlFact::GraphPublished { graph: name.clone(), hash: hash.clone() }).await?;
        self.published.put(Arc::new(Graph::new(spec, hash.clone(), now)));
        tracing::info!(graph = name, hash, "a graph was published");
        Ok(GraphPublished { name, hash, warnings: Vec::new() })
    }

    /// Each node's interactive lane; the batch lane is made with the first batch.
    fn topics(&self, spec: &GraphSpec) -> Vec<TopicSpec> {
        let topic = |node: &str| TopicSpec {
            name: self.config.names.node(&spec.name, node, Lane::Interactive),
            partitions: self.config.node_partitions,
            class: Class::Durable { retention_ms: self.config.node_retention.as_millis() as u64 },
        };
        spec.places_of_work().map(topic).collect()
    }

    /// A version that a node names must have been published.
    async fn check_subgraphs(&self, spec: &GraphSpec, inline: &[GraphSpec]) -> Result<(), Refusal> {
        for node in &spec.nodes {
            let NodeKind::Subgraph(SubgraphNode { graph, hash, .. }) = &node.kind else { continue };
            if inline.iter().any(|inner| inner.hash() == *hash) {
                continue;
            }
            if self.deps.specs.spec(hash).await?.is_none() {
                let says = format!(
                    "node `{}` is the graph {graph}@{hash}, which was not published here: publish it first",
                    node.name
                );
                return Err(Refusal::new(Code::GraphInvalid, says).param(format!("nodes.{}.graph", node.name)));
            }
        }
        Ok(())
    }

    /// A path is one graph's, and none of ours.
    fn check_path(&self, graph: &str, serve: &Serve) -> Result<(), Refusal> {
        let refuse = |says: String| Err(Refusal::new(Code::GraphInvalid, says).param("serve.path"));
        let path = serve.path.as_str();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._~/".contains(c);
        if !path.starts_with('/')
            || path.len() < 2
            || path.ends_with('/')
            || path.contains("//")
            || !path.chars().all(plain)
        {
            return refuse(format!("`{path}` is no path to serve; write it like /support or /v2/support"));
        }
        let first = |path: &str| path.split('/').nth(1).map(str::to_owned);
        if let Some(ours) = route::all().iter().find(|route| first(route.path) == first(path)) {
            return refuse(format!("`{path}` lies under `{}`, which the API has itself; choose another", ours.path));
        }
        match self.published.at_path(path) {
            Some((_, other)) if other.name != graph => {
                refuse(format!("`{path}` is served by the graph `{}` already; choose another", other.name))
            }
            Some(_) | None => Ok(()),
        }
    }
}
