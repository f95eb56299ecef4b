//! Checkpoints that have a successor: every version at its position, and what a replay reads of them.

use graph::envelope::Key;
use uuid::Uuid;

use super::bench::{Bench, Outcome, position, same};
use crate::rows::ArchivedRow;

fn rows(bench: &Bench<'_>, owner: &Key, steps: impl IntoIterator<Item = u64>) -> Vec<ArchivedRow> {
    steps.into_iter().map(|n| bench.archived(owner, "", n, 100 + n)).collect()
}

pub(super) async fn a_checkpoint_that_was_put_away_comes_back(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    let all = rows(bench, &owner, 0..3);
    bench.store.put_archived(&[]).await?;
    bench.store.put_archived(&all).await?;
    bench.store.put_archived(&all[1..]).await?;
    for row in &all {
        let found = bench.store.archived(&owner, "", row.checkpoint_id, position(900)).await?;
        same!(found.as_ref(), Some(row), "the archived checkpoint");
    }
    let unknown = bench.archived(&owner, "", 7, 107).checkpoint_id;
    same!(bench.store.archived(&owner, "", unknown, position(900)).await?, None, "one that was never put away");
    Ok(())
}

pub(super) async fn a_reader_sees_what_there_was_below_its_record(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    let versions = [5, 9, 30].map(|at| bench.archived(&owner, "", 1, at));
    // Whoever writes last: a version is its position's.
    for row in [&versions[2], &versions[0], &versions[1]] {
        bench.store.put_archived(std::slice::from_ref(row)).await?;
    }
    let id = versions[0].checkpoint_id;
    for (below, expected) in [(5, None), (6, Some(0)), (9, Some(0)), (10, Some(1)), (30, Some(1)), (31, Some(2))] {
        let expected = expected.map(|n: usize| versions[n].clone());
        let found = bench.store.archived(&owner, "", id, position(below)).await?;
        same!(found, expected, "the checkpoint below {below}");
        let found = bench.store.archived_before(&owner, "", None, position(below), 5).await?;
        same!(found, expected.into_iter().collect::<Vec<_>>(), "the archive below {below}");
    }
    Ok(())
}

pub(super) async fn the_newest_before_an_id_is_found(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    let all = rows(bench, &owner, [0, 2, 4]);
    bench.store.put_archived(&all).await?;
    // The oldest is put away again: newest is who has the newest id.
    let again = bench.archived(&owner, "", 0, 300);
    bench.store.put_archived(std::slice::from_ref(&again)).await?;
    for (before, expected) in [(5, Some(&all[2])), (4, Some(&all[1])), (3, Some(&all[1])), (2, Some(&again)), (0, None)]
    {
        let id = bench.archived(&owner, "", before, 1).checkpoint_id;
        let found = bench.store.archived_before(&owner, "", Some(id), position(900), 1).await?;
        same!(found.first(), expected, "the newest before {before}");
    }
    Ok(())
}

pub(super) async fn the_archive_is_read_page_by_page(bench: &mut Bench<'_>) -> Outcome {
    let owner = bench.key("t");
    let mut all = rows(bench, &owner, 0..23);
    bench.store.put_archived(&all).await?;
    let again: Vec<_> = (3..9).map(|n| bench.archived(&owner, "", n, 200 + n)).collect();
    bench.store.put_archived(&again).await?;
    all.splice(3..9, again);
    all.reverse();
    let mut found: Vec<ArchivedRow> = Vec::new();
    loop {
        let cursor: Option<Uuid> = found.last().map(|row| row.checkpoint_id);
        let page = bench.store.archived_before(&owner, "", cursor, position(900), 5).await?;
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    same!(found, all, "the pages of the archive");
    Ok(())
}

pub(super) async fn archives_of_namespaces_and_owners_are_apart(bench: &mut Bench<'_>) -> Outcome {
    let places = [
        (bench.key("t"), ""),
        (bench.key("t"), "child"),
        (bench.key("t"), "child|1"),
        (bench.key("u"), ""),
        (Key::thread(&bench.name("bond"), "t"), ""),
    ];
    for (at, (owner, ns)) in (1..).zip(&places) {
        bench.store.put_archived(&[bench.archived(owner, ns, 1, at)]).await?;
    }
    for (at, (owner, ns)) in (1..).zip(&places) {
        let expected = bench.archived(owner, ns, 1, at);
        let found = bench.store.archived(owner, ns, expected.checkpoint_id, position(900)).await?;
        same!(found.as_ref(), Some(&expected), "the checkpoint of {owner:?} in {ns:?}");
        let listed = bench.store.archived_before(owner, ns, None, position(900), 9).await?;
        same!(listed, [expected], "the archive of {owner:?} in {ns:?}");
    }
    Ok(())
}
