//! Checkpoints of an owner and namespace, newest first.

use graph::envelope::Key;

use super::bench::{Bench, Outcome, same, write_of};
use crate::rows::{CheckpointRow, RunWrite};

async fn write(bench: &Bench<'_>, checkpoints: Vec<CheckpointRow>) -> Outcome {
    Ok(bench.store.write(vec![RunWrite { checkpoints, ..write_of(&bench.run(0)) }].into()).await?)
}

fn steps(bench: &Bench<'_>, owner: &Key, steps: impl IntoIterator<Item = u64>) -> Vec<CheckpointRow> {
    steps.into_iter().map(|n| bench.checkpoint(owner, "", n)).collect()
}

pub(super) async fn checkpoints_are_newest_first(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    same!(bench.store.checkpoints(&owner, "", None, 10).await?, [], "checkpoints of an unknown owner");
    for pieces in [0..4, 4..5, 5..9] {
        write(bench, steps(bench, &owner, pieces)).await?;
    }
    let expected = steps(bench, &owner, (0..9).rev());
    same!(bench.store.checkpoints(&owner, "", None, 100).await?, expected, "all checkpoints");
    same!(bench.store.checkpoints(&owner, "", None, 3).await?, expected[..3], "the newest three");
    same!(bench.store.checkpoints(&owner, "", None, 6).await?, expected[..6], "the newest six");
    Ok(())
}

pub(super) async fn checkpoints_begin_before_one(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    for pieces in [0..4, 4..9] {
        write(bench, steps(bench, &owner, pieces)).await?;
    }
    for (before, limit, expected) in [(9, 2, 7..9), (6, 100, 0..6), (5, 3, 2..5), (4, 1, 3..4), (0, 5, 0..0)] {
        let bound = bench.checkpoint(&owner, "", before).checkpoint_id;
        let found = bench.store.checkpoints(&owner, "", Some(bound), limit).await?;
        same!(found, steps(bench, &owner, expected.rev()), "at most {limit} checkpoints before {before}");
    }
    Ok(())
}

pub(super) async fn a_checkpoint_is_found_by_its_id(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    let rows = steps(bench, &owner, 0..9);
    write(bench, rows[..6].to_vec()).await?;
    write(bench, rows[6..8].to_vec()).await?;
    for row in &rows[..8] {
        let found = bench.store.checkpoint(&owner, "", row.checkpoint_id).await?;
        same!(found.as_ref(), Some(row), "the checkpoint");
    }
    same!(bench.store.checkpoint(&owner, "", rows[8].checkpoint_id).await?, None, "one that was never written");
    Ok(())
}

pub(super) async fn namespaces_and_owners_are_apart(bench: &mut Bench<'_>) -> Outcome {
    let places = [
        (bench.key("t"), ""),
        (bench.key("t"), "child:1"),
        (bench.key("u"), ""),
        (Key::thread(&bench.name("bond"), "t"), ""),
    ];
    for (n, (owner, ns)) in (1..).zip(&places) {
        write(bench, (0..n).map(|step| bench.checkpoint(owner, ns, step)).collect()).await?;
    }
    for (n, (owner, ns)) in (1..).zip(&places) {
        let expected: Vec<_> = (0..n).rev().map(|step| bench.checkpoint(owner, ns, step)).collect();
        same!(bench.store.checkpoints(owner, ns, None, 100).await?, expected, "checkpoints of {owner:?} in {ns:?}");
    }
    let id = bench.checkpoint(&places[3].0, "", 3).checkpoint_id;
    same!(bench.store.checkpoint(&places[0].0, "", id).await?, None, "another tenant's checkpoint by its id");
    Ok(())
}

pub(super) async fn repeated_checkpoints_are_read_once(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    for pieces in [0..3, 2..6, 0..6, 1..2, 5..9, 0..2] {
        write(bench, steps(bench, &owner, pieces)).await?;
    }
    let expected = steps(bench, &owner, (0..9).rev());
    same!(bench.store.checkpoints(&owner, "", None, 100).await?, expected, "checkpoints written in overlapping pieces");
    same!(bench.store.checkpoints(&owner, "", None, 5).await?, expected[..5], "the newest five of them");
    let found = bench.store.checkpoint(&owner, "", expected[4].checkpoint_id).await?;
    same!(found.as_ref(), Some(&expected[4]), "one of them by its id");
    Ok(())
}
