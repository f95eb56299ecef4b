//! What is printed of a file: passed, failed, excluded, the first differences, and which flags fail.

use std::collections::BTreeMap;

use semantics::{case::Case, tally::Tally};

/// A difference is cut there.
const SHOWN_MAX: usize = 3_000;
const FLAGS_SHOWN: usize = 24;

pub fn print(tally: &Tally, failed: &[&Case], all: &[Case], show: usize) {
    let mut shortest: Vec<&String> = tally.failures.iter().collect();
    shortest.sort_by_key(|why| why.len());
    for why in shortest.into_iter().take(show) {
        println!("{}\n", why.chars().take(SHOWN_MAX).collect::<String>());
    }
    let with = |flag: &str, cases: &mut dyn Iterator<Item = &Case>| {
        cases.filter(|case| case.flags.iter().any(|own| own == flag)).count()
    };
    let mut flags: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for flag in failed.iter().flat_map(|case| &case.flags) {
        let counts = || (with(flag, &mut failed.iter().copied()), with(flag, &mut all.iter()));
        flags.entry(flag).or_insert_with(counts);
    }
    let mut flags: Vec<_> = flags.into_iter().collect();
    flags.sort_by_key(|(_, (failed, _))| std::cmp::Reverse(*failed));
    for (flag, (failed, all)) in flags.into_iter().take(FLAGS_SHOWN) {
        println!("  {flag}: {failed} of {all} fail");
    }
    let plain = |cases: &mut dyn Iterator<Item = &Case>| cases.filter(|case| case.flags.is_empty()).count();
    let (failed, all) = (plain(&mut failed.iter().copied()), plain(&mut all.iter()));
    if failed > 0 {
        println!("  (no flag): {failed} of {all} fail");
    }
    println!("whole pipeline: {tally}");
}
