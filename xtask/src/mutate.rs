//! Undoes one rule of `graph` at a time, and shows that a test fails for each: what survives is a test that is missing.
//!
//! A copy of the workspace is patched so that every rule can be undone by name (`mutate/rules.rs`), built once, and its
//! tests run again and again with another name in the environment.

mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::rules::{Patch, patches};
use crate::{root, test::cargo};

const VARIABLE: &str = "MILLSTREAM_UNDO";
/// The tests of `graph`, quick ones first: one that fails is enough.
const TESTS: [&str; 4] = ["graph", "fold", "checklist", "semantics"];
/// A fold that never ends is caught too.
const PATIENCE: Duration = Duration::from_secs(300);

const LIB: &str = "lib.rs";
/// What stands in it in the copy, at its end.
const SWITCH: &str = r#"
pub(crate) fn undone(rule: &str) -> bool {
    static UNDONE: std::sync::LazyLock<Option<String>> = std::sync::LazyLock::new(|| std::env::var("MILLSTREAM_UNDO").ok());
    UNDONE.as_deref() == Some(rule)
}
"#;

pub fn run(arguments: &[String]) -> Result<()> {
    let copy = copy()?;
    let tests = build(&copy)?;
    if let Some(test) = caught_by(&tests, "")? {
        bail!("{test} fails with no rule undone");
    }
    let names: Vec<&str> = names().into_iter().filter(|name| matches(name, arguments)).collect();
    let mut survived = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let caught = caught_by(&tests, name)?;
        println!("{}/{} {name}: {}", place + 1, names.len(), caught.as_deref().unwrap_or("SURVIVED"));
        if caught.is_none() {
            survived.push(*name);
        }
    }
    println!("{} rules undone, {} caught, {} survived", names.len(), names.len() - survived.len(), survived.len());
    if survived.is_empty() { Ok(()) } else { bail!("no test fails without: {}", survived.join("; ")) }
}

fn matches(name: &str, arguments: &[String]) -> bool {
    arguments.is_empty() || arguments.iter().any(|part| name.contains(part.as_str()))
}

/// All rules that can be undone, in the order of the list.
fn names() -> Vec<&'static str> {
    let mut known = BTreeSet::new();
    let all = patches().flat_map(|patch| patch.to.split("undone(\"").skip(1));
    let names = all.map(|rest| rest.split('"').next().unwrap_or_default());
    names.filter(|name| known.insert(*name)).collect()
}

/// The workspace's sources with every patch.
fn copy() -> Result<PathBuf> {
    let (from, to) = (root(), root().join("target/mutate"));
    // What is the same keeps its time, so that only what changed is built anew.
    let patched = patched()?;
    copy_all(&from, &to, &patched).context("a copy of the workspace")?;
    for (file, text) in patched {
        write(&to.join("graph/src").join(file), text.as_bytes())?;
    }
    Ok(to)
}

/// The files of `graph/src` that are other in the copy.
fn patched() -> Result<BTreeMap<&'static str, String>> {
    let read = |file: &str| fs::read_to_string(root().join("graph/src").join(file)).context(file.to_owned());
    let mut files = BTreeMap::from([(LIB, read(LIB)? + SWITCH)]);
    for patch in patches() {
        let text = match files.remove(patch.file) {
            Some(text) => text,
            None => read(patch.file)?,
        };
        files.insert(patch.file, patch.apply(&text)?);
    }
    Ok(files)
}

impl Patch {
    fn apply(&self, text: &str) -> Result<String> {
        let found = text.matches(self.from).count();
        if found != 1 {
            bail!(
                "graph/src/{} holds this {found} times, and not once; look at its rule in xtask/src/mutate/rules.rs anew:\n{}",
                self.file,
                self.from
            );
        }
        Ok(text.replace(self.from, &self.to.replace("undone(", "crate::undone(")))
    }
}

fn copy_all(from: &Path, to: &Path, others: &BTreeMap<&str, String>) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let text = name.to_string_lossy();
        if text == "target" || text.starts_with('.') && text != ".cargo" {
            continue;
        }
        match path.is_dir() {
            true => copy_all(&path, &to.join(&name), others)?,
            // The patched files are written once, at the end.
            false if others.keys().any(|file| path.ends_with(Path::new("graph/src").join(file))) => {}
            false => write(&to.join(&name), &fs::read(&path)?)?,
        }
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

/// Builds the copy's tests of `graph`; gives their binaries in the order of [`TESTS`].
fn build(copy: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    // A folder of its own: cargo would take the copy's crates for the workspace's.
    let messages =
        cargo(&["test", "--quiet", "--package", "graph", "--no-run", "--message-format", "json-render-diagnostics"])
            .env("CARGO_TARGET_DIR", &copy.join("target").to_string_lossy())
            .dir(copy)
            .output()?;
    let built: Vec<Value> = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let binary = |name: &str| {
        let of = |message: &&Value| message["target"]["name"] == name && message["executable"].is_string();
        built.iter().find(of).and_then(|message| message["executable"].as_str()).map(PathBuf::from)
    };
    TESTS.iter().map(|name| Ok((*name, binary(name).with_context(|| format!("no test {name} was built"))?))).collect()
}

/// The first test that fails with a rule undone.
fn caught_by(tests: &[(&'static str, PathBuf)], rule: &str) -> Result<Option<String>> {
    for (name, binary) in tests {
        let log = root().join("target/mutate").join(format!("{name}.log"));
        let mut child = Command::new(binary)
            .env(VARIABLE, rule)
            // A failure is all that is asked for: no smaller one is looked for, and none is written down.
            .env("PROPTEST_MAX_SHRINK_ITERS", "0")
            .env("PROPTEST_FAILURE_PERSISTENCE", "off")
            .current_dir(root().join("target/mutate/graph"))
            .stdout(fs::File::create(&log)?)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("the test {name} did not start"))?;
        if ends_well(&mut child)? {
            continue;
        }
        let text = fs::read(&log)?;
        let text = String::from_utf8_lossy(&text);
        let failed = text.lines().find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
        return Ok(Some(format!("{name}::{}", failed.unwrap_or("it never ended"))));
    }
    Ok(None)
}

fn ends_well(child: &mut Child) -> Result<bool> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_still_found_where_it_stood() {
        patched().unwrap();
        assert!(names().len() >= 40, "{} rules", names().len());
    }
}
