//! OpenAI's addresses as published clients for Python and Node use them, against a real process.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use crate::{
    langgraph::python,
    process::{dev, folder},
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e");

/// The clients for Node whose parsers these addresses are held to; Python's stand beside the other packages.
const NODE_PACKAGES: [(&str, &str); 3] =
    [("openai", "7.57.0"), ("ai", "7.0.173"), ("@ai-sdk/openai-compatible", "3.0.92")];

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
/// What `langchain_client.py` checks.
const LANGCHAIN_CHECKS: [&str; 8] = [
    "answers",
    "streams",
    "many_at_once",
    "stands_in_a_chain",
    "takes_a_conversation_with_tools",
    "says_that_it_was_cut",
    "refuses",
    "fails_in_words",
];
/// What `ai_sdk_client.mjs` checks.
const AI_SDK_CHECKS: [&str; 7] = [
    "answers",
    "streams",
    "takes_a_conversation_with_tools",
    "says_that_it_was_cut",
    "refuses",
    "fails_in_words",
    "gives_up",
];

#[tokio::test(flavor = "multi_thread")]
async fn openais_package_for_python_finds_what_it_expects() {
    in_python("openai_client.py", &PYTHON_CHECKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openais_package_for_node_finds_what_it_expects() {
    in_node("openai_client.mjs", &NODE_CHECKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn langchains_client_finds_what_it_expects() {
    in_python("langchain_client.py", &LANGCHAIN_CHECKS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ai_sdk_finds_what_it_expects() {
    in_node("ai_sdk_client.mjs", &AI_SDK_CHECKS).await;
}

async fn in_python(script: &str, checks: &[&str]) {
    let Some(python) = python() else { return };
    let mut client = Command::new(python);
    client.arg(Path::new(FOLDER).join(script));
    check(client, checks).await;
}

async fn in_node(script: &str, checks: &[&str]) {
    let Some(packages) = node_packages() else { return };
    let mut client = Command::new("node");
    client.arg(Path::new(FOLDER).join(script)).arg(packages);
    check(client, checks).await;
}

/// The program is told where the server is, and prints the names of what it checked.
async fn check(mut client: Command, checks: &[&str]) {
    let folder = folder();
    let server = dev(folder.path(), &[]).await;
    client.arg(server.url(""));
    let ran = tokio::task::spawn_blocking(move || client.output());
    let Output { status, stdout, stderr } = ran.await.expect("the program is waited for").expect("it starts");
    let said = String::from_utf8_lossy(&stdout);
    assert!(status.success(), "after {said}:\n{}\n{}", String::from_utf8_lossy(&stderr), server.said());
    assert_eq!(said.lines().collect::<Vec<_>>(), checks);
}

/// A folder with the packages, made once. None where they can't be had, which CI counts as a failure.
fn node_packages() -> Option<PathBuf> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    MADE.get_or_init(make_node_packages).clone()
}

fn make_node_packages() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("node-clients");
    let has = |(name, version): &(&str, &str)| {
        let package = std::fs::read_to_string(folder.join("node_modules").join(name).join("package.json"));
        package.is_ok_and(|package| package.contains(&format!("\"version\": \"{version}\"")))
    };
    let has_them = || NODE_PACKAGES.iter().all(has);
    let install = || {
        let mut npm = Command::new("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(&folder);
        npm.args(NODE_PACKAGES.map(|(name, version)| format!("{name}@{version}")));
        std::fs::create_dir_all(&folder).is_ok() && npm.output().is_ok_and(|output| output.status.success())
    };
    let made = has_them() || (install() && has_them());
    assert!(made || std::env::var_os("CI").is_none(), "under CI the published packages are tried");
    if !made {
        println!("skipped: no {NODE_PACKAGES:?}");
    }
    made.then_some(folder)
}
