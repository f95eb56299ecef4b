//! The pipeline itself: all stages in this process or one role, and a node type that runs cases' programs.

use anyhow::Context;
use graph::spec::GraphSpec;
use node_workers::{NodeRegistry, Serve as Nodes};
use semantics::case::NODE_TYPE;
use server::{
    config::{Config, Log, LogKind, Secret, Server, Store, StoreKind},
    embed::{Embedded, Role},
};
use tokio::sync::mpsc;

use crate::{
    arguments::{Part, Serve},
    node::{ExecutionBook, ProgramNode},
};

/// What is said when clients are served.
pub const READY: &str = "ready";
/// What is said of a list of graphs that runs may name now.
pub const PUBLISHED: &str = "published";
/// Where Kafka and the CQL store are.
const KAFKA: &str = "MILLSTREAM_TEST_KAFKA";
const CQL: &str = "MILLSTREAM_TEST_CQL";

/// Serves until standard input ends. Each line of it is a list of graphs, answered by a line.
pub async fn serve(serve: Serve) -> anyhow::Result<()> {
    let book = ExecutionBook::open(&serve.folder.join("executions")).context("the book of executions")?;
    let nodes = NodeRegistry::new().with_type(NODE_TYPE, move |settings| ProgramNode::new(settings, book.clone()));
    let embedded = Embedded::start_as(role(serve.part), config(&serve)?, nodes).await?;
    println!("{READY}");
    let mut lines = input();
    while let Some(line) = lines.recv().await {
        match publish(&embedded, &line).await {
            Ok(()) => println!("{PUBLISHED}"),
            Err(error) => println!("refused: {error:#}"),
        }
    }
    // Whoever started this is gone; what is written is all that may be asked for.
    std::process::exit(0);
}

fn role(part: Part) -> Role {
    match part {
        Part::All => Role::All,
        Part::Ingest => Role::Ingest,
        Part::Orchestrator => Role::Orchestrator,
        Part::NodeWorker => Role::NodeWorker(Nodes::All),
        Part::Sink => Role::Sink,
    }
}

fn config(serve: &Serve) -> anyhow::Result<Config> {
    let server = Server {
        listen: serve.listen,
        data_dir: serve.folder.join("data"),
        drain_seconds: 1,
        secret: Some(Secret::new("between-roles")),
        ..Server::default()
    };
    let log = Log { create: true, partitions: 2, node_partitions: 1, ..Log::default() };
    let Some(name) = &serve.shared else { return Ok(Config { server, log, ..Config::default() }) };
    let address = |variable: &str| {
        std::env::var(variable).with_context(|| format!("{variable} is not set: `cargo xtask backends up` says how"))
    };
    let log = Log { kind: LogKind::Kafka, brokers: Some(address(KAFKA)?), prefix: format!("{name}-"), ..log };
    let store = Store {
        kind: StoreKind::Scylla,
        nodes: Some(address(CQL)?),
        keyspace: name.clone(),
        create: true,
        ..Store::default()
    };
    Ok(Config { server, log, store, ..Config::default() })
}

/// The lines of standard input. A thread waits for them; it ends with the process.
fn input() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn publish(embedded: &Embedded, line: &str) -> anyhow::Result<()> {
    let specs: Vec<GraphSpec> = serde_json::from_str(line)?;
    for spec in specs {
        embedded.publish(spec).await?;
    }
    Ok(())
}
