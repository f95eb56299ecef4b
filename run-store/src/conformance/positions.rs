//! The newest wins, whoever writes last: a zombie's late write must lose (protocol: rows at their position).

use bytes::Bytes;
use graph::update::RunStatus;

use super::bench::{Bench, Outcome, position, same};
use crate::rows::{PageRequest, RunFilter};

pub(super) async fn a_newer_state_replaces_an_older_one(bench: &mut Bench<'_>) -> Outcome {
    let key = bench.key("t");
    for (at, text) in [(5, "old"), (9, "new")] {
        bench.store.put_states(&[bench.state(&key, at, Some(text))]).await?;
    }
    same!(bench.text_of(&key).await?.as_deref(), Some("new"), "the state after a newer write");
    Ok(())
}

pub(super) async fn an_older_state_loses(bench: &mut Bench<'_>) -> Outcome {
    let key = bench.key("t");
    for (at, text) in [(9, "new"), (5, "a zombie's")] {
        bench.store.put_states(&[bench.state(&key, at, Some(text))]).await?;
    }
    let row = bench.store.state(bench.partition(0), &key).await?;
    same!(row, Some(bench.state(&key, 9, Some("new"))), "the state after an older write");
    Ok(())
}

pub(super) async fn an_equal_state_may_be_repeated(bench: &mut Bench<'_>) -> Outcome {
    let key = bench.key("t");
    let row = bench.state(&key, 9, Some("same"));
    for _ in 0..3 {
        bench.store.put_states(std::slice::from_ref(&row)).await?;
    }
    same!(bench.store.state(bench.partition(0), &key).await?, Some(row), "the repeated state");
    Ok(())
}

pub(super) async fn a_deleted_state_stays_deleted(bench: &mut Bench<'_>) -> Outcome {
    let (stored, unknown) = (bench.key("stored"), bench.key("never stored"));
    bench.store.put_states(&[bench.state(&stored, 5, Some("first"))]).await?;
    bench.store.put_states(&[bench.state(&stored, 9, None), bench.state(&unknown, 9, None)]).await?;
    for key in [&stored, &unknown] {
        bench.store.put_states(&[bench.state(key, 7, Some("a zombie's"))]).await?;
        same!(bench.text_of(key).await?, None, "the state {key:?}, deleted at 9, after a write at 7");
    }
    Ok(())
}

pub(super) async fn a_delete_that_comes_late_deletes_nothing_newer(bench: &mut Bench<'_>) -> Outcome {
    let key = bench.key("t");
    bench.store.put_states(&[bench.state(&key, 9, Some("new"))]).await?;
    bench.store.put_states(&[bench.state(&key, 7, None)]).await?;
    same!(bench.text_of(&key).await?.as_deref(), Some("new"), "the state at 9 after a delete at 7");
    Ok(())
}

pub(super) async fn a_delete_loses_to_a_write_at_its_position(bench: &mut Bench<'_>) -> Outcome {
    let (first, last) = (bench.key("delete first"), bench.key("delete last"));
    bench.store.put_states(&[bench.state(&first, 9, None)]).await?;
    bench.store.put_states(&[bench.state(&first, 9, Some("kept")), bench.state(&last, 9, Some("kept"))]).await?;
    bench.store.put_states(&[bench.state(&last, 9, None)]).await?;
    for key in [&first, &last] {
        same!(bench.text_of(key).await?.as_deref(), Some("kept"), "the state {key:?}");
    }
    Ok(())
}

pub(super) async fn a_deleted_key_may_begin_anew(bench: &mut Bench<'_>) -> Outcome {
    let key = bench.key("t");
    for (at, text) in [(5, Some("first")), (7, None), (9, Some("second"))] {
        bench.store.put_states(&[bench.state(&key, at, text)]).await?;
    }
    same!(bench.text_of(&key).await?.as_deref(), Some("second"), "the state after delete and write");
    Ok(())
}

pub(super) async fn an_older_view_of_a_run_loses(bench: &mut Bench<'_>) -> Outcome {
    let mut ended = bench.run(1);
    ended.position = position(900);
    let mut running = ended.clone();
    (running.position, running.status, running.number) = (position(500), RunStatus::Running, 1);
    running.view = Bytes::from_static(b"{\"stale\":true}");
    bench.write_runs([ended.clone()]).await?;
    bench.write_runs([running]).await?;
    same!(bench.store.run(&ended.tenant, ended.run_id).await?, Some(ended.clone()), "the run after an older view");

    let page = PageRequest { limit: 10, cursor: None };
    let still = RunFilter { status: Some(RunStatus::Running), ..RunFilter::default() };
    same!(bench.store.runs(&ended.tenant, &still, &page).await?.rows, [], "runs that are listed as running");
    let rows = bench.store.runs(&ended.tenant, &RunFilter::default(), &page).await?.rows;
    same!(rows, [ended], "all runs");
    Ok(())
}

pub(super) async fn an_older_view_of_a_thread_loses(bench: &mut Bench<'_>) -> Outcome {
    let mut newer = bench.thread("t", 1);
    newer.position = position(900);
    let mut older = newer.clone();
    (older.position, older.view) = (position(500), Bytes::from_static(b"{\"stale\":true}"));
    bench.write_threads([newer.clone()]).await?;
    bench.write_threads([older]).await?;
    same!(bench.store.thread(&newer.tenant, "t").await?, Some(newer), "the thread after an older view");
    Ok(())
}

pub(super) async fn covered_never_goes_back(bench: &mut Bench<'_>) -> Outcome {
    let partition = bench.partition(0);
    for at in [50, 90, 70] {
        bench.store.set_covered(partition, position(at)).await?;
    }
    same!(bench.store.covered(partition).await?, Some(position(90)), "covered after 50, 90, 70");
    Ok(())
}
