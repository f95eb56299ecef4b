//! OpenAI's addresses as its published packages for Python and Node use them, against a real process.

use std::{
    path::PathBuf,
    process::{Command, Output},
};

use crate::{
    langgraph::python,
    process::{Process, dev, folder},
};

/// The version for Node whose parser these addresses are held to; Python's stands beside the other packages.
const PACKAGE: &str = "openai@7.57.0";

/// What `openai_client.py` checks, in its order.
const PYTHON_CHECKS: [&str; 13] = [
    "lists_graphs_as_models",
    "answers",
    "streams",
    "accumulates",
    "many_at_once",
    "takes_a_conversation_with_tools",
    "says_that_it_was_cut",
    "refuses",
    "fails_in_words",
    "has_no_second_attempt",
    "asks",
    "keeps_a_conversation",
    "repeats_nothing",
];
const NODE_CHECKS: [&str; 5] = ["lists_graphs_as_models", "answers", "streams", "accumulates", "fails_in_words"];

#[tokio::test(flavor = "multi_thread")]
async fn openais_package_for_python_finds_what_it_expects() {
    let Some(python) = python() else { return };
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    let mut client = Command::new(python);
    client.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/openai_client.py")).arg(server.url(""));
    check(&server, client, &PYTHON_CHECKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_package_for_node_finds_what_it_expects() {
    let Some(package) = node_package() else { return };
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    let mut client = Command::new("node");
    client.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/openai_client.mjs")).arg(package).arg(server.url(""));
    check(&server, client, &NODE_CHECKS).await;
}

async fn check(server: &Process, mut client: Command, checks: &[&str]) {
    let ran = tokio::task::spawn_blocking(move || client.output());
    let Output { status, stdout, stderr } = ran.await.expect("the program is waited for").expect("it starts");
    let said = String::from_utf8_lossy(&stdout);
    assert!(status.success(), "after {said}:\n{}\n{}", String::from_utf8_lossy(&stderr), server.said());
    assert_eq!(said.lines().collect::<Vec<_>>(), checks);
}

/// A folder with the package, made once. None where it can't be had, which CI counts as a failure.
fn node_package() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("openai-node");
    let has_it = || folder.join("node_modules/openai/package.json").exists();
    let install = || {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder).arg(PACKAGE);
        std::fs::create_dir_all(&folder).is_ok() && npm.output().is_ok_and(|output| output.status.success())
    };
    let made = has_it() || (install() && has_it());
    assert!(made || std::env::var_os("CI").is_none(), "under CI the published package is tried");
    if !made {
        println!("skipped: no {PACKAGE}");
    }
    made.then_some(folder)
}
