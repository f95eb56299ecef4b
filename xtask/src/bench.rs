//! `cargo xtask bench NAME`, and the small round of all benches that tests make, so that none rots.

use anyhow::{Context, Result, bail};

use crate::{
    command::Run,
    test::{Session, cargo},
};

/// The files of `benches/src/bin`.
pub const NAMES: [&str; 4] = ["p1", "idle", "in_flight", "log"];

pub fn run(arguments: &[String]) -> Result<()> {
    let Some((name, rest)) = arguments.split_first().filter(|(name, _)| NAMES.contains(&name.as_str())) else {
        bail!("name a benchmark: {}", NAMES.join(", "));
    };
    // The binary that is measured stands beside the bench.
    cargo(&["build", "--release", "--package", "server", "--package", "benches"]).run()?;
    bench(name, &["--release"]).args(rest).run().with_context(|| format!("benchmark {name}"))
}

/// Each bench, small and short, in the build that tests have anyway. Nothing is too slow here; an answer may be wrong.
pub fn smoke(session: &mut Session) -> Result<()> {
    cargo(&["build", "--package", "server", "--package", "benches"]).run()?;
    for name in NAMES {
        bench(name, &[]).args(&["smoke"]).run().with_context(|| format!("benchmark {name}"))?;
        session.passed();
    }
    Ok(())
}

fn bench(name: &str, profile: &[&str]) -> Run {
    cargo(&["run", "--quiet", "--package", "benches", "--bin", name]).args(profile).args(&["--"])
}
