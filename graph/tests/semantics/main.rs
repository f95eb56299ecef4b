//! What LangGraph does with random graphs, case by case, against what `advance` alone does with them.

mod case;
mod compare;
mod program;
mod view;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use case::Case;
use world::World;

/// Why a case fails, or nothing.
fn check(case: &Case) -> Result<(), String> {
    let mut world = World::new(case);
    let mut unreadable: Option<&str> = None;
    for (place, (call, expected)) in case.calls.iter().zip(&case.expect).enumerate() {
        // The recorder reads the ids of questions from the state: where that raised, the call was never made.
        let kind = unreadable.and_then(|error| error.split(':').next());
        unreadable = expected.get("state_error").and_then(|error| error.as_str());
        if call.by_id.is_some() && kind.is_some() && expected["error"]["type"].as_str() == kind {
            continue;
        }
        let got = world.call(call);
        compare::call(&got, expected)
            .map_err(|why| format!("{} call {place} {:?} {}: {why}", case.id, call.call, case.flags.join(" ")))?;
    }
    Ok(())
}

/// The cases that `docs/langgraph-differences.md` names, each under the rule that excludes it.
fn differences() -> BTreeSet<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/langgraph-differences.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = page.lines().filter_map(|line| line.strip_prefix("Cases: "));
    lines.flat_map(|line| line.split(", ")).map(|id| id.trim_matches(['`', '.']).to_owned()).collect()
}

fn run(name: &str) -> (usize, Vec<String>) {
    let mut cases = case::read(name);
    if let Ok(only) = std::env::var("CASE") {
        cases.retain(|case| case.id == only);
    }
    let excluded = differences();
    let all = cases.len();
    cases.retain(|case| std::env::var("CASE").is_ok() || !excluded.contains(&case.id));
    assert!((all - cases.len()) * 100 <= all * 3, "more than 3 in 100 cases are excluded");
    let half = cases.len().div_ceil(2).max(1);
    // A case that panics is a case that fails.
    let failures = |cases: &[Case]| -> Vec<String> {
        let one = |case: &Case| {
            if std::env::var("NAMES").is_ok() {
                eprintln!("case {}", case.id);
            }
            let checked = std::panic::catch_unwind(|| check(case));
            checked.unwrap_or_else(|_| Err(format!("{} panic: ", case.id))).err()
        };
        cases.iter().filter_map(one).collect()
    };
    let failures = std::thread::scope(|scope| {
        let parts: Vec<_> = cases.chunks(half).map(|part| scope.spawn(move || failures(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("a thread of cases")).collect()
    });
    (cases.len(), failures)
}

#[test]
fn plain_cases_hold() {
    let (count, failures) = run("cases.jsonl.gz");
    report(count, &failures);
}

#[test]
fn rich_cases_hold() {
    let (count, failures) = run("rich.jsonl.gz");
    report(count, &failures);
}

fn report(count: usize, failures: &[String]) {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    failures.iter().for_each(|why| *kinds.entry(why.split(": ").nth(1).unwrap_or_default()).or_default() += 1);
    let shortest = failures.iter().min_by_key(|why| why.len());
    if let Ok(path) = std::env::var("FAILED") {
        std::fs::write(path, failures.join("\n\n")).expect("a file for failures");
    }
    assert!(failures.is_empty(), "{} of {count} cases fail: {kinds:?}\n{shortest:#?}", failures.len());
}
