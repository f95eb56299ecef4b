//! The command line of the runner.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Play the cases of a file
    Play(Play),
    /// Be the pipeline, or a role of it: graphs come by standard input
    Serve(Serve),
}

/// What the pipeline stands on. Kafka and the CQL store are those of MILLSTREAM_TEST_KAFKA and MILLSTREAM_TEST_CQL.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    /// One process on the embedded log and store
    Embedded,
    /// One process on Kafka and a CQL store
    Kafka,
    /// A process for each role, on Kafka and a CQL store
    Roles,
}

/// A process of the pipeline.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    All,
    Ingest,
    Orchestrator,
    NodeWorker,
    Sink,
}

#[derive(Args, Clone)]
pub struct Serve {
    pub folder: PathBuf,
    pub listen: SocketAddr,
    #[arg(long, default_value = "all")]
    pub part: Part,
    /// Before topics on Kafka, and the keyspace's name; on the embedded log and store unless told
    #[arg(long)]
    pub shared: Option<String>,
}

#[derive(Args, Clone)]
pub struct Play {
    /// A file of cases, gzipped or plain
    pub file: PathBuf,
    #[arg(long, default_value = "embedded")]
    pub on: On,
    /// Kill the pipeline, or one of its processes, at random points of each case
    #[arg(long)]
    pub crash: bool,
    /// What the points are drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Cases that are played side by side; 48 on an embedded pipeline, which is made anew for the next ones, else 24
    #[arg(long)]
    pub wave: Option<usize>,
    /// Ask for a run's end in place of its stream: steps are not compared
    #[arg(long)]
    pub wait: bool,
    /// Only this case, or those with this flag
    #[arg(long)]
    pub only: Vec<String>,
    /// Leave out cases with this flag
    #[arg(long)]
    pub without: Vec<String>,
    /// At most so many cases
    #[arg(long)]
    pub first: Option<usize>,
    /// So many cases, drawn by the seed
    #[arg(long)]
    pub sample: Option<usize>,
    /// Differences that are shown
    #[arg(long, default_value_t = 5)]
    pub show: usize,
}
