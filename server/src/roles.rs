//! What a process is: everything, or one role apart from the others; and the verbs that prepare the ground for them.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use ingest::Ingest;
use metrics_exporter_prometheus::PrometheusHandle;
use node_workers::Serve;

use crate::{
    config::{Config, StoreKind},
    parts,
    run::Process,
};

/// What of the pipeline runs in a process.
#[derive(Clone, Debug)]
pub enum Role {
    /// Everything, as configured: on the embedded parts or on shared ones.
    All,
    /// HTTP in.
    Ingest,
    /// Folds runs and decides what runs next.
    Orchestrator,
    /// Works on nodes.
    NodeWorker(Serve),
    /// Writes results, serves streams and reads.
    Sink,
}

impl Role {
    pub fn name(&self) -> &'static str {
        match self {
            Role::All => "serve",
            Role::Ingest => "ingest",
            Role::Orchestrator => "orchestrator",
            Role::NodeWorker(_) => "node-worker",
            Role::Sink => "sink",
        }
    }

    /// Opens log and store; None where the process was told to stop before.
    pub async fn open(&self, config: Config, metrics: PrometheusHandle) -> anyhow::Result<Option<Process>> {
        if !matches!(self, Role::All) {
            config.refuse_embedded(self.name())?;
        }
        Process::open(config, metrics).await
    }

    /// Starts its stages. Gives what publishes graphs, where clients are served.
    pub fn start(self, process: &Process) -> anyhow::Result<Option<Ingest>> {
        match self {
            Role::All => {
                let ingest = process.start_all()?;
                process.serve_clients(ingest.clone(), process.node_store.router())?;
                return Ok(Some(ingest));
            }
            Role::Ingest => {
                let ingest = process.ingest(process.sinks_apart()?)?;
                process.serve_clients(ingest.clone(), Router::new())?;
                return Ok(Some(ingest));
            }
            Role::Orchestrator => {
                process.start_orchestrator();
                process.serve_role(Router::new())?;
            }
            Role::NodeWorker(serve) => {
                process.start_node_workers(serve)?;
                process.serve_role(process.node_store.router())?;
            }
            Role::Sink => {
                let server = &process.config.server;
                let address = server.advertise.clone().unwrap_or_else(|| format!("http://{}", server.listen));
                let sink = process.start_sink(address);
                process.serve_role(sink.router())?;
            }
        }
        Ok(None)
    }
}

/// Is that role until the process is told to stop.
pub async fn run(role: Role, config: Config, metrics: PrometheusHandle) -> anyhow::Result<()> {
    let Some(process) = role.open(config, metrics).await? else { return Ok(()) };
    role.start(&process)?;
    process.run_until_stopped().await
}

pub async fn mock_model(listen: SocketAddr) -> anyhow::Result<()> {
    let listener =
        tokio::net::TcpListener::bind(listen).await.with_context(|| format!("{listen} can't be listened on"))?;
    println!("the scripted model is at http://{listen}/v1 (OPENAI_BASE_URL=http://{listen}/v1)");
    axum::serve(listener, node_workers::models::mock_server::mock_model_router()).await?;
    Ok(())
}

pub async fn apply_topics(config: Config) -> anyhow::Result<()> {
    for topic in parts::apply_topics(&config).await? {
        println!("{}: {} partitions", topic.name, topic.partitions);
    }
    Ok(())
}

pub async fn migrate_store(mut config: Config) -> anyhow::Result<()> {
    config.store.create = true;
    parts::migrate_store(&config).await?;
    match config.store.kind {
        StoreKind::Embedded => println!("the store in {} is up to date", config.server.data_dir.display()),
        StoreKind::Scylla => println!("the keyspace {} is up to date", config.store.keyspace),
    }
    Ok(())
}
