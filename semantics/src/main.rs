//! Holds `advance` alone against a file of cases: `semantics FILE`. `cargo xtask semantics` starts it.

use std::{path::Path, process::ExitCode};

use semantics::{fold, tally};

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("give a file of cases, see semantics/cases/README.md");
        return ExitCode::FAILURE;
    };
    let tally = tally::run(Path::new(&path), fold::check);
    tally.failures.iter().for_each(|why| println!("{why}\n"));
    println!("graph alone: {tally}");
    if tally.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
