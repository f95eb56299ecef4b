//! Calls, once by their id, and their sums.

use graph::{
    envelope::Millis,
    task::{Usage, UsageSource},
};

use super::bench::{AT, Bench, Outcome, same, write_of};
use crate::rows::{RunWrite, UsageBy, UsageRow, UsageSum};

const DAY_MS: Millis = 24 * 60 * 60 * 1000;
const ALWAYS: (Millis, Millis) = (AT - DAY_MS, AT + 400 * DAY_MS);

async fn write(bench: &Bench<'_>, usage: Vec<UsageRow>) -> Outcome {
    Ok(bench.store.write(vec![RunWrite { usage, ..write_of(&bench.run(0)) }].into()).await?)
}

/// `calls` of the bench's calls.
fn sum(group: &[&str], calls: u64) -> UsageSum {
    UsageSum {
        group: group.iter().map(|word| (*word).to_owned()).collect(),
        calls,
        calls_missing_usage: 0,
        usage: Usage {
            input_tokens: 10 * calls,
            output_tokens: 3 * calls,
            cached_tokens: 2 * calls,
            cache_write_tokens: 4 * calls,
            reasoning_tokens: calls,
            cost_nano_usd: 5_000_000_000 * calls,
            calls_unpriced: 0,
        },
    }
}

pub(super) async fn a_call_is_counted_once(bench: &mut Bench<'_>) -> Outcome {
    let none = bench.store.usage(&bench.tenant(), &[], ALWAYS.0, ALWAYS.1).await?;
    same!(none, [], "sums before any call");
    let calls: Vec<UsageRow> = (0..3).map(|n| bench.call(n)).collect();
    write(bench, calls.clone()).await?;
    write(bench, calls[1..].to_vec()).await?;
    write(bench, [calls.clone(), calls].concat()).await?;
    let sums = bench.store.usage(&bench.tenant(), &[], ALWAYS.0, ALWAYS.1).await?;
    same!(sums, [sum(&[], 3)], "three calls, each written several times");
    let spenders = bench.store.spenders().await?;
    let times = spenders.iter().filter(|tenant| **tenant == bench.tenant()).count();
    same!(times, 1, "how often their tenant is named among all that made calls");
    Ok(())
}

pub(super) async fn usage_is_added_up_by_every_key(bench: &mut Bench<'_>) -> Outcome {
    let special = UsageRow {
        endpoint: "/query".into(),
        graph: "triage".into(),
        node: "rank".into(),
        model: "large".into(),
        user: Some("ada".into()),
        key: Some("ci".into()),
        started_at: AT + DAY_MS,
        ..bench.call(9)
    };
    write(bench, vec![bench.call(0), bench.call(1), special]).await?;
    for (by, common, other) in [
        (UsageBy::Endpoint, "/chat", "/query"),
        (UsageBy::Graph, "support", "triage"),
        (UsageBy::Node, "answer", "rank"),
        (UsageBy::Model, "small", "large"),
        (UsageBy::User, "", "ada"),
        (UsageBy::Key, "", "ci"),
        (UsageBy::Day, "2025-11-21", "2025-11-22"),
    ] {
        let mut expected = [sum(&[common], 2), sum(&[other], 1)];
        expected.sort_by(|a, b| a.group.cmp(&b.group));
        let sums = bench.store.usage(&bench.tenant(), &[by], ALWAYS.0, ALWAYS.1).await?;
        same!(sums, expected, "sums by {by:?}");
    }
    Ok(())
}

pub(super) async fn usage_is_added_up_by_several_keys(bench: &mut Bench<'_>) -> Outcome {
    let calls = (0..12)
        .map(|n| UsageRow {
            user: ["ada", "bob"].get(n as usize % 3).map(|user| (*user).to_owned()),
            model: ["small", "large"][n as usize % 2].into(),
            ..bench.call(n)
        })
        .collect();
    write(bench, calls).await?;
    let sums = bench.store.usage(&bench.tenant(), &[UsageBy::Model, UsageBy::User], ALWAYS.0, ALWAYS.1).await?;
    let groups = [["large", ""], ["large", "ada"], ["large", "bob"], ["small", ""], ["small", "ada"], ["small", "bob"]];
    same!(sums, groups.map(|group| sum(&group, 2)), "sums by model and user");
    Ok(())
}

pub(super) async fn usage_is_bounded_by_time(bench: &mut Bench<'_>) -> Outcome {
    let calls = (0..10).map(|n| UsageRow { started_at: AT + n as Millis * DAY_MS / 3, ..bench.call(n) }).collect();
    write(bench, calls).await?;
    for (since, until, expected) in [(0, 10, 10), (2, 7, 5), (9, 10, 1), (4, 4, 0)] {
        let at = |n: Millis| AT + n * DAY_MS / 3;
        let sums = bench.store.usage(&bench.tenant(), &[], at(since), at(until)).await?;
        let expected: Vec<UsageSum> = (expected > 0).then(|| sum(&[], expected)).into_iter().collect();
        same!(sums, expected, "calls from the {since}th to before the {until}th");
    }
    Ok(())
}

pub(super) async fn missing_usage_is_counted(bench: &mut Bench<'_>) -> Outcome {
    let unpriced = Usage { calls_unpriced: 1, ..Usage::default() };
    let missing = UsageRow { usage: unpriced, source: UsageSource::Missing, ..bench.call(1) };
    let estimated = UsageRow { source: UsageSource::Estimated, ..bench.call(2) };
    write(bench, vec![bench.call(0), missing, estimated]).await?;
    let sums = bench.store.usage(&bench.tenant(), &[], ALWAYS.0, ALWAYS.1).await?;
    let usage = Usage { calls_unpriced: 1, ..sum(&[], 2).usage };
    same!(sums, [UsageSum { calls: 3, calls_missing_usage: 1, usage, ..sum(&[], 2) }], "the sum");
    Ok(())
}
