//! LangGraph's addresses as its published SDK for Python uses them, against a real process.

use std::{path::PathBuf, process::Command, sync::OnceLock};

use crate::{
    model::CountingModel,
    process::{dev_with, folder},
};

/// The version whose parser and reconnects these addresses are held to.
const SDK: &str = "langgraph-sdk==0.4.14";
/// The versions whose parsers OpenAI's addresses are held to (`openai_client.py`, `langchain_client.py`).
const OPENAI: [&str; 2] = ["openai==3.54.0", "langchain-openai==1.7.3"];
/// What the Python package of nodes needs besides.
const SERVES: [&str; 2] = ["starlette>=0.40", "uvicorn>=0.30"];

/// What `langgraph_client.py` checks, in its order.
const CHECKS: [&str; 21] = [
    "modes",
    "messages",
    "breakpoints_history_edits_and_forks",
    "joins_and_comes_back",
    "asks_and_is_answered",
    "fails_as_langgraph_does",
    "cancels_and_refuses",
    "forgets_threads",
    "copies_threads",
    "makes_a_thread_once",
    "prunes_threads",
    "tells_what_was_pruned",
    "edits_wait_for_programs",
    "edits_inside_subgraphs",
    "ends_threads",
    "undoes_runs",
    "keeps_only_the_last_checkpoint",
    "begins_later",
    "keeps_and_finds_items",
    "finds_by_meaning",
    "nodes_reach_the_store",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_published_sdk_finds_what_it_expects() {
    let Some(python) = python() else { return };
    let folder = folder();
    let model = CountingModel::start().await;
    let server = dev_with(folder.path(), &[], &embedding(&model)).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/langgraph_client.py");
    let url = server.url("");
    let ran = tokio::task::spawn_blocking(move || Command::new(python).arg(script).arg(url).output());
    let ran = ran.await.expect("the program is waited for").expect("Python starts");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "after {said}:\n{}\n{}", String::from_utf8_lossy(&ran.stderr), server.said());
    assert_eq!(said.lines().collect::<Vec<_>>(), CHECKS);
}

/// The store's index, by a model over HTTP.
fn embedding(model: &CountingModel) -> [(&'static str, String); 4] {
    [
        ("MILLSTREAM__PROVIDERS__MOCK__BASE_URL", model.base_url.clone()),
        ("MILLSTREAM__EMBEDDING__MODEL", "mock/words".to_owned()),
        ("MILLSTREAM__EMBEDDING__DIMS", "64".to_owned()),
        ("MILLSTREAM__EMBEDDING__FIELDS", "text".to_owned()),
    ]
}

/// A Python with the SDKs and what nodes need, made once. None where it can't be had, which CI counts as a failure.
pub fn python() -> Option<PathBuf> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    MADE.get_or_init(make_python).clone()
}

fn make_python() -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("langgraph-sdk");
    let python = folder.join("bin/python");
    let done = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let has_sdk =
        || done(Command::new(&python).args(["-c", "import langgraph_sdk, langchain_openai, starlette, uvicorn"]));
    let made = has_sdk()
        || (done(Command::new("python3").args(["-m", "venv"]).arg(&folder))
            && done(Command::new(&python).args(["-m", "pip", "install", "--quiet", SDK]).args(OPENAI).args(SERVES))
            && has_sdk());
    assert!(made || std::env::var_os("CI").is_none(), "under CI the published SDK is tried");
    if !made {
        println!("skipped: no Python with {SDK}");
    }
    made.then_some(python)
}
