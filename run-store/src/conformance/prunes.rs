//! A thread whose history was pruned: what was written anew is all that is left of it, and nothing else comes back.

use bytes::Bytes;
use graph::envelope::Millis;

use super::{
    bench::{AT, Bench, Outcome, position, same, update, write_of},
    deletes::{ALL, EDIT, HASH, WHOLE, begin, found},
};
use crate::rows::{CheckpointRow, KeptValues, RunFilter, RunWrite};

/// Later than any test writes.
const LATER: Millis = AT + 100 * 365 * 24 * 60 * 60 * 1000;

fn kept(named: &[&str], written_before: Millis) -> KeptValues {
    KeptValues { named: named.iter().map(|name| (*name).to_owned()).collect(), written_before }
}

/// Writes the newest checkpoint of a namespace anew, at 200.
async fn write_anew(bench: &Bench<'_>, ns: &str, n: u64) -> Result<CheckpointRow, super::Failure> {
    let run = bench.run(90);
    let old = bench.checkpoint(&bench.key("t"), ns, n);
    let anew = CheckpointRow {
        run_id: run.run_id,
        position: position(200),
        checkpoint: Bytes::from_static(b"{\"anew\":true}"),
        ..old
    };
    let write = RunWrite { checkpoints: vec![anew.clone()], ..write_of(&run) };
    bench.store.write(vec![write].into()).await?;
    Ok(anew)
}

pub(super) async fn a_pruned_thread_keeps_what_was_written_anew(bench: &mut Bench<'_>) -> Outcome {
    begin(bench, "t", 1).await?;
    let (key, tenant) = (bench.key("t"), bench.tenant());
    // One that stands for itself in the store, and one that lies in a row with others.
    let own = write_anew(bench, "child:1|deep:2", 1).await?;
    let (run, others) = (bench.run(7), [2, 3].map(|n| bench.checkpoint(&key, "", n)));
    let write = RunWrite { checkpoints: others.into(), ..write_of(&run) };
    bench.store.write(vec![write].into()).await?;
    let packed = write_anew(bench, "", 3).await?;
    same!(bench.store.checkpoint(&key, "", packed.checkpoint_id).await?, Some(packed.clone()), "the newer of two");
    for _ in 0..2 {
        bench.store.prune_thread(&tenant, "t", position(200), &kept(&[HASH], LATER)).await?;
        let stands = |row: &CheckpointRow| vec![row.clone()];
        same!(bench.store.checkpoints(&key, "", None, 9).await?, stands(&packed), "the thread's own checkpoints");
        same!(bench.store.checkpoint(&key, "", packed.checkpoint_id).await?, Some(packed.clone()), "the one by its id");
        same!(bench.store.checkpoints(&key, "child:1|deep:2", None, 9).await?, stands(&own), "a subgraph's");
        // Updates and the archive are gone, and the checkpoints of the other namespace; state, rows and value are there.
        let expect = [1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1];
        same!(found(bench, "t", 1).await?, expect, "the pruned thread");
    }
    let spent = bench.store.usage(&tenant, &[], 0, i64::MAX / 2).await?;
    same!(spent.iter().map(|sum| sum.calls).sum::<u64>(), 1, "what the thread cost");
    bench.store.delete_thread(&tenant, "t", position(300)).await?;
    same!(found(bench, "t", 1).await?, [0; 13], "the deleted thread");
    Ok(())
}

pub(super) async fn what_follows_a_pruning_stays(bench: &mut Bench<'_>) -> Outcome {
    let (key, tenant) = (bench.key("t"), bench.tenant());
    begin(bench, "t", 1).await?;
    bench.store.prune_thread(&tenant, "t", position(200), &kept(&[], LATER)).await?;
    same!(bench.store.deleted(&tenant, "t").await?, Some(position(200)), "where it was pruned");
    let archived = bench.archived(&key, "", 5, 202);
    bench.store.put_archived(std::slice::from_ref(&archived)).await?;
    let mut run = bench.run(3);
    (run.thread_id, run.position) = (Some("t".to_owned()), position(203));
    let made = CheckpointRow { position: position(203), ..bench.checkpoint(&key, "child:1", 3) };
    let (checkpoints, updates) = (vec![made.clone()], vec![update(1)]);
    let write = RunWrite { run: Some(run.clone()), checkpoints, updates, ..write_of(&run) };
    bench.store.write(vec![write].into()).await?;
    // A pruning that is repeated, and what an owner before put away and writes late.
    bench.store.prune_thread(&tenant, "t", position(200), &kept(&[], LATER)).await?;
    bench.store.put_archived(&[bench.archived(&key, "", 4, 199)]).await?;
    let listed = bench.store.archived_before(&key, "", None, position(9_000), 9).await?;
    same!(listed, [archived], "the archive");
    same!(bench.store.updates(&tenant, run.run_id, 0, 9).await?.len(), 1, "updates of the new run");
    same!(bench.store.checkpoints(&key, "child:1", None, 9).await?, [made], "its checkpoints");
    let of_thread = RunFilter { thread_id: Some("t".to_owned()), ..RunFilter::default() };
    same!(bench.store.runs(&tenant, &of_thread, &ALL).await?.rows.len(), 2, "the runs");
    same!(bench.store.updates(&tenant, bench.run(1 + EDIT).run_id, 0, 9).await?.len(), 0, "updates of an edit before");
    Ok(())
}

pub(super) async fn a_pruned_thread_takes_no_other_with_it(bench: &mut Bench<'_>) -> Outcome {
    begin(bench, "t", 1).await?;
    begin(bench, "t2", 2).await?;
    bench.store.prune_thread(&bench.tenant(), "t", position(200), &kept(&[], LATER)).await?;
    bench.store.prune_thread(&bench.name("bond"), "t2", position(200), &kept(&[], LATER)).await?;
    same!(found(bench, "t2", 2).await?, WHOLE, "another thread");
    Ok(())
}

pub(super) async fn values_of_a_pruned_thread_stay_that_are_named_or_young(bench: &mut Bench<'_>) -> Outcome {
    let (key, tenant) = (bench.key("t"), bench.tenant());
    begin(bench, "t", 1).await?;
    for name in ["aa11", "bb22.0", "bb22.1", "cc33.0"] {
        bench.store.put_blob(&key, name, Bytes::from_static(b"a value")).await?;
    }
    let there = async |bench: &Bench<'_>| -> Result<Vec<&str>, super::Failure> {
        let mut there = Vec::new();
        for name in [HASH, "aa11", "bb22.0", "bb22.1", "cc33.0"] {
            if bench.store.blob(&key, name).await?.is_some() {
                there.push(name);
            }
        }
        Ok(there)
    };
    bench.store.prune_thread(&tenant, "t", position(200), &kept(&[], AT / 2)).await?;
    same!(there(bench).await?, [HASH, "aa11", "bb22.0", "bb22.1", "cc33.0"], "values that are young");
    bench.store.prune_thread(&tenant, "t", position(201), &kept(&[HASH, "bb22"], LATER)).await?;
    same!(there(bench).await?, [HASH, "bb22.0", "bb22.1"], "values that are named");
    Ok(())
}
