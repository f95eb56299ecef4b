//! `cargo xtask bench NAME`, and the small round of all benches that tests make, so that none rots.

use anyhow::{Context, Result, bail};

use crate::{
    command::{self, Run},
    rules,
    test::{Session, cargo},
};

/// The files of `benches/src/bin`.
pub const NAMES: [&str; 8] = ["p1", "idle", "in_flight", "log", "advance", "wrong_key", "guarded", "peers"];

pub fn run(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first().filter(|(name, _)| NAMES.contains(&name.as_str())) else {
        bail!("name a benchmark: {}", NAMES.join(", "));
    };
    // The binary that is measured stands beside the bench.
    cargo(&["build", "--release", "--package", "server", "--package", "benches"]).run()?;
    bench(name, "release")?.args(rest).run().with_context(|| format!("benchmark {name}"))
}

/// Each bench, small and short, in the build that tests have anyway. Nothing is too slow here; an answer may be wrong.
pub fn smoke(session: &mut Session) -> Result<()> {
    // The whole workspace, as other tests build it: fewer packages have other features, and build all anew.
    cargo(&["build", "--workspace", "--bins"]).run()?;
    for name in NAMES {
        bench(name, "debug")?.args(&["smoke"]).run().with_context(|| format!("benchmark {name}"))?;
        session.passed();
    }
    Ok(())
}

fn bench(name: &str, profile: &str) -> Result<Run> {
    let metadata = rules::metadata()?;
    let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(command::program(&format!("{target}/{profile}/{name}"), &[]))
}
