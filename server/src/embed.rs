//! Everything in one process, with Rust nodes of one's own:
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use node_workers::NodeRegistry;
//! use server::{config::Config, embed::Embedded};
//!
//! let nodes = NodeRegistry::new().with_function("shout", |input| Ok(serde_json::json!({"answer": input["question"]})));
//! let embedded = Embedded::start(Config::default(), nodes).await?;
//! // Publish graphs by `embedded.publish`, or over HTTP.
//! embedded.run_until_stopped().await
//! # }
//! ```

use graph::spec::GraphSpec;
use ingest::Ingest;
use node_workers::NodeRegistry;

use crate::{
    config::Config,
    run::Process,
    telemetry::{self, Telemetry},
};

/// All stages, running. Once in a process: they share its logger and its metrics.
pub struct Embedded {
    process: Process,
    ingest: Ingest,
    telemetry: Telemetry,
}

impl Embedded {
    /// Opens log and store, starts every stage and serves clients.
    pub async fn start(config: Config, nodes: NodeRegistry) -> anyhow::Result<Self> {
        let telemetry = telemetry::start(&config.telemetry.log, "embedded")?;
        let process = Process::open(config, telemetry.metrics.clone()).await?;
        let mut process = process.ok_or_else(|| anyhow::anyhow!("the process was told to stop before it had begun"))?;
        process.nodes = nodes;
        let ingest = process.start_all()?;
        process.serve_clients(ingest.clone(), process.node_store.router())?;
        Ok(Embedded { process, ingest, telemetry })
    }

    /// Makes this the current version of its graph. A graph inside of another is published before it.
    pub async fn publish(&self, spec: GraphSpec) -> anyhow::Result<()> {
        let name = spec.name.clone();
        let published = self.ingest.publish(spec).await;
        published.map(drop).map_err(|error| anyhow::anyhow!("{name} can't be served: {}", error.message))
    }

    /// Runs until SIGTERM, Ctrl-C or the first stage to fail, then lets go of the log.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let result = self.process.run_until_stopped().await;
        self.telemetry.flush();
        result
    }
}
