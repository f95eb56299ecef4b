//! What LangGraph does with random graphs, case by case, against what `advance` alone does with them.

use semantics::{
    fold,
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

fn hold(name: &str, count: usize) {
    let Tally { passed, failures, excluded } = tally::run(&tally::recorded(name), fold::check);
    let shortest = failures.iter().min_by_key(|why| why.len());
    assert!(failures.is_empty(), "{} of {count} cases fail, the shortest: {shortest:#?}", failures.len());
    assert_eq!(passed + excluded, count);
    assert!(excluded * 100 <= count * 3, "{excluded} of {count} cases are excluded");
}
