//! Who may depend on whom, and who may name a backend's client: DESIGN as a check.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{command, root};

/// The crates of ours that each crate may depend on. Those that are not listed may use all.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("graph", &[]),
    ("event-log", &[]),
    ("schemas", &["graph"]),
    ("traces", &["graph"]),
    ("run-store", &["graph"]),
    ("quota", &["graph"]),
    ("ingest", CONTRACTS),
    ("orchestrator", CONTRACTS),
    ("node-workers", CONTRACTS),
    ("sink", CONTRACTS),
    ("semantics", &["graph"]),
    ("xtask", &[]),
];
/// Crates that are for tests alone, and those that may depend on them beside tests.
const FOR_TESTS: &[(&str, &[&str])] = &[("semantics", &["semantics-pipeline", "benches"])];
const CONTRACTS: &[&str] = &["graph", "schemas", "event-log", "run-store", "quota", "traces"];

/// Clients of backends, and the only folders whose code may name them.
const NAMED_ONLY_IN: &[(&str, &[&str])] = &[
    ("rdkafka", &["event-log/src/kafka", "event-log/src/kafka.rs", "event-log/tests"]),
    ("redis", &["quota/src/redis", "quota/tests"]),
    ("rusqlite", &["event-log/src/embedded", "run-store/src/embedded", "event-log/tests", "run-store/tests"]),
    ("scylla", &["run-store/src/scylla", "run-store/src/scylla.rs", "run-store/tests"]),
];

/// Pages that name tests in backticks.
const NAMES_TESTS: &[&str] = &["docs/pains.md"];
/// Words with an underscore that a test's name has at least: `attempt_reset` is no test.
const WORDS_OF_A_TEST: usize = 4;

/// Fails with every rule that is broken, not with the first.
pub fn check() -> Result<()> {
    let mut broken = broken_dependencies(&metadata()?)?;
    broken.extend(broken_names()?);
    broken.extend(broken_pages()?);
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    Ok(())
}

/// What cargo knows about the crates of the workspace.
pub fn metadata() -> Result<Value> {
    let text = command::cargo(&["metadata", "--no-deps", "--format-version", "1"]).output()?;
    serde_json::from_str(&text).context("cargo metadata wrote no JSON")
}

fn broken_dependencies(metadata: &Value) -> Result<Vec<String>> {
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let ours: BTreeMap<&str, &Value> =
        packages.iter().filter_map(|package| Some((package["name"].as_str()?, package))).collect();
    let mut broken = Vec::new();
    for (name, package) in &ours {
        for (for_tests, allowed) in FOR_TESTS {
            if depends(package, for_tests) && !allowed.contains(name) {
                broken.push(format!("{name} may depend on {for_tests} for its tests only"));
            }
        }
    }
    for (name, allowed) in MAY_DEPEND_ON {
        let dependencies = ours.get(name).and_then(|package| package["dependencies"].as_array());
        for dependency in dependencies.into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            // Tests may use what they like.
            let for_tests = dependency["kind"].as_str() == Some("dev");
            if ours.contains_key(on) && !allowed.contains(&on) && !for_tests {
                broken.push(format!("{name} must not depend on {on}"));
            }
        }
    }
    Ok(broken)
}

/// Whether what a crate builds needs another; its tests may use what they like.
fn depends(package: &Value, on: &str) -> bool {
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies.into_iter().any(|dependency| dependency["name"] == on && dependency["kind"] != "dev")
}

fn broken_names() -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for file in rust_files(&root())? {
        let path = file.strip_prefix(root())?.to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(&file)?;
        for (client, folders) in NAMED_ONLY_IN {
            let allowed = folders.iter().any(|folder| path.starts_with(folder)) || path.starts_with("xtask/");
            if !allowed && names(&text, client) {
                broken.push(format!("{path} must not name {client}: only {} may", folders.join(", ")));
            }
        }
    }
    Ok(broken)
}

fn broken_pages() -> Result<Vec<String>> {
    let rust = rust_files(&root())?;
    let python = files(&root().join("clients/python/tests"), ".py")?;
    let code: Vec<String> = rust.iter().chain(&python).map(fs::read_to_string).collect::<Result<_, _>>()?;
    let mut broken = Vec::new();
    for page in NAMES_TESTS {
        let text = fs::read_to_string(root().join(page))?;
        let absent = tests_named(&text).filter(|test| !code.iter().any(|code| defines(code, test)));
        broken.extend(absent.map(|test| format!("{page} names the test {test}, which isn't there")));
    }
    Ok(broken)
}

fn tests_named(page: &str) -> impl Iterator<Item = &str> {
    let is_test = |word: &&str| {
        word.split('_').count() >= WORDS_OF_A_TEST
            && word.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    page.split('`').skip(1).step_by(2).filter(is_test)
}

fn defines(code: &str, test: &str) -> bool {
    code.contains(&format!("fn {test}(")) || code.contains(&format!("def {test}("))
}

/// Whether the code uses a path of that crate. Comments may speak of it.
fn names(text: &str, client: &str) -> bool {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.into_iter().any(|line| {
        line.match_indices(client).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let after = &line[at + client.len()..];
            !before.is_some_and(|c| c.is_alphanumeric() || "_:./\"'".contains(c)) && after.starts_with("::")
        })
    })
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    files(dir, ".rs")
}

fn files(dir: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(files(&path, extension)?);
        } else if name.ends_with(extension) {
            found.push(path);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stage_that_depends_on_a_stage_is_named() {
        let metadata = json!({"packages": [
            {"name": "sink", "dependencies": [{"name": "graph", "kind": null}, {"name": "ingest", "kind": null}]},
            {"name": "ingest", "dependencies": [{"name": "sink", "kind": "dev"}, {"name": "serde", "kind": null}]},
            {"name": "graph", "dependencies": []},
        ]});
        assert_eq!(broken_dependencies(&metadata).unwrap(), ["sink must not depend on ingest"]);
    }

    #[test]
    fn what_is_for_tests_stays_there() {
        let metadata = json!({"packages": [
            {"name": "server", "dependencies": [{"name": "semantics", "kind": null}]},
            {"name": "benches", "dependencies": [{"name": "semantics", "kind": "dev"}]},
            {"name": "semantics", "dependencies": []},
        ]});
        assert_eq!(broken_dependencies(&metadata).unwrap(), ["server may depend on semantics for its tests only"]);
    }

    #[test]
    fn a_page_names_tests_that_are_there() {
        let page = "| 1 | `a_test_that_is_there`, `attempt_reset`, `tests/streams.rs` | `and_one_that_is_not` |";
        assert_eq!(tests_named(page).collect::<Vec<_>>(), ["a_test_that_is_there", "and_one_that_is_not"]);
        assert!(defines("async fn a_test_that_is_there() {}", "a_test_that_is_there"));
        assert!(defines("def test_that_is_there(url: str)", "test_that_is_there"));
        assert!(!defines("// a_test_that_is_there()", "a_test_that_is_there"));
        assert_eq!(broken_pages().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn only_code_names_a_client() {
        assert!(names("use rdkafka::ClientConfig;", "rdkafka"));
        assert!(names("fn f() -> rdkafka::Offset {}", "rdkafka"));
        assert!(!names("// as rdkafka::Offset does", "rdkafka"));
        assert!(!names("crate::scylla::ScyllaStore", "scylla"));
        assert!(!names("mod scylla;", "scylla"));
    }
}
