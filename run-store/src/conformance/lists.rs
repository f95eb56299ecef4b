//! Runs by tenant, user, thread, graph, status and time, newest first.

use graph::update::RunStatus;

use super::bench::{Bench, Failure, Outcome, ids_of, position, same};
use crate::rows::{PageRequest, RunFilter, RunRow};

const ALL: PageRequest = PageRequest { limit: 100, cursor: None };

/// Twelve runs over two users, three threads, two graphs and all kinds of ends.
fn runs(bench: &Bench<'_>) -> Vec<RunRow> {
    let statuses = [RunStatus::Success, RunStatus::Error, RunStatus::Running, RunStatus::Interrupted];
    (0..12)
        .map(|n| RunRow {
            user: [Some("ada"), Some("bob/é"), None][n % 3].map(str::to_owned),
            thread_id: [Some("t-1"), None, Some("t-2"), Some("t 3")][n % 4].map(str::to_owned),
            graph: ["support", "triage"][n % 2].to_owned(),
            status: statuses[n / 3],
            ..bench.run(n as u64)
        })
        .collect()
}

async fn check(bench: &Bench<'_>, filter: RunFilter, matches: impl Fn(&RunRow) -> bool) -> Outcome {
    let mut expected: Vec<RunRow> = runs(bench).into_iter().filter(|row| matches(row)).collect();
    expected.reverse();
    if expected.is_empty() {
        return Err(Failure(format!("no run matches {filter:?}: the case proves nothing")));
    }
    let page = bench.store.runs(&bench.tenant(), &filter, &ALL).await?;
    same!(page.rows, expected, "runs by {filter:?}");
    same!(page.cursor, None, "the cursor at the end");
    Ok(())
}

pub(super) async fn runs_are_newest_first(bench: &mut Bench<'_>) -> Outcome {
    let mut rows = runs(bench);
    rows.rotate_left(5);
    bench.write_runs(rows).await?;
    check(bench, RunFilter::default(), |_| true).await
}

pub(super) async fn runs_are_listed_by_user(bench: &mut Bench<'_>) -> Outcome {
    bench.write_runs(runs(bench)).await?;
    for user in ["ada", "bob/é"] {
        let filter = RunFilter { user: Some(user.into()), ..RunFilter::default() };
        check(bench, filter, |row| row.user.as_deref() == Some(user)).await?;
    }
    Ok(())
}

pub(super) async fn runs_are_listed_by_thread(bench: &mut Bench<'_>) -> Outcome {
    bench.write_runs(runs(bench)).await?;
    for thread in ["t-1", "t 3"] {
        let filter = RunFilter { thread_id: Some(thread.into()), ..RunFilter::default() };
        check(bench, filter, |row| row.thread_id.as_deref() == Some(thread)).await?;
    }
    Ok(())
}

pub(super) async fn runs_are_listed_by_graph(bench: &mut Bench<'_>) -> Outcome {
    bench.write_runs(runs(bench)).await?;
    for graph in ["support", "triage"] {
        let filter = RunFilter { graph: Some(graph.into()), ..RunFilter::default() };
        check(bench, filter, |row| row.graph == graph).await?;
    }
    Ok(())
}

pub(super) async fn runs_are_listed_by_status(bench: &mut Bench<'_>) -> Outcome {
    bench.write_runs(runs(bench)).await?;
    for status in [RunStatus::Success, RunStatus::Error, RunStatus::Running, RunStatus::Interrupted] {
        let filter = RunFilter { status: Some(status), ..RunFilter::default() };
        check(bench, filter, |row| row.status == status).await?;
    }
    let none = RunFilter { status: Some(RunStatus::Timeout), ..RunFilter::default() };
    same!(bench.store.runs(&bench.tenant(), &none, &ALL).await?.rows, [], "runs of a status that none has");
    Ok(())
}

pub(super) async fn runs_are_listed_by_time(bench: &mut Bench<'_>) -> Outcome {
    bench.write_runs(runs(bench)).await?;
    let (since, until) = (bench.run(3).created_at, bench.run(8).created_at);
    let from = RunFilter { since: Some(since), ..RunFilter::default() };
    check(bench, from, |row| row.created_at >= since).await?;
    let to = RunFilter { until: Some(until), ..RunFilter::default() };
    check(bench, to, |row| row.created_at < until).await?;
    let between = RunFilter { since: Some(since), until: Some(until), ..RunFilter::default() };
    check(bench, between, |row| (since..until).contains(&row.created_at)).await
}

pub(super) async fn filters_are_combined(bench: &mut Bench<'_>) -> Outcome {
    bench.write_runs(runs(bench)).await?;
    let all = runs(bench);
    // Each run is found by every combination of what it has.
    for wanted in [&all[0], &all[3], &all[7], &all[10]] {
        for chosen in 0..32u8 {
            let asks = |bit: u8| chosen & (1 << bit) != 0;
            let filter = RunFilter {
                user: wanted.user.clone().filter(|_| asks(0)),
                thread_id: wanted.thread_id.clone().filter(|_| asks(1)),
                graph: asks(2).then(|| wanted.graph.clone()),
                status: asks(3).then_some(wanted.status),
                since: asks(4).then_some(wanted.created_at),
                until: asks(4).then_some(wanted.created_at + 180_000),
            };
            let asked = filter.clone();
            check(bench, filter, |row| {
                (asked.user.is_none() || asked.user == row.user)
                    && (asked.thread_id.is_none() || asked.thread_id == row.thread_id)
                    && asked.graph.as_ref().is_none_or(|graph| *graph == row.graph)
                    && asked.status.is_none_or(|status| status == row.status)
                    && asked.since.is_none_or(|since| row.created_at >= since)
                    && asked.until.is_none_or(|until| row.created_at < until)
            })
            .await?;
        }
    }
    Ok(())
}

pub(super) async fn a_run_leaves_the_list_of_its_former_status(bench: &mut Bench<'_>) -> Outcome {
    let steps = [RunStatus::Pending, RunStatus::Running, RunStatus::Success];
    for (n, status) in (0u64..).zip(steps) {
        bench.write_runs([RunRow { position: position(10 + n), status, ..bench.run(1) }]).await?;
        for listed in steps {
            let filter = RunFilter { status: Some(listed), ..RunFilter::default() };
            let page = bench.store.runs(&bench.tenant(), &filter, &ALL).await?;
            let expected = if listed == status { vec![bench.run(1).run_id] } else { vec![] };
            same!(ids_of(&page.rows), expected, "runs listed as {listed:?} while the run is {status:?}");
        }
    }
    Ok(())
}
