//! What was answered is there after a restart, whatever its size and name.

use bytes::Bytes;
use graph::envelope::Key;
use uuid::Uuid;

use super::bench::{AT, Bench, Failure, Outcome, holds, position, same, update, write_of};
use crate::rows::{Claim, Claimed, PageRequest, RunFilter, RunRow, RunWrite, SpecRow, StateRow, UsageBy};

const ALL: PageRequest = PageRequest { limit: 1_000, cursor: None };

/// A run with a row of every kind.
fn whole(bench: &Bench<'_>, n: u64) -> RunWrite {
    let run = RunRow { thread_id: Some(format!("t-{n}")), user: Some("ada".into()), ..bench.run(n) };
    let owner = bench.key(&format!("t-{n}"));
    RunWrite {
        updates: (1..=4).map(update).collect(),
        thread: Some(bench.thread(&format!("t-{n}"), n)),
        checkpoints: (0..3).map(|step| bench.checkpoint(&owner, "", step)).collect(),
        usage: vec![bench.call(n)],
        ..RunWrite { run: Some(run.clone()), ..write_of(&run) }
    }
}

async fn check_whole(bench: &Bench<'_>, write: &RunWrite) -> Outcome {
    let RunWrite { tenant, run_id, updates, run, thread, checkpoints, usage: _ } = write;
    same!(bench.store.run(tenant, *run_id).await?, *run, "the run");
    same!(bench.store.updates(tenant, *run_id, 0, 100).await?, *updates, "its updates");
    let thread = thread.as_ref().ok_or_else(|| Failure("the write has no thread".into()))?;
    let found = bench.store.thread(tenant, &thread.thread_id).await?;
    same!(found.as_ref(), Some(thread), "its thread");
    let newest: Vec<_> = checkpoints.iter().rev().cloned().collect();
    let found = bench.store.checkpoints(&Key::thread(tenant, &thread.thread_id), "", None, 100).await?;
    same!(found, newest, "its checkpoints");
    Ok(())
}

pub(super) async fn results_survive_a_reopen(bench: &mut Bench<'_>) -> Outcome {
    let writes: Vec<RunWrite> = (0..10).map(|n| whole(bench, n)).collect();
    bench.store.write(writes.clone().into()).await?;
    let owner = bench.key("blobs");
    bench.store.put_blob(&owner, "cafe", Bytes::from_static(b"value")).await?;
    bench.reopen().await?;
    for write in &writes {
        check_whole(bench, write).await?;
    }
    same!(bench.store.blob(&owner, "cafe").await?, Some(Bytes::from_static(b"value")), "the blob");
    let rows = bench.store.runs(&bench.tenant(), &RunFilter::default(), &ALL).await?.rows;
    same!(rows.len(), 10, "listed runs");
    let sums = bench.store.usage(&bench.tenant(), &[UsageBy::Graph], AT, AT + 1_000).await?;
    same!(sums.iter().map(|sum| sum.calls).collect::<Vec<_>>(), [10], "counted calls");
    Ok(())
}

pub(super) async fn states_survive_a_reopen(bench: &mut Bench<'_>) -> Outcome {
    let (kept, deleted) = (bench.key("kept"), bench.key("deleted"));
    let asleep = StateRow { wake_at: Some(AT), ..bench.state(&kept, 9, Some("kept")) };
    bench.store.put_states(&[asleep.clone(), bench.state(&deleted, 9, None)]).await?;
    bench.store.set_covered(bench.partition(0), position(9)).await?;
    bench.reopen().await?;
    same!(bench.store.state(bench.partition(0), &kept).await?, Some(asleep), "the state");
    same!(bench.store.sleepers(bench.partition(0)).await?.len(), 1, "sleepers");
    same!(bench.store.covered(bench.partition(0)).await?, Some(position(9)), "covered");
    bench.store.put_states(&[bench.state(&deleted, 8, Some("a zombie's"))]).await?;
    same!(bench.text_of(&deleted).await?, None, "the state that was deleted before the restart");
    Ok(())
}

pub(super) async fn agreements_survive_a_reopen(bench: &mut Bench<'_>) -> Outcome {
    let claim = Claim {
        tenant: bench.tenant(),
        key: "k".into(),
        run_id: Uuid::from_u128(7),
        body_hash: [7; 32],
        expires_at: AT + 3_600_000,
    };
    let spec = SpecRow {
        hash: bench.name("hash"),
        name: bench.name("support"),
        spec: Bytes::from_static(b"{}"),
        created_at: AT,
    };
    bench.store.claim(&claim, AT).await?;
    bench.store.put_spec(&spec).await?;
    bench.store.publish(&spec.name, &spec.hash, AT).await?;
    bench.store.set_once(&bench.name("partitions"), "64").await?;
    bench.reopen().await?;
    same!(bench.store.claim(&claim, AT).await?, Claimed::Taken(claim.clone()), "the claim");
    same!(bench.store.current_of(&spec.name).await?, Some(spec.clone()), "the current spec");
    same!(bench.store.set_once(&bench.name("partitions"), "32").await?, "64", "what was set once");
    Ok(())
}

pub(super) async fn odd_names_are_names(bench: &mut Bench<'_>) -> Outcome {
    let long = "ü".repeat(127) + "x";
    let names = ["a/b", "a", "a/b/t/c", "%2F", "' OR 1=1 --", "日本語 🦀", " ", "-", "A", &long];
    for (n, name) in (0u64..).zip(names) {
        let tenant = bench.name(name);
        let key = Key::thread(&tenant, name);
        bench.store.put_states(&[bench.state(&key, n, Some(name))]).await?;
        bench.store.put_blob(&key, name, Bytes::copy_from_slice(name.as_bytes())).await?;
        let run = RunRow {
            tenant: tenant.clone(),
            thread_id: Some(name.to_owned()),
            user: Some(name.to_owned()),
            graph: name.to_owned(),
            ..bench.run(n)
        };
        let thread = crate::rows::ThreadRow { tenant, ..bench.thread(name, n) };
        bench
            .store
            .write(vec![RunWrite { run: Some(run.clone()), thread: Some(thread), ..write_of(&run) }].into())
            .await?;
    }
    for (n, name) in (0u64..).zip(names) {
        let tenant = bench.name(name);
        let key = Key::thread(&tenant, name);
        same!(bench.text_of(&key).await?.as_deref(), Some(name), "the state of {name:?}");
        let blob = bench.store.blob(&key, name).await?;
        same!(blob.as_deref(), Some(name.as_bytes()), "the blob of {name:?}");
        let thread = bench.store.thread(&tenant, name).await?;
        holds!(thread.is_some_and(|row| row.thread_id == name), "the thread {name:?} was not found");
        let (name_of, any) = (Some(name.to_owned()), RunFilter::default());
        for filter in [
            RunFilter { user: name_of.clone(), ..any.clone() },
            RunFilter { thread_id: name_of.clone(), ..any.clone() },
            RunFilter { graph: name_of, ..any },
        ] {
            let rows = bench.store.runs(&tenant, &filter, &ALL).await?.rows;
            same!(super::bench::ids_of(&rows), [bench.run(n).run_id], "runs by {filter:?}");
        }
    }
    Ok(())
}

pub(super) async fn a_thousand_runs_are_written_at_once(bench: &mut Bench<'_>) -> Outcome {
    let writes: Vec<RunWrite> = (0..1_000).map(|n| whole(bench, n)).collect();
    bench.store.write(writes.clone().into()).await?;
    bench.store.write(vec![].into()).await?;
    for write in writes.iter().step_by(97) {
        check_whole(bench, write).await?;
    }
    let rows = bench.store.runs(&bench.tenant(), &RunFilter::default(), &ALL).await?.rows;
    same!(rows.len(), 1_000, "listed runs");
    Ok(())
}

pub(super) async fn a_repeated_write_changes_nothing(bench: &mut Bench<'_>) -> Outcome {
    let writes: Vec<RunWrite> = (0..5).map(|n| whole(bench, n)).collect();
    for _ in 0..3 {
        bench.store.write(writes.clone().into()).await?;
    }
    for write in &writes {
        check_whole(bench, write).await?;
    }
    let rows = bench.store.runs(&bench.tenant(), &RunFilter::default(), &ALL).await?.rows;
    same!(rows.len(), 5, "listed runs");
    let sums = bench.store.usage(&bench.tenant(), &[], AT, AT + 1_000).await?;
    same!(sums.iter().map(|sum| sum.calls).collect::<Vec<_>>(), [5], "counted calls");
    Ok(())
}
