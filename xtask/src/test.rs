//! `cargo xtask test`: every suite in turn, how long each took, and what was skipped and why.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{
    backends::{Backend, Server},
    command::{self, Run},
    packages, rules, suites,
};

/// By which tests learn the program that becomes a backend of their own: `$MILLSTREAM_TEST_BACKENDS backends run ...`.
const BACKENDS_VARIABLE: &str = "MILLSTREAM_TEST_BACKENDS";

/// What is shared by the suites of one call.
#[derive(Default)]
pub struct Session {
    servers: Vec<(Backend, Server)>,
    counts: Counts,
    skipped: Vec<String>,
}

/// Tests as cargo counts them.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

/// Under CI nothing that is real may be left out.
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !value.is_empty() && value != "false" && value != "0")
}

pub fn run(arguments: &[String]) -> Result<()> {
    let only = match arguments {
        [] => None,
        [flag, name] if flag == "--only" => Some(name.as_str()),
        _ => bail!("say `cargo xtask test` or `cargo xtask test --only SUITE`"),
    };
    if let Some(name) = only
        && !suites::NAMES.contains(&name)
    {
        bail!("there is no suite {name}; there are {}", suites::NAMES.join(", "));
    }
    packages::install_openssl_headers();
    let mut session = Session::default();
    let mut shares: Vec<(&str, Duration)> = Vec::new();
    let mut failures = Vec::new();
    for suite in suites::SUITES.iter().filter(|suite| only.is_none_or(|name| name == suite.name)) {
        println!("\n== {}: {}", suite.name, suite.about);
        let begun = Instant::now();
        session.stop_all_but(suite.needs);
        let outcome = session.start(suite.needs).and_then(|()| (suite.run)(&mut session));
        if let Err(error) = outcome {
            println!("{} failed: {error:#}", suite.name);
            for (_, server) in &session.servers {
                println!("{}", server.log_tail());
            }
            failures.push(suite.name);
        }
        shares.push((suite.name, begun.elapsed()));
    }
    session.stop_all_but(&[]);
    report(&session, &shares, &failures)
}

/// `cargo xtask lint`: what is quick.
pub fn lint(_: &[String]) -> Result<()> {
    let mut session = Session::default();
    suites::format(&mut session)?;
    rules::check()?;
    suites::clippy(&mut session)
}

impl Session {
    /// Runs a `cargo test`, and adds what it counts to the sum.
    pub fn cargo_test(&mut self, arguments: &[&str]) -> Result<()> {
        let mut run = cargo(&["test", "--workspace", "--no-fail-fast"]).args(arguments).servers(&self.servers);
        if let Ok(xtask) = std::env::current_exe() {
            run = run.env(BACKENDS_VARIABLE, &xtask.to_string_lossy());
        }
        let (mut counts, mut skipped) = (Counts::default(), Vec::new());
        let succeeded = run.watch(|line| {
            counts.add(counted(line).unwrap_or_default());
            if let Some(at) = line.find("skipped: ") {
                skipped.push(line[at..].to_string());
            }
        })?;
        self.counts.add(counts);
        self.skipped.append(&mut skipped);
        if counts.failed > 0 {
            bail!("{} tests failed", counts.failed);
        }
        if !succeeded {
            self.counts.failed += 1;
            bail!("cargo test did not succeed");
        }
        Ok(())
    }

    pub fn servers(&self) -> &[(Backend, Server)] {
        &self.servers
    }

    /// Notes a check that is no test of cargo's.
    pub fn passed(&mut self) {
        self.counts.passed += 1;
    }

    /// Notes what can't be done here: a failure under CI.
    pub fn skip(&mut self, what: &str, why: &str) -> Result<()> {
        if is_ci() {
            bail!("{what} can't be checked: {why}");
        }
        self.counts.skipped += 1;
        self.skipped.push(format!("skipped: {what}: {why}"));
        println!("skipped: {what}: {why}");
        Ok(())
    }

    fn start(&mut self, needed: &[Backend]) -> Result<()> {
        for backend in needed {
            if self.servers.iter().any(|(running, _)| running == backend) {
                continue;
            }
            let server = backend.start().with_context(|| format!("{} could not be started", backend.name()))?;
            self.servers.push((*backend, server));
        }
        Ok(())
    }

    fn stop_all_but(&mut self, needed: &[Backend]) {
        self.servers.retain(|(backend, _)| needed.contains(backend));
    }
}

/// Cargo, linking the system's OpenSSL where its headers are.
pub fn cargo(arguments: &[&str]) -> Run {
    let run = command::cargo(arguments);
    if std::path::Path::new("/usr/include/openssl/ssl.h").exists() && command::is_installed("pkg-config") {
        return run.env("OPENSSL_NO_VENDOR", "1");
    }
    run
}

fn report(session: &Session, shares: &[(&str, Duration)], failures: &[&str]) -> Result<()> {
    println!("\n== shares");
    for (name, took) in shares {
        let mark = if failures.contains(name) { "FAILED" } else { "" };
        println!("{name:<12} {:>7.1} s  {mark}", took.as_secs_f32());
    }
    let total: Duration = shares.iter().map(|(_, took)| *took).sum();
    println!("{:<12} {:>7.1} s", "all", total.as_secs_f32());
    for line in &session.skipped {
        println!("{line}");
    }
    let mut counts = session.counts;
    // A suite may fail before it counts a test.
    counts.failed = counts.failed.max(failures.len() as u64);
    println!("{} passed, {} failed, {} skipped", counts.passed, counts.failed, counts.skipped);
    if !failures.is_empty() {
        bail!("failed: {}", failures.join(", "));
    }
    Ok(())
}

impl Counts {
    fn add(&mut self, more: Counts) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

/// The numbers of a line like `test result: ok. 5 passed; 0 failed; 1 ignored; ...`.
fn counted(line: &str) -> Option<Counts> {
    let rest = line.strip_prefix("test result: ")?;
    let number = |word: &str| -> Option<u64> {
        let part = rest.split(['.', ';']).find(|part| part.trim_end().ends_with(word))?;
        part.trim().split(' ').next()?.parse().ok()
    };
    Some(Counts { passed: number("passed")?, failed: number("failed")?, skipped: number("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.1s";
        assert_eq!(counted(line), Some(Counts { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(counted("running 3 tests"), None);
    }
}
