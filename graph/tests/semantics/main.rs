//! What LangGraph does with random graphs, case by case, against what `advance` alone does with them.

mod case;
mod compare;
mod program;
mod view;
mod world;

use std::{collections::BTreeSet, path::Path};

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
            .map_err(|why| format!("{} call {place} {:?} [{}]: {why}", case.id, call.call, case.flags.join(" ")))?;
    }
    Ok(())
}

/// The cases that `docs/langgraph-differences.md` names, each under the rule that excludes it.
fn differences() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/langgraph-differences.md");
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = page.lines().filter_map(|line| line.strip_prefix("Cases: "));
    lines.flat_map(|line| line.split(", ")).map(|id| id.trim_matches(['`', '.']).to_owned()).collect()
}

/// What became of a file of cases.
struct Tally {
    passed: usize,
    failures: Vec<String>,
    excluded: usize,
}

fn run(path: &Path) -> Tally {
    let mut cases = case::read(path);
    let differences = differences();
    let all = cases.len();
    cases.retain(|case| !differences.contains(&case.id));
    let excluded = all - cases.len();
    let half = cases.len().div_ceil(2).max(1);
    // A case that panics is a case that fails.
    let failures = |cases: &[Case]| -> Vec<String> {
        let one = |case: &Case| {
            let checked = std::panic::catch_unwind(|| check(case));
            checked.unwrap_or_else(|_| Err(format!("{}: panic: ", case.id))).err()
        };
        cases.iter().filter_map(one).collect()
    };
    let failures: Vec<String> = std::thread::scope(|scope| {
        let parts: Vec<_> = cases.chunks(half).map(|part| scope.spawn(move || failures(part))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("a thread of cases")).collect()
    });
    Tally { passed: cases.len() - failures.len(), failures, excluded }
}

#[test]
fn plain_cases_hold() {
    hold("cases.jsonl.gz", 1_000);
}

#[test]
fn rich_cases_hold() {
    hold("rich.jsonl.gz", 600);
}

/// A file of `cargo xtask semantics`.
#[test]
fn cases_of_a_file_hold() {
    let Ok(path) = std::env::var("SEMANTICS_FILE") else { return };
    let Tally { passed, failures, excluded } = run(Path::new(&path));
    failures.iter().for_each(|why| println!("{why}\n"));
    println!("{passed} passed, {} failed, {excluded} excluded", failures.len());
    assert!(failures.is_empty());
}

fn hold(name: &str, count: usize) {
    let Tally { passed, failures, excluded } = run(&Path::new(env!("CARGO_MANIFEST_DIR")).join("semantics").join(name));
    let shortest = failures.iter().min_by_key(|why| why.len());
    assert!(failures.is_empty(), "{} of {count} cases fail, the shortest: {shortest:#?}", failures.len());
    assert_eq!(passed + excluded, count);
    assert!(excluded * 100 <= count * 3, "{excluded} of {count} cases are excluded");
}
