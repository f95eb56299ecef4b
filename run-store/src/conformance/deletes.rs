//! A deleted thread: nothing of it can be read, and nothing of it comes back.

use bytes::Bytes;

use super::bench::{Bench, Outcome, holds, position, same, update, write_of};
use crate::rows::{PageRequest, RunFilter, RunWrite, ThreadFilter};

pub(super) const ALL: PageRequest = PageRequest { limit: 100, cursor: None };
pub(super) const HASH: &str = "00ff";
/// The number of a run's edit, above its own.
pub(super) const EDIT: u64 = 50;

/// Rows of every kind, at positions 101 to 109.
pub(super) async fn begin(bench: &Bench<'_>, thread: &str, n: u64) -> Outcome {
    let key = bench.key(thread);
    let mut run = bench.run(n);
    (run.thread_id, run.user) = (Some(thread.to_owned()), Some("ada".to_owned()));
    let mut row = bench.thread(thread, n);
    row.user = Some("ada".to_owned());
    let checkpoints = ["", "child:1", "child:1|deep:2"].map(|ns| bench.checkpoint(&key, ns, n)).into();
    let updates = (1..=3).map(update).collect();
    let write = RunWrite {
        run: Some(run.clone()),
        thread: Some(row),
        checkpoints,
        updates,
        usage: vec![bench.call(n)],
        ..write_of(&run)
    };
    bench.store.write(vec![write].into()).await?;
    let asleep = crate::rows::StateRow { wake_at: Some(5), ..bench.state(&key, 109, Some("state")) };
    bench.store.put_states(&[asleep]).await?;
    let archived = ["", "child"].map(|ns| bench.archived(&key, ns, n, 108));
    bench.store.put_archived(&archived).await?;
    bench.store.put_blob(&key, HASH, Bytes::from_static(b"large")).await?;
    // An edit is no run: it has a checkpoint and an update, and no row that lists show.
    let edit = bench.run(n + EDIT);
    let made = crate::rows::CheckpointRow { run_id: edit.run_id, ..bench.checkpoint(&key, "", n + EDIT) };
    let write = RunWrite { checkpoints: vec![made], updates: vec![update(1)], ..write_of(&edit) };
    Ok(bench.store.write(vec![write].into()).await?)
}

/// How much of a thread there is: by kind of row.
pub(super) async fn found(bench: &Bench<'_>, thread: &str, n: u64) -> Result<Vec<usize>, super::Failure> {
    let (store, key, tenant, run) = (&bench.store, bench.key(thread), bench.tenant(), bench.run(n).run_id);
    let of_thread = RunFilter { thread_id: Some(thread.to_owned()), ..RunFilter::default() };
    let mut found = vec![
        usize::from(bench.text_of(&key).await?.is_some()),
        store.sleepers(bench.partition(0)).await?.iter().filter(|sleeper| sleeper.key == key).count(),
        usize::from(store.run(&tenant, run).await?.is_some()),
        store.updates(&tenant, run, 0, 9).await?.len(),
        store.updates(&tenant, bench.run(n + EDIT).run_id, 0, 9).await?.len(),
        store.runs(&tenant, &of_thread, &ALL).await?.rows.len(),
        usize::from(store.thread(&tenant, thread).await?.is_some()),
        usize::from(store.blob(&key, HASH).await?.is_some()),
    ];
    for ns in ["", "child"] {
        found.push(store.archived_before(&key, ns, None, position(9_000), 9).await?.len());
    }
    for ns in ["", "child:1", "child:1|deep:2"] {
        found.push(store.checkpoints(&key, ns, None, 9).await?.len());
    }
    Ok(found)
}

pub(super) const WHOLE: [usize; 13] = [1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 2, 1, 1];
const GONE: [usize; 13] = [0; 13];

pub(super) async fn a_deleted_thread_leaves_nothing(bench: &mut Bench<'_>) -> Outcome {
    begin(bench, "t", 1).await?;
    same!(found(bench, "t", 1).await?, WHOLE, "the thread");
    for _ in 0..2 {
        bench.store.delete_thread(&bench.tenant(), "t", position(200)).await?;
        same!(found(bench, "t", 1).await?, GONE, "the deleted thread");
    }
    for user in [None, Some("ada".to_owned())] {
        let filter = ThreadFilter { user, graph: None };
        same!(bench.store.threads(&bench.tenant(), &filter, &ALL).await?.rows, [], "the list of threads");
    }
    let spent = bench.store.usage(&bench.tenant(), &[], 0, i64::MAX / 2).await?;
    holds!(spent.iter().map(|sum| sum.calls).sum::<u64>() == 1, "what the thread cost is still owed");
    Ok(())
}

pub(super) async fn a_deleted_thread_takes_no_other_with_it(bench: &mut Bench<'_>) -> Outcome {
    begin(bench, "t", 1).await?;
    begin(bench, "t2", 2).await?;
    bench.store.delete_thread(&bench.tenant(), "t", position(200)).await?;
    bench.store.delete_thread(&bench.name("bond"), "t2", position(200)).await?;
    same!(found(bench, "t2", 2).await?, WHOLE, "another thread");
    Ok(())
}

pub(super) async fn a_deleted_thread_may_begin_anew(bench: &mut Bench<'_>) -> Outcome {
    let key = bench.key("t");
    begin(bench, "t", 1).await?;
    bench.store.delete_thread(&bench.tenant(), "t", position(200)).await?;
    bench.store.put_states(&[bench.state(&key, 201, Some("anew"))]).await?;
    let archived = bench.archived(&key, "", 5, 202);
    bench.store.put_archived(std::slice::from_ref(&archived)).await?;
    let mut run = bench.run(3);
    (run.thread_id, run.position) = (Some("t".to_owned()), position(203));
    let made = crate::rows::CheckpointRow { position: position(203), ..bench.checkpoint(&key, "child:1", 3) };
    let write = RunWrite {
        run: Some(run.clone()),
        checkpoints: vec![made.clone()],
        updates: vec![update(1)],
        ..write_of(&run)
    };
    bench.store.write(vec![write].into()).await?;
    // A delete that is repeated, or comes late.
    bench.store.delete_thread(&bench.tenant(), "t", position(200)).await?;
    same!(bench.text_of(&key).await?.as_deref(), Some("anew"), "the state of the new thread");
    let listed = bench.store.archived_before(&key, "", None, position(9_000), 9).await?;
    same!(listed, [archived], "the archive of the new thread");
    let of_thread = RunFilter { thread_id: Some("t".to_owned()), ..RunFilter::default() };
    let runs = bench.store.runs(&bench.tenant(), &of_thread, &ALL).await?.rows;
    same!(runs, [run.clone()], "the runs of the new thread");
    same!(bench.store.updates(&bench.tenant(), run.run_id, 0, 9).await?.len(), 1, "their updates");
    same!(bench.store.checkpoints(&key, "child:1", None, 9).await?, [made], "the history of the new thread");
    Ok(())
}

pub(super) async fn where_a_thread_was_deleted_is_known(bench: &mut Bench<'_>) -> Outcome {
    let tenant = bench.tenant();
    begin(bench, "t", 1).await?;
    same!(bench.store.deleted(&tenant, "t").await?, None, "a thread that nobody deleted");
    for (at, known) in [(200, 200), (300, 300), (200, 300)] {
        bench.store.delete_thread(&tenant, "t", position(at)).await?;
        same!(bench.store.deleted(&tenant, "t").await?, Some(position(known)), "where it was deleted last");
    }
    same!(bench.store.deleted(&bench.name("bond"), "t").await?, None, "another tenant's");
    same!(found(bench, "t", 1).await?, GONE, "the deleted thread");
    Ok(())
}

pub(super) async fn what_comes_late_of_a_deleted_thread_stays_away(bench: &mut Bench<'_>) -> Outcome {
    let key = bench.key("t");
    begin(bench, "t", 1).await?;
    bench.store.delete_thread(&bench.tenant(), "t", position(200)).await?;
    bench.store.put_states(&[bench.state(&key, 150, Some("a zombie's"))]).await?;
    bench.store.put_archived(&[bench.archived(&key, "", 6, 150)]).await?;
    same!(bench.text_of(&key).await?, None, "a zombie's state");
    let listed = bench.store.archived_before(&key, "", None, position(9_000), 9).await?;
    same!(listed, [], "a zombie's archive");
    Ok(())
}

pub(super) async fn a_run_that_was_undone_leaves_nothing_and_takes_nothing_with_it(bench: &mut Bench<'_>) -> Outcome {
    let (key, tenant) = (bench.key("t"), bench.tenant());
    begin(bench, "t", 1).await?;
    let mut run = bench.run(2);
    run.thread_id = Some("t".to_owned());
    let of = |ns: &str, n: u64, run_id| crate::rows::CheckpointRow { run_id, ..bench.checkpoint(&key, ns, n) };
    let other = of("", 3, bench.run(9).run_id);
    let made = vec![of("", 2, run.run_id), other.clone(), of("child:1", 2, run.run_id)];
    let write = RunWrite {
        run: Some(run.clone()),
        checkpoints: made,
        updates: (1..=3).map(update).collect(),
        ..write_of(&run)
    };
    bench.store.write(vec![write].into()).await?;
    for _ in 0..2 {
        bench.store.delete_run(&tenant, "t", run.run_id, position(200)).await?;
        same!(bench.store.run(&tenant, run.run_id).await?, None, "the run");
        same!(bench.store.updates(&tenant, run.run_id, 0, 9).await?, [], "its updates");
        let left = bench.store.checkpoints(&key, "", None, 9).await?;
        same!(left.len(), 3, "checkpoints of others");
        holds!(left.contains(&other), "one that was written together with the run's");
        let expect: Vec<usize> = WHOLE.iter().enumerate().map(|(at, n)| if at == 10 { 3 } else { *n }).collect();
        same!(found(bench, "t", 1).await?, expect, "the rest of the thread");
    }
    Ok(())
}
