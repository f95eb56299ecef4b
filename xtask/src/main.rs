//! The map of daily commands: `cargo xtask` lists them. It needs nothing but cargo, and fetches the rest.
#![allow(clippy::disallowed_methods, reason = "this tool starts processes and times them; nothing here is simulated")]

mod backends;
mod bench;
mod command;
mod compose;
mod jars;
mod mutate;
mod packages;
mod rules;
mod semantics;
mod suites;
mod test;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

struct Verb {
    usage: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const VERBS: &[Verb] = &[
    Verb {
        usage: "test [--only SUITE]",
        help: "everything that must pass: fetches and starts what it needs",
        run: test::run,
    },
    Verb { usage: "lint", help: "format check, clippy and the rules on who depends on whom", run: test::lint },
    Verb {
        usage: "backends up|down|run NAME DIR",
        help: "start Kafka, Cassandra and Redis for development and print their addresses; stop them; become one in DIR",
        run: backends::verb,
    },
    Verb {
        usage: "schemas",
        help: "write anew the files that tests hold to the code: openapi.json, JSON Schemas",
        run: schemas,
    },
    Verb {
        usage: "semantics FILE|fresh SEED COUNT [rich] [exit] [OPTIONS]",
        help: "hold the fold and the pipeline against cases of LangGraph: recorded ones, or fresh ones that it runs now",
        run: semantics::run,
    },
    Verb {
        usage: "mutate [PART OF A NAME]",
        help: "undo the rules of `graph` one at a time: a test has to fail for each",
        run: mutate::run,
    },
    Verb { usage: "bench NAME [ARGS]", help: "run one benchmark in a release build", run: bench::run },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        print_verbs();
        return ExitCode::SUCCESS;
    };
    let Some(verb) = VERBS.iter().find(|verb| verb.usage.split(' ').next() == Some(name.as_str())) else {
        eprintln!("there is no `cargo xtask {name}`");
        print_verbs();
        return ExitCode::FAILURE;
    };
    match (verb.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_verbs() {
    println!("cargo xtask VERB");
    for verb in VERBS {
        println!("  {:<29} {}", verb.usage, verb.help);
    }
    println!("suites of `test`: {}", suites::NAMES.join(", "));
    println!("benchmarks: {}", bench::NAMES.join(", "));
}

/// The folder that holds the workspace.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf()
}

fn schemas(_: &[String]) -> Result<()> {
    // A test that finds its file stale writes it, when it is told to; a sample that is missing keeps none from it.
    test::cargo(&["test", "--quiet", "--no-fail-fast", "--package", "schemas", "--package", "ingest"])
        .env("BLESS", "1")
        .run()
}
