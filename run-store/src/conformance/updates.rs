//! Updates of a run: in order, from a number on, each once.

use super::bench::{Bench, Outcome, same, update};

pub(super) async fn updates_come_in_order(bench: &mut Bench<'_>) -> Outcome {
    let run = bench.run(1);
    bench.write_updates(&run, [1, 2, 3]).await?;
    bench.write_updates(&run, [6, 5, 4]).await?;
    bench.write_updates(&bench.run(2), [1, 2]).await?;
    let expected: Vec<_> = (1..=6).map(update).collect();
    same!(bench.store.updates(&run.tenant, run.run_id, 0, 100).await?, expected, "the updates");
    Ok(())
}

pub(super) async fn updates_begin_after_a_number(bench: &mut Bench<'_>) -> Outcome {
    let run = bench.run(1);
    bench.write_updates(&run, 1..=9).await?;
    for (after, limit, expected) in [(0, 3, vec![1, 2, 3]), (4, 2, vec![5, 6]), (8, 10, vec![9]), (9, 10, vec![])] {
        let expected: Vec<_> = expected.into_iter().map(update).collect();
        let found = bench.store.updates(&run.tenant, run.run_id, after, limit).await?;
        same!(found, expected, "at most {limit} updates after {after}");
    }
    Ok(())
}

pub(super) async fn repeated_updates_are_read_once(bench: &mut Bench<'_>) -> Outcome {
    let run = bench.run(1);
    for numbers in [1..=4, 3..=6, 1..=2, 1..=5, 6..=8] {
        bench.write_updates(&run, numbers).await?;
    }
    let expected: Vec<_> = (1..=8).map(update).collect();
    same!(
        bench.store.updates(&run.tenant, run.run_id, 0, 100).await?,
        expected,
        "updates written in overlapping pieces"
    );
    let expected: Vec<_> = (4..=6).map(update).collect();
    same!(bench.store.updates(&run.tenant, run.run_id, 3, 3).await?, expected, "a part of them");
    Ok(())
}

pub(super) async fn a_long_run_is_read_in_pieces(bench: &mut Bench<'_>) -> Outcome {
    let run = bench.run(1);
    for first in (1..=1_000).step_by(7) {
        bench.write_updates(&run, first..(first + 7).min(1_001)).await?;
    }
    let mut after = 0;
    for _ in 0..10 {
        let piece = bench.store.updates(&run.tenant, run.run_id, after, 100).await?;
        let expected: Vec<_> = (after + 1..=after + 100).map(update).collect();
        same!(piece, expected, "the piece after {after}");
        after += 100;
    }
    same!(bench.store.updates(&run.tenant, run.run_id, after, 100).await?, [], "what follows the end");
    Ok(())
}
