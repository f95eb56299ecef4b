//! A tenant is a wall on every read.

use bytes::Bytes;
use graph::update::RunStatus;

use super::bench::{AT, Bench, Outcome, same, update, write_of};
use crate::rows::{PageRequest, RunFilter, RunRow, RunWrite, ThreadFilter, ThreadRow, UsageBy, UsageRow};

const ALL: PageRequest = PageRequest { limit: 100, cursor: None };

/// One run of the tenant with all that belongs to it, of one user, thread and graph, whoever the tenant is.
fn write_for(bench: &Bench<'_>, tenant: &str, n: u64) -> RunWrite {
    let run = RunRow {
        tenant: tenant.to_owned(),
        thread_id: Some("t".into()),
        user: Some("ada".into()),
        view: Bytes::from(format!("{{\"of\":\"{tenant}\"}}")),
        ..bench.run(n)
    };
    let thread = ThreadRow { tenant: tenant.to_owned(), user: run.user.clone(), ..bench.thread("t", n) };
    let usage = UsageRow { tenant: tenant.to_owned(), user: run.user.clone(), ..bench.call(n) };
    RunWrite {
        updates: vec![update(n + 1)],
        thread: Some(thread),
        usage: vec![usage],
        ..RunWrite { run: Some(run.clone()), ..write_of(&run) }
    }
}

async fn write_two(bench: &Bench<'_>) -> Result<(RunWrite, RunWrite), super::Failure> {
    let ours = write_for(bench, &bench.tenant(), 1);
    let theirs = write_for(bench, &bench.name("bond"), 2);
    bench.store.write(vec![ours.clone(), theirs.clone()].into()).await?;
    Ok((ours, theirs))
}

pub(super) async fn a_tenant_reads_no_other_tenants_run(bench: &mut Bench<'_>) -> Outcome {
    let (ours, theirs) = write_two(bench).await?;
    same!(bench.store.run(&ours.tenant, ours.run_id).await?, ours.run, "the tenant's own run");
    same!(bench.store.run(&ours.tenant, theirs.run_id).await?, None, "another tenant's run");
    let updates = bench.store.updates(&ours.tenant, theirs.run_id, 0, 10).await?;
    same!(updates, [], "another tenant's updates");
    Ok(())
}

pub(super) async fn a_tenant_lists_no_other_tenants_runs(bench: &mut Bench<'_>) -> Outcome {
    let (ours, _) = write_two(bench).await?;
    let expected: Vec<RunRow> = ours.run.into_iter().collect();
    for filter in [
        RunFilter::default(),
        RunFilter { user: Some("ada".into()), ..RunFilter::default() },
        RunFilter { thread_id: Some("t".into()), ..RunFilter::default() },
        RunFilter { graph: Some("support".into()), ..RunFilter::default() },
        RunFilter { status: Some(RunStatus::Success), ..RunFilter::default() },
        RunFilter { since: Some(AT), ..RunFilter::default() },
    ] {
        let page = bench.store.runs(&ours.tenant, &filter, &ALL).await?;
        same!(page.rows, expected, "the tenant's runs by {filter:?}");
    }
    let nobody = bench.store.runs(&bench.name("nobody"), &RunFilter::default(), &ALL).await?;
    same!(nobody.rows, [], "the runs of a tenant that has none");
    Ok(())
}

pub(super) async fn a_tenant_reads_no_other_tenants_thread(bench: &mut Bench<'_>) -> Outcome {
    let (ours, theirs) = write_two(bench).await?;
    same!(bench.store.thread(&ours.tenant, "t").await?, ours.thread, "the tenant's own thread");
    same!(bench.store.thread(&theirs.tenant, "t").await?, theirs.thread, "the other's thread of the same id");
    same!(bench.store.thread(&bench.name("nobody"), "t").await?, None, "the thread of a tenant that has none");
    let expected: Vec<ThreadRow> = ours.thread.into_iter().collect();
    for user in [None, Some("ada".to_owned())] {
        let filter = ThreadFilter { user, graph: None };
        let page = bench.store.threads(&ours.tenant, &filter, &ALL).await?;
        same!(page.rows, expected, "the tenant's threads by {filter:?}");
    }
    Ok(())
}

pub(super) async fn a_tenant_sees_no_other_tenants_usage(bench: &mut Bench<'_>) -> Outcome {
    let (ours, _) = write_two(bench).await?;
    let sums = bench.store.usage(&ours.tenant, &[UsageBy::User], AT - 1_000, AT + 1_000).await?;
    let calls: Vec<u64> = sums.iter().map(|sum| sum.calls).collect();
    same!(calls, [1], "the tenant's calls");
    Ok(())
}

pub(super) async fn equal_ids_of_two_tenants_are_two_runs(bench: &mut Bench<'_>) -> Outcome {
    let ours = write_for(bench, &bench.tenant(), 1);
    let theirs = write_for(bench, &bench.name("bond"), 1);
    bench.store.write(vec![ours.clone(), theirs.clone()].into()).await?;
    for write in [ours, theirs] {
        same!(bench.store.run(&write.tenant, write.run_id).await?, write.run, "the run of {}", write.tenant);
        let updates = bench.store.updates(&write.tenant, write.run_id, 0, 10).await?;
        same!(updates, write.updates, "the updates of {}", write.tenant);
        let sums = bench.store.usage(&write.tenant, &[], AT - 1_000, AT + 1_000).await?;
        let calls: Vec<u64> = sums.iter().map(|sum| sum.calls).collect();
        same!(calls, [1], "the calls of {}", write.tenant);
    }
    Ok(())
}
