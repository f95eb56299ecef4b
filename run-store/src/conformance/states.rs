//! The fold's states, and which of them sleep.

use graph::envelope::Key;

use super::bench::{AT, Bench, Outcome, position, same};
use crate::rows::{Sleeper, StateRow};

pub(super) async fn a_state_comes_back_whole(bench: &mut Bench<'_>) -> Outcome {
    let key = bench.key("t");
    same!(bench.store.state(bench.partition(0), &key).await?, None, "a key that was never put");
    let row = StateRow {
        wake_at: Some(AT + 5),
        expires_at: Some(4_000_000_000_000),
        ..bench.state(&key, 9, Some("{\"whole\":true}"))
    };
    bench.store.put_states(std::slice::from_ref(&row)).await?;
    same!(bench.store.state(bench.partition(0), &key).await?, Some(row), "the state");
    Ok(())
}

pub(super) async fn many_states_are_put_at_once(bench: &mut Bench<'_>) -> Outcome {
    let rows: Vec<StateRow> = (0..500)
        .map(|n| bench.state(&Key::run(&bench.tenant(), bench.run(n).run_id), n, Some(&format!("state {n}"))))
        .collect();
    bench.store.put_states(&rows).await?;
    for row in rows.iter().step_by(71) {
        same!(bench.store.state(row.partition, &row.key).await?.as_ref(), Some(row), "one of the states");
    }
    bench.store.put_states(&[]).await?;
    Ok(())
}

fn sleeper(bench: &Bench<'_>, word: &str, at: u64, wake_at: Option<i64>) -> StateRow {
    StateRow { wake_at, ..bench.state(&bench.key(word), at, Some("asleep")) }
}

async fn asleep(bench: &Bench<'_>) -> Result<Vec<Sleeper>, crate::StoreError> {
    bench.store.sleepers(bench.partition(0)).await
}

pub(super) async fn sleepers_are_listed_by_time(bench: &mut Bench<'_>) -> Outcome {
    let rows = [
        sleeper(bench, "late", 1, Some(AT + 300)),
        sleeper(bench, "soon", 2, Some(AT + 100)),
        sleeper(bench, "awake", 3, None),
        sleeper(bench, "then", 4, Some(AT + 200)),
        StateRow { partition: bench.partition(1), ..sleeper(bench, "elsewhere", 5, Some(AT + 1)) },
    ];
    bench.store.put_states(&rows).await?;
    let expected = [("soon", 2, 100), ("then", 4, 200), ("late", 1, 300)].map(|(word, at, wake)| Sleeper {
        key: bench.key(word),
        wake_at: AT + wake,
        position: position(at),
    });
    same!(asleep(bench).await?, expected, "the sleepers");
    Ok(())
}

pub(super) async fn who_no_longer_sleeps_is_not_listed(bench: &mut Bench<'_>) -> Outcome {
    let first = ["woken", "ended", "moved", "stays"].map(|word| sleeper(bench, word, 5, Some(AT + 100)));
    bench.store.put_states(&first).await?;
    let ended = StateRow { state: None, ..sleeper(bench, "ended", 9, None) };
    bench
        .store
        .put_states(&[sleeper(bench, "woken", 9, None), ended, sleeper(bench, "moved", 9, Some(AT + 50))])
        .await?;
    // A zombie's late writes put nobody back to sleep.
    bench.store.put_states(&first).await?;
    let expected = [("moved", 9, 50), ("stays", 5, 100)].map(|(word, at, wake)| Sleeper {
        key: bench.key(word),
        wake_at: AT + wake,
        position: position(at),
    });
    same!(asleep(bench).await?, expected, "the sleepers");
    Ok(())
}

pub(super) async fn an_expired_state_is_forgotten(bench: &mut Bench<'_>) -> Outcome {
    let (gone, kept) = (bench.key("gone"), bench.key("kept"));
    let far = 4_000_000_000_000;
    bench
        .store
        .put_states(&[
            StateRow { expires_at: Some(AT), wake_at: Some(AT), ..bench.state(&gone, 5, Some("gone")) },
            StateRow { expires_at: Some(far), ..bench.state(&kept, 5, Some("kept")) },
        ])
        .await?;
    bench.forget(AT + 1).await?;
    same!(bench.text_of(&gone).await?, None, "the state that expired");
    same!(asleep(bench).await?, [], "sleepers after the state's end");
    same!(bench.text_of(&kept).await?.as_deref(), Some("kept"), "the state that expires later");
    Ok(())
}

pub(super) async fn covered_is_by_partition(bench: &mut Bench<'_>) -> Outcome {
    bench.store.set_covered(bench.partition(0), position(7)).await?;
    same!(bench.store.covered(bench.partition(0)).await?, Some(position(7)), "covered of the partition");
    same!(bench.store.covered(bench.partition(1)).await?, None, "covered of another partition");
    Ok(())
}
