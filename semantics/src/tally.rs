//! What became of a file of cases, and which cases a named difference leaves out.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::case::{self, Case};

#[derive(Debug, Default)]
pub struct Tally {
    pub passed: usize,
    pub failures: Vec<String>,
    pub excluded: usize,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} excluded", self.passed, self.failures.len(), self.excluded)
    }
}

/// The cases of a file that no difference names, and how many it names.
pub fn load(path: &Path) -> (Vec<Case>, usize) {
    let mut cases = case::read(path);
    let (all, differences) = (cases.len(), differences());
    cases.retain(|case| !differences.contains(&case.id));
    let excluded = all - cases.len();
    (cases, excluded)
}

/// Checks each case of a file, on two threads. A case that panics is a case that fails.
pub fn run(path: &Path, check: fn(&Case) -> Result<(), String>) -> Tally {
    let (cases, excluded) = load(path);
    let failures = |cases: &[Case]| -> Vec<String> {
        let one = |case: &Case| {
            let checked = std::panic::catch_unwind(|| check(case));
            checked.unwrap_or_else(|_| Err(format!("{}: panic", case.id))).err()
        };
        cases.iter().filter_map(one).collect()
    };
    let half = cases.len().div_ceil(2).max(1);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let parts: Vec<_> = cases.chunks(half).map(|part| scope.spawn(move || failures(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("a thread of cases")).collect()
    });
    Tally { passed: cases.len() - failures.len(), failures, excluded }
}

/// A file of `semantics/cases`.
pub fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(name)
}

/// The cases that `docs/langgraph-differences.md` names, each under the rule that excludes it.
fn differences() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/langgraph-differences.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = page.lines().filter_map(|line| line.strip_prefix("Cases: "));
    lines.flat_map(|line| line.split(", ")).map(|id| id.trim_matches(['`', '.']).to_owned()).collect()
}
