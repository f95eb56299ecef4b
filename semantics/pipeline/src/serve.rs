//! The pipeline itself: all stages in this process, and a node type that runs cases' programs.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use graph::spec::GraphSpec;
use node_workers::NodeRegistry;
use semantics::case::NODE_TYPE;
use server::{
    config::{Config, Log, Server},
    embed::Embedded,
};
use tokio::sync::mpsc;

use crate::node::{ExecutionBook, ProgramNode};

/// What is said when clients are served.
pub const READY: &str = "ready";
/// What is said of a list of graphs that runs may name now.
pub const PUBLISHED: &str = "published";

/// Serves until standard input ends. Each line of it is a list of graphs, answered by a line.
pub async fn serve(folder: PathBuf, listen: SocketAddr) -> anyhow::Result<()> {
    let book = ExecutionBook::open(&folder.join("executions")).context("the book of executions")?;
    let nodes = NodeRegistry::new().with_type(NODE_TYPE, move |settings| ProgramNode::new(settings, book.clone()));
    let config = Config {
        server: Server { listen, data_dir: folder.join("data"), drain_seconds: 1, ..Server::default() },
        log: Log { create: true, partitions: 2, node_partitions: 1, ..Log::default() },
        ..Config::default()
    };
    let embedded = Embedded::start(config, nodes).await?;
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
