//! API keys, by name.

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::bench::{Bench, Outcome, same};
use crate::{error::StoreError, rows::KeyRow};

fn key(bench: &Bench<'_>, name: &str, secret: u8) -> KeyRow {
    KeyRow { name: bench.name(name), hash: [secret; 32], key: Bytes::from(format!("{{\"secrets\":{secret}}}")) }
}

/// Those of this case: a store may have others.
async fn kept(bench: &Bench<'_>, names: &[&str]) -> Result<Vec<KeyRow>, StoreError> {
    let names: Vec<String> = names.iter().map(|name| bench.name(name)).collect();
    Ok(bench.store.keys().await?.into_iter().filter(|row| names.contains(&row.name)).collect())
}

pub(super) async fn a_key_is_made_once(bench: &mut Bench<'_>) -> Outcome {
    let rows = [key(bench, "alpha", 1), key(bench, "beta", 2), key(bench, "gamma", 3)];
    for row in [&rows[2], &rows[0], &rows[1]] {
        same!(bench.store.put_key(row, None).await?, true, "a key of a new name");
    }
    same!(bench.store.put_key(&key(bench, "beta", 9), None).await?, false, "a key of a name that is taken");
    same!(kept(bench, &["alpha", "beta", "gamma"]).await?, rows, "the keys, by name");
    Ok(())
}

pub(super) async fn a_key_is_changed_by_who_saw_it_last(bench: &mut Bench<'_>) -> Outcome {
    let (first, second, third) = (key(bench, "web", 1), key(bench, "web", 2), key(bench, "web", 3));
    same!(bench.store.put_key(&second, Some(&first.hash)).await?, false, "a change of a key that isn't there");
    same!(kept(bench, &["web"]).await?, [], "the key before it is made");
    bench.store.put_key(&first, None).await?;
    same!(bench.store.put_key(&second, Some(&first.hash)).await?, true, "a change by who saw the key");
    same!(bench.store.put_key(&third, Some(&first.hash)).await?, false, "a change by who saw it before that");
    same!(kept(bench, &["web"]).await?, [second], "the key");
    Ok(())
}

pub(super) async fn a_revoked_key_is_gone(bench: &mut Bench<'_>) -> Outcome {
    let (first, second) = (key(bench, "web", 1), key(bench, "web", 2));
    let name = bench.name("web");
    same!(bench.store.delete_key(&name).await?, false, "a delete of a key that isn't there");
    bench.store.put_key(&first, None).await?;
    same!(bench.store.delete_key(&name).await?, true, "a delete");
    same!(bench.store.delete_key(&name).await?, false, "the delete again");
    same!(bench.store.put_key(&second, Some(&first.hash)).await?, false, "a change that comes late");
    same!(kept(bench, &["web"]).await?, [], "the key");
    same!(bench.store.put_key(&second, None).await?, true, "another key of its name");
    Ok(())
}

pub(super) async fn one_of_many_changes_of_a_key_wins(bench: &mut Bench<'_>) -> Outcome {
    let first = key(bench, "web", 0);
    bench.store.put_key(&first, None).await?;
    let rows: Vec<KeyRow> = (1..=8).map(|secret| key(bench, "web", secret)).collect();
    let taken = try_join_all(rows.iter().map(|row| bench.store.put_key(row, Some(&first.hash)))).await?;
    let won: Vec<KeyRow> = rows.into_iter().zip(taken).filter_map(|(row, taken)| taken.then_some(row)).collect();
    same!(won.len(), 1, "changes that were taken");
    same!(kept(bench, &["web"]).await?, won, "the key");
    Ok(())
}

pub(super) async fn keys_survive_a_reopen(bench: &mut Bench<'_>) -> Outcome {
    let row = key(bench, "web", 1);
    bench.store.put_key(&row, None).await?;
    bench.reopen().await?;
    same!(kept(bench, &["web"]).await?, [row], "the key");
    Ok(())
}
