//! The long-term store.
//!
//! A write stands at its writer's time, and above what it replaces: writes that follow each other are in order though
//! clocks differ. For that a deleted item leaves a row without a value for some minutes. A refresh stands just above the
//! write that it was read from, so whatever was put or deleted since wins.

use ::scylla::SerializeRow;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use graph::envelope::Millis;

use super::{ScyllaStore, claims::seconds_to_live};
use crate::{
    contract::Items,
    error::StoreError,
    metrics::observe,
    namespace,
    rows::{ItemKey, ItemRow, Micros, Namespace},
    stored::{PAGE_BYTES_MAX, check_size},
};

/// Partitions of one tenant. Frozen.
const BUCKETS: u8 = 32;
/// Labels that decide on the partition. Frozen.
const LABELS_OF_BUCKET: usize = 2;
/// Partitions that are read at the same time.
const READ_AT_ONCE: usize = 16;
/// How long a deleted item's row is kept: longer than clocks differ and writes are under way.
const DELETED_KEPT_SECONDS: i32 = 10 * 60;

#[derive(SerializeRow)]
struct Values<'a> {
    tenant: &'a str,
    bucket: i32,
    ns: &'a str,
    item_key: &'a str,
    created_at: Option<Micros>,
    updated_at: Micros,
    ttl_ms: Option<Millis>,
    expires_at: Option<Millis>,
    value: Option<&'a [u8]>,
    #[scylla(rename = "[timestamp]")]
    timestamp: Micros,
    #[scylla(rename = "[ttl]")]
    ttl: i32,
}

/// What stands at a key, and since when for the servers.
struct Held {
    written_at: Micros,
    row: Option<ItemRow>,
}

#[async_trait]
impl Items for ScyllaStore {
    async fn put_item(&self, row: &ItemRow) -> Result<(), StoreError> {
        let put = async {
            check_size(&row.value, self.cell_bytes_max)?;
            let now = row.updated_at.div_euclid(1000);
            let Some(held) = self.held_item(&row.item).await? else {
                return self.write_item(row, row.updated_at, now).await;
            };
            let created_at =
                held.row.filter(|held| lives(held.expires_at, now)).map_or(row.created_at, |held| held.created_at);
            let row = ItemRow { created_at, ..row.clone() };
            self.write_item(&row, row.updated_at.max(held.written_at + 1), now).await
        };
        observe("put_item", put).await
    }

    async fn item(&self, item: &ItemKey, now: Millis) -> Result<Option<ItemRow>, StoreError> {
        let read = async {
            let held = self.held_item(item).await?;
            Ok(held.and_then(|held| held.row).filter(|row| lives(row.expires_at, now)))
        };
        observe("item", read).await
    }

    async fn delete_item(&self, item: &ItemKey, at: Micros) -> Result<(), StoreError> {
        let delete = async {
            let Some(held) = self.held_item(item).await? else { return Ok(()) };
            let values = Values {
                tenant: &item.tenant,
                bucket: bucket_of(&item.namespace),
                ns: &namespace::stored(&item.namespace),
                item_key: &item.key,
                created_at: None,
                updated_at: at,
                ttl_ms: None,
                expires_at: None,
                value: None,
                timestamp: at.max(held.written_at + 1),
                ttl: DELETED_KEPT_SECONDS,
            };
            self.execute(&self.statements.put_item, values).await
        };
        observe("delete_item", delete).await
    }

    async fn refresh_item(&self, row: &ItemRow, now: Millis) -> Result<(), StoreError> {
        let refresh = async {
            let Some(Held { written_at, row: Some(held) }) = self.held_item(&row.item).await? else { return Ok(()) };
            if held.updated_at != row.updated_at {
                return Ok(());
            }
            let row = ItemRow { expires_at: row.expires_at, ..held };
            self.write_item(&row, written_at + 1, now).await
        };
        observe("refresh_item", refresh).await
    }

    async fn items(
        &self,
        tenant: &str,
        prefix: &[String],
        after: Option<&ItemKey>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<ItemRow>, StoreError> {
        let (from, to) = namespace::span(prefix);
        let pages = buckets(prefix, after.map(|last| &last.namespace)).map(|(bucket, is_first)| {
            let behind = match after.filter(|_| is_first) {
                None => (from.clone(), String::new()),
                Some(last) => (namespace::stored(&last.namespace), last.key.clone()),
            };
            self.bucket_page(tenant, bucket, behind, &to, limit, now)
        });
        observe("items", first_of(pages, limit, |found| bytes(found) > PAGE_BYTES_MAX)).await
    }

    async fn namespaces(
        &self,
        tenant: &str,
        prefix: &[String],
        after: Option<&Namespace>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Namespace>, StoreError> {
        let (from, to) = namespace::span(prefix);
        let pages = buckets(prefix, after).map(|(bucket, is_first)| {
            let behind = after.filter(|_| is_first).map_or(from.clone(), |last| namespace::stored(last));
            self.bucket_namespaces(tenant, bucket, behind, &to, limit, now)
        });
        observe("namespaces", first_of(pages, limit, |_| false)).await
    }
}

impl ScyllaStore {
    async fn held_item(&self, item: &ItemKey) -> Result<Option<Held>, StoreError> {
        type Found = (Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<Bytes>);
        let key = (&item.tenant, bucket_of(&item.namespace), namespace::stored(&item.namespace), &item.key);
        let found: Option<Found> = self.first(&self.statements.find_item, key).await?;
        let Some((Some(written_at), created_at, updated_at, ttl_ms, expires_at, value)) = found else {
            return Ok(None);
        };
        let row = created_at.zip(updated_at).map(|(created_at, updated_at)| ItemRow {
            item: item.clone(),
            value: value.unwrap_or_default(),
            created_at,
            updated_at,
            ttl_ms,
            expires_at,
        });
        Ok(Some(Held { written_at, row }))
    }

    async fn write_item(&self, row: &ItemRow, timestamp: Micros, now: Millis) -> Result<(), StoreError> {
        let ItemRow { item: ItemKey { tenant, namespace, key }, value, created_at, updated_at, ttl_ms, expires_at } =
            row;
        let values = Values {
            tenant,
            bucket: bucket_of(namespace),
            ns: &namespace::stored(namespace),
            item_key: key,
            created_at: Some(*created_at),
            updated_at: *updated_at,
            ttl_ms: *ttl_ms,
            expires_at: *expires_at,
            value: Some(value),
            timestamp,
            ttl: expires_at.map_or(0, |expires_at| seconds_to_live(expires_at, now)),
        };
        self.execute(&self.statements.put_item, values).await
    }

    async fn bucket_page(
        &self,
        tenant: &str,
        bucket: i32,
        mut behind: (String, String),
        to: &str,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<ItemRow>, StoreError> {
        type Found = (String, String, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<Bytes>);
        let mut live = Vec::new();
        loop {
            let values = (tenant, bucket, &behind.0, &behind.1, to, limit as i32);
            let found: Vec<Found> = self.limited(&self.statements.find_items, values).await?;
            let whole = found.len() < limit as usize;
            if let Some((ns, key, ..)) = found.last() {
                behind = (ns.clone(), key.clone());
            }
            for (ns, key, created_at, updated_at, ttl_ms, expires_at, value) in found {
                let Some((created_at, updated_at)) = created_at.zip(updated_at) else { continue };
                if lives(expires_at, now) {
                    let item = ItemKey { tenant: tenant.to_owned(), namespace: namespace::read(&ns)?, key };
                    let value = value.unwrap_or_default();
                    live.push(ItemRow { item, value, created_at, updated_at, ttl_ms, expires_at });
                }
            }
            if whole || live.len() >= limit as usize || bytes(&live) > PAGE_BYTES_MAX {
                return Ok(live);
            }
        }
    }

    async fn bucket_namespaces(
        &self,
        tenant: &str,
        bucket: i32,
        behind: String,
        to: &str,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Namespace>, StoreError> {
        type Found = (String, Option<i64>, Option<i64>);
        let rows = self.pages::<Found>(&self.statements.find_item_namespaces, (tenant, bucket, behind, to)).await?;
        futures_util::pin_mut!(rows);
        let (mut last, mut found) = (String::new(), Vec::new());
        while let Some((ns, created_at, expires_at)) = rows.try_next().await? {
            if created_at.is_none() || !lives(expires_at, now) || ns == last {
                continue;
            }
            found.push(namespace::read(&ns)?);
            last = ns;
            if found.len() >= limit as usize {
                break;
            }
        }
        Ok(found)
    }
}

fn lives(expires_at: Option<Millis>, now: Millis) -> bool {
    expires_at.is_none_or(|expires_at| expires_at > now)
}

fn bytes(rows: &[ItemRow]) -> usize {
    rows.iter().map(|row| row.value.len()).sum()
}

fn bucket_of(labels: &[String]) -> i32 {
    let deciding = &labels[..labels.len().min(LABELS_OF_BUCKET)];
    i32::from(blake3::hash(namespace::stored(deciding).as_bytes()).as_bytes()[0] % BUCKETS)
}

/// The partitions in which namespaces that begin so can be, from that of `after` on, and whether each is that one.
fn buckets(prefix: &[String], after: Option<&Namespace>) -> impl Iterator<Item = (i32, bool)> + use<> {
    let all = match prefix.len() < LABELS_OF_BUCKET {
        true => 0..i32::from(BUCKETS),
        false => bucket_of(prefix)..bucket_of(prefix) + 1,
    };
    let first = after.map(|last| bucket_of(last));
    all.filter(move |bucket| first.is_none_or(|first| *bucket >= first))
        .map(move |bucket| (bucket, first == Some(bucket)))
}

/// What the pages of partitions hold, up to `limit`, or until it is enough.
async fn first_of<T>(
    pages: impl Iterator<Item: Future<Output = Result<Vec<T>, StoreError>>>,
    limit: u32,
    is_enough: impl Fn(&[T]) -> bool,
) -> Result<Vec<T>, StoreError> {
    let mut pages = stream::iter(pages).buffered(READ_AT_ONCE);
    let mut found = Vec::new();
    while let Some(page) = pages.try_next().await? {
        found.extend(page);
        if found.len() >= limit as usize || is_enough(&found) {
            break;
        }
    }
    found.truncate(limit as usize);
    Ok(found)
}
