//! What LangGraph does with random graphs, case by case, against what `advance` alone does with them.

use semantics::{
    case, fold,
    tally::{self, Tally},
};

#[test]
fn plain_cases_hold() {
    hold("cases.jsonl.gz", 1_000);
}

#[test]
fn rich_cases_hold() {
    hold("rich.jsonl.gz", 600);
}

#[test]
fn cases_of_runs_that_keep_only_their_last_checkpoint_hold() {
    hold("exit.jsonl.gz", 357);
}

/// Fresh cases that showed a defect once.
#[test]
fn found_cases_hold() {
    hold("found.jsonl", 5);
}

/// Of any graph, whatever LangGraph does with it and in whatever order results come: each run ends, and no task is issued
/// twice under one number.
#[test]
fn runs_end_and_issues_are_never_given_twice() {
    for name in ["cases.jsonl.gz", "rich.jsonl.gz", "exit.jsonl.gz", "found.jsonl"] {
        for case in case::read(&tally::recorded(name)).iter().filter(|case| case.id != TOO_LARGE) {
            fold::play(case, 0x9e37_79b9_7f4a_7c15);
        }
    }
}

/// Takes gigabytes (docs/langgraph-differences.md).
const TOO_LARGE: &str = "r3100112x";

fn hold(name: &str, count: usize) {
    let Tally { passed, failures, excluded } = tally::run(&tally::recorded(name), fold::check);
    let shortest = failures.iter().min_by_key(|why| why.len());
    assert!(failures.is_empty(), "{} of {count} cases fail, the shortest: {shortest:#?}", failures.len());
    assert_eq!(passed + excluded, count);
    assert!(excluded * 100 <= count * 3, "{excluded} of {count} cases are excluded");
}
