//! What LangGraph does with random graphs, case by case, against what `advance` alone does with them.

mod case;
mod compare;
mod program;
mod view;
mod world;

use std::collections::BTreeMap;

use case::Case;
use world::World;

/// Flags of what is not built yet: a case that has one of them is left out.
const NOT_BUILT: [&str; 11] = [
    "interrupt",
    "interrupt_before",
    "interrupt_after",
    "parent",
    "subgraph",
    "update_state",
    "fork",
    "resume_by_id",
    "command_in",
    "on_error",
    "nested",
];

/// Why a case fails, or nothing.
fn check(case: &Case) -> Result<(), String> {
    let mut world = World::new(case);
    for (place, (call, expected)) in case.calls.iter().zip(&case.expect).enumerate() {
        let got = world.call(call);
        compare::call(&got, expected).map_err(|why| format!("{} call {place} {:?}: {why}", case.id, call.call))?;
    }
    Ok(())
}

fn run(name: &str) -> (usize, Vec<String>) {
    let cases = case::read(name);
    // `at_…`: a call that begins at an earlier checkpoint.
    let not_built = |flag: &String| NOT_BUILT.contains(&flag.as_str()) || flag.starts_with("at_");
    let built: Vec<&Case> = cases.iter().filter(|case| !case.flags.iter().any(not_built)).collect();
    let failures = built.iter().filter_map(|case| check(case).err()).collect();
    (built.len(), failures)
}

#[test]
fn plain_cases_hold() {
    let (count, failures) = run("cases.jsonl.gz");
    report(count, &failures);
    assert!(count >= 180, "only {count} cases were run");
}

#[test]
fn rich_cases_hold() {
    let (count, failures) = run("rich.jsonl.gz");
    report(count, &failures);
    assert!(count >= 15, "only {count} cases were run");
}

fn report(count: usize, failures: &[String]) {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    failures.iter().for_each(|why| *kinds.entry(why.split(": ").nth(1).unwrap_or_default()).or_default() += 1);
    let shortest = failures.iter().min_by_key(|why| why.len());
    assert!(failures.is_empty(), "{} of {count} cases fail: {kinds:?}\n{shortest:#?}", failures.len());
}
