//! The suites of `cargo xtask test`, in the order in which they run: what is quick to fail comes first.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::{
    backends::Backend,
    bench, command, compose, jars, packages, rules, semantics,
    test::{Session, cargo},
};

pub struct Suite {
    pub name: &'static str,
    pub about: &'static str,
    pub needs: &'static [Backend],
    pub run: fn(&mut Session) -> Result<()>,
}

pub const NAMES: [&str; 13] = [
    "format",
    "rules",
    "compose",
    "clippy",
    "unit",
    "kafka",
    "cql",
    "redis",
    "end-to-end",
    "semantics",
    "benches",
    "python",
    "docs",
];

pub const SUITES: [Suite; 13] = [
    Suite { name: NAMES[0], about: "rustfmt finds nothing to change", needs: &[], run: format },
    Suite { name: NAMES[1], about: "who depends on whom, who names a client", needs: &[], run: rules },
    Suite { name: NAMES[2], about: "compose.yaml keeps to the Compose specification", needs: &[], run: compose::check },
    Suite { name: NAMES[3], about: "clippy finds nothing", needs: &[], run: clippy },
    Suite {
        name: NAMES[4],
        about: "unit tests, conformance on the embedded parts, and files that are held to the code",
        needs: &[],
        run: unit,
    },
    Suite { name: NAMES[5], about: "conformance of the log on real Kafka", needs: &[Backend::Kafka], run: kafka },
    Suite { name: NAMES[6], about: "conformance of the store on real CQL", needs: &[Backend::Cassandra], run: cql },
    Suite {
        name: NAMES[7],
        about: "conformance of shared budgets on real Redis",
        needs: &[Backend::Redis],
        run: redis,
    },
    Suite {
        name: NAMES[8],
        about: "whole runs through real processes",
        needs: &[Backend::Kafka, Backend::Cassandra],
        run: end_to_end,
    },
    Suite {
        name: NAMES[9],
        about: "LangGraph's cases: the fold and the whole pipeline killed in the middle, fresh ones and on Kafka and CQL",
        needs: &[Backend::Kafka, Backend::Cassandra],
        run: semantics::suite,
    },
    Suite { name: NAMES[10], about: "each bench works, small and short", needs: &[], run: bench::smoke },
    Suite {
        name: NAMES[11],
        about: "nodes in Python, and LangGraph graphs served as they are",
        needs: &[],
        run: python,
    },
    Suite { name: NAMES[12], about: "the documentation builds, its examples run", needs: &[], run: docs },
];

/// Test files that have a suite of their own; all others belong to `unit`.
const KAFKA_TESTS: &[(&str, &str)] = &[("event-log", "kafka")];
const CQL_TESTS: &[(&str, &str)] = &[("run-store", "scylla")];
const REDIS_TESTS: &[(&str, &str)] = &[("quota", "redis")];
const END_TO_END_CRATE: &str = "server";

pub fn format(session: &mut Session) -> Result<()> {
    cargo(&["fmt", "--all", "--check"]).run().context("run `cargo fmt --all`")?;
    session.passed();
    Ok(())
}

pub fn clippy(session: &mut Session) -> Result<()> {
    cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]).run()?;
    session.passed();
    Ok(())
}

fn rules(session: &mut Session) -> Result<()> {
    rules::check()?;
    session.passed();
    Ok(())
}

fn unit(session: &mut Session) -> Result<()> {
    cargo_test(session, &["--lib", "--bins"], &select("unit")?)
}

fn kafka(session: &mut Session) -> Result<()> {
    own_tests(session, "kafka")
}

fn cql(session: &mut Session) -> Result<()> {
    own_tests(session, "cql")
}

fn redis(session: &mut Session) -> Result<()> {
    own_tests(session, "redis")
}

fn end_to_end(session: &mut Session) -> Result<()> {
    packages::require_redis()?;
    if let Err(error) = packages::require_browser() {
        session.skip("the page in a browser", &format!("{error:#}"))?;
    }
    own_tests(session, "end-to-end")
}

fn python(session: &mut Session) -> Result<()> {
    if let Err(error) = packages::require_python() {
        return session.skip("clients/python", &format!("{error:#}"));
    }
    let environment = jars::cache_dir()?.join("python-client");
    command::program("clients/python/check", &[]).env("VENV", &environment.to_string_lossy()).run()?;
    session.passed();
    Ok(())
}

fn docs(session: &mut Session) -> Result<()> {
    cargo(&["doc", "--quiet", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings").run()?;
    session.passed();
    session.cargo_test(&["--doc"])
}

fn own_tests(session: &mut Session, suite: &str) -> Result<()> {
    let tests = select(suite)?;
    if tests.is_empty() {
        bail!("there are no tests of it");
    }
    cargo_test(session, &[], &tests)
}

fn cargo_test(session: &mut Session, kinds: &[&str], tests: &BTreeSet<String>) -> Result<()> {
    let mut arguments = kinds.to_vec();
    for test in tests {
        arguments.extend(["--test", test]);
    }
    session.cargo_test(&arguments)
}

fn suite_of(package: &str, test: &str) -> &'static str {
    if KAFKA_TESTS.contains(&(package, test)) {
        "kafka"
    } else if CQL_TESTS.contains(&(package, test)) {
        "cql"
    } else if REDIS_TESTS.contains(&(package, test)) {
        "redis"
    } else if package == END_TO_END_CRATE {
        "end-to-end"
    } else {
        "unit"
    }
}

/// Names of a suite's test files. They are given to cargo without their crate, so that all are built with the features
/// of the whole workspace, once: crates may share a name within a suite only.
fn select(suite: &str) -> Result<BTreeSet<String>> {
    let metadata = rules::metadata()?;
    let (mut ours, mut others) = (BTreeSet::new(), BTreeSet::new());
    for package in metadata["packages"].as_array().context("cargo metadata names no packages")? {
        let crate_name = package["name"].as_str().unwrap_or_default();
        for target in package["targets"].as_array().into_iter().flatten() {
            let name = target["name"].as_str().unwrap_or_default();
            if target["kind"][0].as_str() == Some("test") {
                let whose = if suite_of(crate_name, name) == suite { &mut ours } else { &mut others };
                whose.insert(name.to_string());
            }
        }
    }
    if let Some(name) = ours.intersection(&others).next() {
        bail!("test files named {name} belong to {suite} and to another suite; rename one");
    }
    Ok(ours)
}
