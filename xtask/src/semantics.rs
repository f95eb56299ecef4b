//! Cases of LangGraph's semantics: a recorded file, or fresh random graphs that the real library runs first.
//!
//! They go through `graph` alone, and through the whole embedded pipeline but with `--alone`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    backends::{Backend, Server},
    command, packages, root,
    test::{Session, cargo},
};

const USAGE: &str = "give a file of cases (semantics/cases/README.md), or: fresh SEED COUNT [rich] [exit]; then --alone \
                     (no pipeline), or options of `semantics-pipeline play`, such as --crash, or --on roles";

/// What the suite draws: seed, number, kind. Another seed is another day's work, by hand: a case may touch a difference that
/// no page names yet.
const SUITE: [(&str, &str, &str); 2] = [("4001", "150", ""), ("4002", "150", "rich")];

/// Of the recorded cases, what the suite plays on Kafka and a CQL store while one process after another is killed.
const SHARED: [(&str, &str); 2] = [("cases", "roles"), ("rich", "kafka")];
const SHARED_CASES: &str = "24";

/// Cases through the fold and through the pipeline, which is killed at random points of each: a few recorded ones on Kafka
/// and a CQL store, and fresh ones on the embedded parts.
pub fn suite(session: &mut Session) -> Result<()> {
    cargo(&["build", "--quiet", "--workspace", "--bins"]).run()?;
    for (name, on) in SHARED {
        let file = format!("semantics/cases/{name}.jsonl.gz");
        let options = ["play", &file, "--sample", SHARED_CASES, "--on", on, "--crash"];
        command::program(PIPELINE, &options).servers(session.servers()).run()?;
        session.passed();
    }
    if let Err(error) = packages::require_python() {
        return session.skip("LangGraph itself", &format!("{error:#}"));
    }
    for (seed, count, kind) in SUITE {
        hold(&fresh(seed, count, kind)?, &["--crash"])?;
        session.passed();
    }
    Ok(())
}

const PIPELINE: &str = "target/debug/semantics-pipeline";

pub fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["fresh", seed, count, rest @ ..] => {
            let kinds = rest.iter().take_while(|word| ["rich", "exit"].contains(word)).count();
            let (kind, options) = rest.split_at(kinds);
            hold(&fresh(seed, count, &kind.join(" "))?, options)
        }
        [file, options @ ..] => hold(&fs::canonicalize(file).with_context(|| format!("no file {file}"))?, options),
        [] => bail!(USAGE),
    }
}

/// Kafka and Cassandra, where the cases are to be played there and nobody has said where they are.
fn servers(options: &[&str]) -> Result<Vec<(Backend, Server)>> {
    let shared = ["kafka", "roles"].iter().any(|on| options.windows(2).any(|pair| pair == ["--on", on]));
    let missing = |backend: &Backend| shared && std::env::var_os(backend.variable()).is_none();
    let wanted = [Backend::Kafka, Backend::Cassandra].into_iter().filter(missing);
    wanted.map(|backend| Ok((backend, backend.start()?))).collect()
}

/// Prints `N passed, N failed, N excluded` for the fold and for the pipeline, and why cases failed.
fn hold(file: &Path, options: &[&str]) -> Result<()> {
    if options == ["--alone"] {
        cargo(&["build", "--quiet", "--package", "semantics"]).run()?;
        return command::program("target/debug/semantics", &[&file.to_string_lossy()]).run();
    }
    // The whole workspace, as tests build it: fewer packages have other features, and build all anew.
    cargo(&["build", "--quiet", "--workspace", "--bins"]).run()?;
    let file = file.to_string_lossy();
    let alone = command::program("target/debug/semantics", &[&file]).run();
    let servers = servers(options)?;
    let whole = command::program(PIPELINE, &["play", &file]).args(options).servers(&servers).run();
    alone.and(whole)
}

/// Draws cases and has LangGraph run them twice, side by side. What both recordings agree on is a file of cases.
fn fresh(seed: &str, count: &str, kind: &str) -> Result<PathBuf> {
    let python = python()?;
    let folder = root().join("target/semantics");
    fs::create_dir_all(&folder).context("target/semantics")?;
    let name = format!("{seed}-{count}{}", kind.replace(' ', "-"));
    let drawn = folder.join(format!("{name}.drawn.jsonl"));
    let [first, second] = ["first", "second"].map(|which| folder.join(format!("{name}.{which}.jsonl")));
    let script = |name: &str| root().join("semantics/cases").join(name).to_string_lossy().into_owned();
    shell(&format!("'{python}' '{}' '{seed}' '{count}' {kind} > '{}'", script("gen.py"), drawn.display()))?;
    let record = |to: &Path| {
        shell(&format!("'{python}' '{}' < '{}' > '{}'", script("oracle.py"), drawn.display(), to.display()))
    };
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| record(&first));
        record(&second).and(beside.join().expect("a recording"))
    })?;
    let [lines, again] = [&first, &second].map(|path| fs::read_to_string(path).context("a recording"));
    let (lines, again) = (lines?, again?);
    let again: BTreeSet<&str> = again.lines().collect();
    let agreed: String = lines.lines().filter(|line| again.contains(line)).map(|line| format!("{line}\n")).collect();
    println!("{} of {count} cases recorded alike twice", agreed.lines().count());
    let file = folder.join(format!("{name}.jsonl"));
    fs::write(&file, agreed).with_context(|| file.display().to_string())?;
    Ok(file)
}

/// A Python of our own with the library as `semantics/cases/versions.txt` pins it.
fn python() -> Result<String> {
    let folder: PathBuf = root().join("target/semantics/venv");
    let python = folder.join("bin/python");
    if !python.exists() {
        fs::create_dir_all(&folder).context("target/semantics/venv")?;
        command::program("python3", &["-m", "venv", &folder.to_string_lossy()]).run()?;
        let versions = fs::read_to_string(root().join("semantics/cases/versions.txt")).context("versions.txt")?;
        let pinned: Vec<String> = versions
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, version)| format!("{name}=={}", version.trim()))
            .collect();
        let pip = folder.join("bin/pip");
        command::program(&pip.to_string_lossy(), &["install", "--quiet"]).args(&pinned).run()?;
    }
    Ok(python.to_string_lossy().into_owned())
}

fn shell(line: &str) -> Result<()> {
    command::program("sh", &["-c", line]).run()
}
