//! Everything in one process, with Rust nodes of one's own, or one role of several ([`Embedded::start_as`]):
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use node_workers::{GraphBuilder, NodeOutput, NodeRegistry};
//! use serde_json::json;
//! use server::{config::Config, embed::Embedded};
//!
//! let graph = GraphBuilder::new("shouting")
//!     .state(json!({"question": "string", "answer": "string", "turns": {"type": "array", "reducer": {"rust": "last_two"}}}))
//!     .reducer("last_two", |left, right| Ok(json!([left[1], right])))
//!     .node("shout", |input, _context| {
//!         Box::pin(async move { Ok(NodeOutput::update(json!({"answer": input.get("question")}))) })
//!     })
//!     .edge("START -> shout")
//!     .edge("shout -> END")
//!     .build()?;
//! // Node types that graph files name (`kind: rust`) are registered one by one.
//! let nodes = NodeRegistry::new().with_function("echo", |input| Ok(json!({"answer": input["question"]})));
//! let embedded = Embedded::start(Config::default(), graph.register(nodes)).await?;
//! embedded.publish_built(&graph).await?;
//! embedded.run_until_stopped().await
//! # }
//! ```

use graph::spec::GraphSpec;
use ingest::Ingest;
use node_workers::{BuiltGraph, NodeRegistry};

pub use crate::roles::Role;
use crate::{
    config::Config,
    run::Process,
    telemetry::{self, Telemetry},
};

/// All stages, or those of one role, running. Once in a process: they share its logger and its metrics.
pub struct Embedded {
    process: Process,
    /// Where clients are served.
    ingest: Option<Ingest>,
    telemetry: Telemetry,
}

impl Embedded {
    /// Opens log and store, starts every stage and serves clients.
    pub async fn start(config: Config, nodes: NodeRegistry) -> anyhow::Result<Self> {
        Embedded::start_as(Role::All, config, nodes).await
    }

    /// The same as one role of several: those apart share Kafka and a CQL store, and `nodes` are the node-worker's.
    pub async fn start_as(role: Role, config: Config, nodes: NodeRegistry) -> anyhow::Result<Self> {
        let name = if matches!(role, Role::All) { "embedded" } else { role.name() };
        let telemetry = telemetry::start(&config.telemetry.log, name)?;
        let process = role.open(config, telemetry.metrics.clone()).await?;
        let mut process = process.ok_or_else(|| anyhow::anyhow!("the process was told to stop before it had begun"))?;
        process.nodes = nodes;
        let ingest = role.start(&process)?;
        Ok(Embedded { process, ingest, telemetry })
    }

    /// Makes this the current version of its graph. A graph inside of another is published before it.
    pub async fn publish(&self, spec: GraphSpec) -> anyhow::Result<()> {
        self.publish_with(spec, Vec::new()).await
    }

    /// Makes a graph that was written in Rust the current version of its name, with the graphs inside of it.
    pub async fn publish_built(&self, graph: &BuiltGraph) -> anyhow::Result<()> {
        self.publish_with(graph.spec.clone(), graph.subgraphs.clone()).await
    }

    async fn publish_with(&self, spec: GraphSpec, subgraphs: Vec<GraphSpec>) -> anyhow::Result<()> {
        let name = spec.name.clone();
        let Some(ingest) = &self.ingest else {
            anyhow::bail!("{name} is published where clients are served: by everything in one process, or by ingest")
        };
        let published = ingest.publish_with(spec, subgraphs).await;
        published.map(drop).map_err(|error| anyhow::anyhow!("{name} can't be served: {}", error.message))
    }

    /// Runs until SIGTERM, Ctrl-C or the first stage to fail, then lets go of the log.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let result = self.process.run_until_stopped().await;
        self.telemetry.flush();
        result
    }
}
