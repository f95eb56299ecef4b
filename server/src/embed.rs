//! Everything in one process, with Rust nodes of one's own, or one role of several ([`Embedded::start_as`]):
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use node_workers::NodeRegistry;
//! use server::{config::Config, embed::Embedded};
//!
//! let nodes = NodeRegistry::new()
//!     .with_function("shout", |input| Ok(serde_json::json!({"answer": input["question"]})))
//!     // For channels that say `reducer: {rust: last_two}`.
//!     .with_reducer("last_two", |left, right| Ok(serde_json::json!([left[1], right])));
//! let embedded = Embedded::start(Config::default(), nodes).await?;
//! // Publish graphs by `embedded.publish`, or over HTTP.
//! embedded.run_until_stopped().await
//! # }
//! ```

use graph::spec::GraphSpec;
use ingest::Ingest;
use node_workers::NodeRegistry;

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
        let name = spec.name.clone();
        let Some(ingest) = &self.ingest else {
            anyhow::bail!("{name} is published where clients are served: by everything in one process, or by ingest")
        };
        let published = ingest.publish(spec).await;
        published.map(drop).map_err(|error| anyhow::anyhow!("{name} can't be served: {}", error.message))
    }

    /// Runs until SIGTERM, Ctrl-C or the first stage to fail, then lets go of the log.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        let result = self.process.run_until_stopped().await;
        self.telemetry.flush();
        result
    }
}
