//! The long-term store: items by namespace and key, their ends, and what lists find.

use bytes::Bytes;
use graph::envelope::Millis;

use super::{
    Failure,
    bench::{AT, Bench, Outcome, holds, same},
};
use crate::rows::{ItemKey, ItemRow, Micros, Namespace};

const NOW: Micros = AT * 1000;
const HOUR_MS: Millis = 60 * 60 * 1000;

fn key(bench: &Bench<'_>, labels: &[&str], key: &str) -> ItemKey {
    ItemKey { tenant: bench.tenant(), namespace: namespace(labels), key: key.into() }
}

fn namespace(labels: &[&str]) -> Namespace {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

/// Put `at` microseconds after the suite's beginning.
fn row(item: ItemKey, value: &str, at: Micros) -> ItemRow {
    let value = Bytes::copy_from_slice(value.as_bytes());
    ItemRow { item, value, created_at: NOW + at, updated_at: NOW + at, ttl_ms: None, expires_at: None }
}

/// As [`row`], for an hour.
fn mortal(item: ItemKey, value: &str, at: Micros) -> ItemRow {
    ItemRow { ttl_ms: Some(HOUR_MS), expires_at: Some(AT + HOUR_MS), ..row(item, value, at) }
}

async fn put_all(bench: &Bench<'_>, rows: &[ItemRow]) -> Outcome {
    for row in rows {
        bench.store.put_item(row).await?;
    }
    Ok(())
}

/// What pages of `limit` find, sorted; fails where one item comes twice.
async fn found(bench: &Bench<'_>, tenant: &str, prefix: &[&str], limit: u32) -> Result<Vec<ItemRow>, Failure> {
    let prefix = namespace(prefix);
    let mut all: Vec<ItemRow> = Vec::new();
    loop {
        let after = all.last().map(|row| row.item.clone());
        let page = bench.store.items(tenant, &prefix, after.as_ref(), limit, AT).await?;
        holds!(page.len() <= limit as usize, "a page of {limit} has {} items", page.len());
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    all.sort_by(|a, b| a.item.cmp(&b.item));
    holds!(all.windows(2).all(|two| two[0].item != two[1].item), "an item is on two pages");
    Ok(all)
}

/// As [`found`], of namespaces.
async fn listed(bench: &Bench<'_>, prefix: &[&str], limit: u32) -> Result<Vec<Namespace>, Failure> {
    let (tenant, prefix) = (bench.tenant(), namespace(prefix));
    let mut all: Vec<Namespace> = Vec::new();
    loop {
        let page = bench.store.namespaces(&tenant, &prefix, all.last(), limit, AT).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    all.sort();
    holds!(all.windows(2).all(|two| two[0] != two[1]), "a namespace is on two pages");
    Ok(all)
}

pub(super) async fn an_item_comes_back_whole(bench: &mut Bench<'_>) -> Outcome {
    let plain = row(key(bench, &["users", "7"], "name"), r#"{"first":"Ada"}"#, 1);
    let odd = mortal(key(bench, &["é\u{1}", " %_", "'\u{2}\u{10ffff}"], "a.b\n"), "{}", 2);
    let large = row(key(bench, &["users", "7"], "large"), &"x".repeat(1 << 20), 3);
    put_all(bench, &[plain.clone(), odd.clone(), large.clone()]).await?;
    for row in [plain, odd, large] {
        same!(bench.store.item(&row.item, AT).await?.as_ref(), Some(&row), "the item");
        let labels: Vec<&str> = row.item.namespace.iter().map(String::as_str).collect();
        let listed = found(bench, &row.item.tenant, &labels, 10).await?;
        holds!(listed.contains(&row), "the list of its namespace lacks the item {:?}", row.item);
    }
    for other in
        [key(bench, &["users", "7"], "nam"), key(bench, &["users"], "name"), key(bench, &["users", "7", "x"], "name")]
    {
        same!(bench.store.item(&other, AT).await?, None, "an item that nobody put");
    }
    Ok(())
}

pub(super) async fn a_put_replaces_an_item_and_keeps_its_beginning(bench: &mut Bench<'_>) -> Outcome {
    let item = key(bench, &["users", "7"], "name");
    let first = mortal(item.clone(), "1", 1);
    let second = row(item.clone(), "2", 2);
    put_all(bench, &[first.clone(), second.clone(), second.clone()]).await?;
    let expected = ItemRow { created_at: first.created_at, ..second };
    same!(bench.store.item(&item, AT).await?.as_ref(), Some(&expected), "the item that was put again");
    same!(found(bench, &item.tenant, &["users"], 10).await?, [expected], "the list");
    Ok(())
}

pub(super) async fn a_deleted_item_is_gone_until_it_is_put_again(bench: &mut Bench<'_>) -> Outcome {
    let item = key(bench, &["users", "7"], "name");
    bench.store.delete_item(&item, NOW).await?;
    // The first writer's clock is an hour ahead of the others'.
    bench.store.put_item(&row(item.clone(), "1", 3_600_000_000)).await?;
    for at in [2, 3] {
        bench.store.delete_item(&item, NOW + at).await?;
        same!(bench.store.item(&item, AT).await?, None, "the deleted item");
    }
    same!(found(bench, &item.tenant, &["users"], 10).await?, [], "the list");
    let again = row(item.clone(), "4", 4);
    bench.store.put_item(&again).await?;
    same!(bench.store.item(&item, AT).await?.as_ref(), Some(&again), "the item that was put again");
    same!(found(bench, &item.tenant, &[], 10).await?, [again], "the list");
    Ok(())
}

pub(super) async fn items_are_found_by_whole_labels(bench: &mut Bench<'_>) -> Outcome {
    let names: [&[&str]; 8] =
        [&["a"], &["a", "b"], &["a", "b", "c"], &["a", "bc"], &["a\u{1}"], &["ab"], &["a b"], &["b", "a"]];
    let rows: Vec<ItemRow> = (0..).zip(names).map(|(at, labels)| row(key(bench, labels, "k"), "1", at)).collect();
    put_all(bench, &rows).await?;
    for prefix in [&[][..], &["a"], &["a", "b"], &["a", "b", "c"], &["b"], &["c"], &["a", "b", "c", "d"]] {
        let mut expected: Vec<ItemRow> = rows.clone();
        expected.retain(|row| row.item.namespace.starts_with(&namespace(prefix)));
        expected.sort_by(|a, b| a.item.cmp(&b.item));
        same!(found(bench, &bench.tenant(), prefix, 10).await?, expected, "the items below {prefix:?}");
        let expected: Vec<Namespace> = expected.into_iter().map(|row| row.item.namespace).collect();
        same!(listed(bench, prefix, 10).await?, expected, "the namespaces below {prefix:?}");
    }
    Ok(())
}

pub(super) async fn items_page_completely(bench: &mut Bench<'_>) -> Outcome {
    let mut rows = Vec::new();
    for n in 0..120 {
        let (user, key_of) = (format!("{}", n % 20), format!("k{n}"));
        rows.push(row(key(bench, &["users", &user, "notes"], &key_of), "1", n));
    }
    put_all(bench, &rows).await?;
    // Half of them are gone again: pages are made of the others.
    let (gone, mut left): (Vec<ItemRow>, Vec<ItemRow>) = rows.into_iter().partition(|row| row.created_at % 2 == 0);
    for row in gone {
        bench.store.delete_item(&row.item, NOW + 200).await?;
    }
    left.sort_by(|a, b| a.item.cmp(&b.item));
    for limit in [1, 7, 1_000] {
        same!(found(bench, &bench.tenant(), &["users"], limit).await?, left, "the items on pages of {limit}");
    }
    let namespaces = listed(bench, &[], 3).await?;
    same!(namespaces.len(), 10, "the namespaces that have items");
    same!(found(bench, &bench.tenant(), &["users", "3"], 2).await?.len(), 6, "the items of one user");
    Ok(())
}

pub(super) async fn namespaces_are_those_that_have_items(bench: &mut Bench<'_>) -> Outcome {
    let (a, b) = (key(bench, &["a", "x"], "1"), key(bench, &["a", "x"], "2"));
    let dead = ItemRow { expires_at: Some(AT), ..mortal(key(bench, &["a", "dead"], "1"), "1", -HOUR_MS * 1000) };
    put_all(bench, &[row(a.clone(), "1", 1), row(b.clone(), "2", 2), dead]).await?;
    same!(listed(bench, &["a"], 10).await?, [namespace(&["a", "x"])], "the namespaces");
    bench.store.delete_item(&a, NOW + 3).await?;
    same!(listed(bench, &["a"], 10).await?, [namespace(&["a", "x"])], "the namespace of one item");
    bench.store.delete_item(&b, NOW + 4).await?;
    same!(listed(bench, &["a"], 10).await?.len(), 0, "the namespaces without an item");
    Ok(())
}

pub(super) async fn an_expired_item_is_not_read(bench: &mut Bench<'_>) -> Outcome {
    let mortal = mortal(key(bench, &["users"], "name"), "1", 0);
    let immortal = row(key(bench, &["users"], "other"), "1", 1);
    put_all(bench, &[mortal.clone(), immortal.clone()]).await?;
    let end = AT + HOUR_MS;
    same!(bench.store.item(&mortal.item, end - 1).await?.as_ref(), Some(&mortal), "the item before its end");
    for forgotten in [false, true] {
        if forgotten {
            bench.forget(end).await?;
        }
        same!(bench.store.item(&mortal.item, end).await?, None, "the item at its end, forgotten: {forgotten}");
        let listed = bench.store.items(&mortal.item.tenant, &[], None, 10, end).await?;
        same!(listed, vec![immortal.clone()], "the list at its end, forgotten: {forgotten}");
    }
    Ok(())
}

pub(super) async fn an_item_put_after_its_end_is_new(bench: &mut Bench<'_>) -> Outcome {
    let item = key(bench, &["users"], "name");
    let first = mortal(item.clone(), "1", 0);
    let second = row(item.clone(), "2", HOUR_MS * 1000);
    put_all(bench, &[first, second.clone()]).await?;
    same!(bench.store.item(&item, AT + HOUR_MS).await?.as_ref(), Some(&second), "the item");
    Ok(())
}

pub(super) async fn a_refresh_moves_an_items_end(bench: &mut Bench<'_>) -> Outcome {
    let put = mortal(key(bench, &["users"], "name"), "1", 0);
    bench.store.put_item(&put).await?;
    for hours in [2, 3] {
        let moved = ItemRow { expires_at: Some(AT + hours * HOUR_MS), ..put.clone() };
        bench.store.refresh_item(&moved, AT + HOUR_MS / 2).await?;
        let before = AT + hours * HOUR_MS - 1;
        same!(bench.store.item(&put.item, before).await?.as_ref(), Some(&moved), "the item before its new end");
        bench.forget(before).await?;
        same!(bench.store.item(&put.item, before).await?.as_ref(), Some(&moved), "the item after a sweep");
        same!(bench.store.item(&put.item, before + 1).await?, None, "the item at its new end");
    }
    Ok(())
}

pub(super) async fn a_refresh_brings_nothing_back(bench: &mut Bench<'_>) -> Outcome {
    let item = key(bench, &["users"], "name");
    let read = mortal(item.clone(), "1", 0);
    let refreshed = ItemRow { expires_at: Some(AT + 2 * HOUR_MS), ..read.clone() };
    let newer = row(item.clone(), "2", 1);
    put_all(bench, &[read.clone(), newer.clone()]).await?;
    bench.store.refresh_item(&refreshed, AT).await?;
    let expected = ItemRow { created_at: read.created_at, ..newer };
    same!(bench.store.item(&item, AT).await?.as_ref(), Some(&expected), "the item that was put since");
    bench.store.delete_item(&item, NOW + 2).await?;
    bench.store.refresh_item(&refreshed, AT).await?;
    same!(bench.store.item(&item, AT).await?, None, "the item that was deleted since");
    Ok(())
}

pub(super) async fn items_of_tenants_are_apart(bench: &mut Bench<'_>) -> Outcome {
    let ours = row(key(bench, &["users", "7"], "name"), "ours", 1);
    let other = ItemKey { tenant: bench.name("bond"), ..ours.item.clone() };
    let theirs = row(other.clone(), "theirs", 2);
    put_all(bench, &[ours.clone(), theirs.clone()]).await?;
    for row in [&ours, &theirs] {
        same!(bench.store.item(&row.item, AT).await?.as_ref(), Some(row), "a tenant's item");
        for prefix in [&[][..], &["users"], &["users", "7"]] {
            same!(found(bench, &row.item.tenant, prefix, 10).await?, vec![row.clone()], "a tenant's items");
        }
    }
    bench.store.delete_item(&other, NOW + 3).await?;
    same!(bench.store.item(&ours.item, AT).await?, Some(ours), "the item after the other tenant's was deleted");
    same!(bench.store.namespaces(&other.tenant, &[], None, 10, AT).await?.len(), 0, "the other tenant's namespaces");
    Ok(())
}

pub(super) async fn items_survive_a_reopen(bench: &mut Bench<'_>) -> Outcome {
    let kept = mortal(key(bench, &["users"], "kept"), "1", 1);
    let gone = row(key(bench, &["users"], "gone"), "2", 2);
    put_all(bench, &[kept.clone(), gone.clone()]).await?;
    bench.store.delete_item(&gone.item, NOW + 3).await?;
    bench.reopen().await?;
    same!(found(bench, &kept.item.tenant, &["users"], 10).await?, [kept], "the items after a restart");
    Ok(())
}
