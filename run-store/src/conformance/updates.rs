//! Updates of a run: in order, from a number on, each once.

use std::{
    future::poll_fn,
    pin::pin,
    task::{Context, Poll},
};

use graph::envelope::Key;

use super::bench::{Bench, Outcome, holds, same, update, write_of};
use crate::rows::RunWrite;

/// No store takes so many steps for one run.
const STEPS_MAX: usize = 200;

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

/// A process that died while it wrote takes an update that it finds for one of which nothing is missing.
pub(super) async fn an_update_is_found_when_all_that_was_written_with_it_is(bench: &mut Bench<'_>) -> Outcome {
    for steps in 1..STEPS_MAX {
        let (run, thread) = (bench.run(steps as u64), bench.thread(&format!("t {steps}"), steps as u64));
        let checkpoint = bench.checkpoint(&Key::thread(&run.tenant, &thread.thread_id), "", steps as u64);
        let write = RunWrite {
            updates: vec![update(1)],
            run: Some(run.clone()),
            thread: Some(thread.clone()),
            checkpoints: vec![checkpoint.clone()],
            ..write_of(&run)
        };
        let ended = cut(steps, bench.store.write(vec![write].into())).await;
        if !bench.store.updates(&run.tenant, run.run_id, 0, 1).await?.is_empty() {
            let what = format!("of a write that was cut off after {steps} steps");
            same!(bench.store.run(&run.tenant, run.run_id).await?, Some(run.clone()), "the run {what}");
            same!(bench.store.thread(&run.tenant, &thread.thread_id).await?, Some(thread), "the thread {what}");
            let found = bench.store.checkpoint(&checkpoint.owner, "", checkpoint.checkpoint_id).await?;
            same!(found, Some(checkpoint), "the checkpoint {what}");
        }
        if let Some(ended) = ended {
            return Ok(ended?);
        }
    }
    holds!(false, "a write took more than {STEPS_MAX} steps");
    Ok(())
}

/// Polls a future so often, and drops it where it isn't done by then.
async fn cut<T>(mut polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context: &mut Context<'_>| {
        polls -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if polls == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
