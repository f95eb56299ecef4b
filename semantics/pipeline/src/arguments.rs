//! The command line of the runner.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Play the cases of a file
    Play(Play),
    /// Be the pipeline: graphs come by standard input
    Serve { folder: PathBuf, listen: SocketAddr },
}

#[derive(Args, Clone)]
pub struct Play {
    /// A file of cases, gzipped or plain
    pub file: PathBuf,
    /// Kill the pipeline at random points of each case
    #[arg(long)]
    pub crash: bool,
    /// What the points are drawn from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Cases that are played side by side on one pipeline, which is made anew for the next ones
    #[arg(long, default_value_t = 48)]
    pub wave: usize,
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
    /// Differences that are shown
    #[arg(long, default_value_t = 5)]
    pub show: usize,
}
