//! Cases of LangGraph's semantics: a recorded file, or fresh random graphs that the real library runs first.
//!
//! They go through `graph` alone; the embedded pipeline follows here when it carries the same requests.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, bail};

use crate::{command, root};

pub fn run(arguments: &[String]) -> Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["fresh", seed, count] => fresh(seed, count, &[]),
        ["fresh", seed, count, "rich"] => fresh(seed, count, &["rich"]),
        [file] => hold(&fs::canonicalize(file).with_context(|| format!("no file {file}"))?),
        _ => bail!("give a file of cases (semantics/cases/README.md), or: fresh SEED COUNT [rich]"),
    }
}

/// Prints `N passed, N failed, N excluded`, and why a case failed.
fn hold(file: &std::path::Path) -> Result<()> {
    command::cargo(&["run", "--quiet", "--package", "semantics", "--"]).args(&[file.to_string_lossy()]).run()
}

/// Draws cases, has LangGraph run them twice, and holds the fold against what both recordings agree on.
fn fresh(seed: &str, count: &str, kind: &[&str]) -> Result<()> {
    let python = python()?;
    let folder = root().join("target/semantics");
    fs::create_dir_all(&folder).context("target/semantics")?;
    let name = format!("{seed}-{count}{}", kind.join(""));
    let drawn = folder.join(format!("{name}.drawn.jsonl"));
    let [first, second] = ["first", "second"].map(|which| folder.join(format!("{name}.{which}.jsonl")));
    let script = |name: &str| root().join("semantics/cases").join(name).to_string_lossy().into_owned();
    let draw = format!("'{python}' '{}' '{seed}' '{count}' {}", script("gen.py"), kind.join(" "));
    shell(&format!("{draw} > '{}'", drawn.display()))?;
    for recording in [&first, &second] {
        let record = format!("'{python}' '{}' < '{}'", script("oracle.py"), drawn.display());
        shell(&format!("{record} > '{}'", recording.display()))?;
    }
    let [lines, again] = [&first, &second].map(|path| fs::read_to_string(path).context("a recording"));
    let (lines, again) = (lines?, again?);
    let again: std::collections::BTreeSet<&str> = again.lines().collect();
    let agreed: String = lines.lines().filter(|line| again.contains(line)).map(|line| format!("{line}\n")).collect();
    println!("{} of {count} cases recorded alike twice", agreed.lines().count());
    let file = folder.join(format!("{name}.jsonl"));
    fs::write(&file, agreed).with_context(|| file.display().to_string())?;
    hold(&file)
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
