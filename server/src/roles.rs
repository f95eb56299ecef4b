//! Each role as a process of its own, and the verbs that prepare the ground for them.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use node_workers::Serve;

use crate::{
    cli::NodeWorkerArgs,
    config::{Config, StoreKind},
    parts,
    run::Process,
};

/// Everything in one process, as configured: on the embedded parts or on shared ones.
pub async fn serve(config: Config, metrics: PrometheusHandle) -> anyhow::Result<()> {
    let Some(process) = Process::open(config, metrics).await? else { return Ok(()) };
    let ingest = process.start_all()?;
    process.serve_clients(ingest, process.node_store.router())?;
    process.run_until_stopped().await
}

pub async fn ingest(config: Config, metrics: PrometheusHandle) -> anyhow::Result<()> {
    config.refuse_embedded("ingest")?;
    let Some(process) = Process::open(config, metrics).await? else { return Ok(()) };
    let ingest = process.ingest(process.sinks_apart()?)?;
    process.serve_clients(ingest, Router::new())?;
    process.run_until_stopped().await
}

pub async fn orchestrator(config: Config, metrics: PrometheusHandle) -> anyhow::Result<()> {
    config.refuse_embedded("orchestrator")?;
    let Some(process) = Process::open(config, metrics).await? else { return Ok(()) };
    process.start_orchestrator();
    process.serve_role(Router::new())?;
    process.run_until_stopped().await
}

pub async fn node_worker(config: Config, args: NodeWorkerArgs, metrics: PrometheusHandle) -> anyhow::Result<()> {
    config.refuse_embedded("node-worker")?;
    let serve = match (args.graph, args.node) {
        (Some(graph), Some(node)) => Serve::Node { graph, node },
        (Some(graph), None) => Serve::Graph(graph),
        (None, _) => Serve::All,
    };
    let Some(process) = Process::open(config, metrics).await? else { return Ok(()) };
    process.start_node_workers(serve)?;
    process.serve_role(process.node_store.router())?;
    process.run_until_stopped().await
}

pub async fn sink(config: Config, metrics: PrometheusHandle) -> anyhow::Result<()> {
    config.refuse_embedded("sink")?;
    let address = config.server.advertise.clone().unwrap_or_else(|| format!("http://{}", config.server.listen));
    let Some(process) = Process::open(config, metrics).await? else { return Ok(()) };
    let sink = process.start_sink(address);
    process.serve_role(sink.router())?;
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
