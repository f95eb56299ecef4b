//! The long-term store.

use async_trait::async_trait;
use graph::envelope::Millis;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::EmbeddedStore;
use crate::{
    contract::Items,
    error::StoreError,
    metrics::observe,
    namespace,
    rows::{ItemKey, ItemRow, Micros, Namespace},
    stored::{PAGE_BYTES_MAX, check_size},
};

#[async_trait]
impl Items for EmbeddedStore {
    async fn put_item(&self, row: &ItemRow) -> Result<(), StoreError> {
        let put = async {
            check_size(&row.value, self.value_bytes_max)?;
            let row = row.clone();
            self.write(128 + row.value.len(), move |connection| put(connection, &row)).await
        };
        observe("put_item", put).await
    }

    async fn item(&self, item: &ItemKey, now: Millis) -> Result<Option<ItemRow>, StoreError> {
        let item = item.clone();
        observe("item", self.readers.read(move |connection| find(connection, &item, now))).await
    }

    async fn delete_item(&self, item: &ItemKey, _at: Micros) -> Result<(), StoreError> {
        let item = item.clone();
        let delete = self.write(128, move |connection| {
            connection
                .prepare_cached("DELETE FROM items WHERE tenant = ?1 AND ns = ?2 AND item_key = ?3")?
                .execute(params![item.tenant, namespace::stored(&item.namespace), item.key])?;
            Ok(())
        });
        observe("delete_item", delete).await
    }

    async fn refresh_item(&self, row: &ItemRow, _now: Millis) -> Result<(), StoreError> {
        let row = row.clone();
        let refresh = self.write(128, move |connection| refresh(connection, &row));
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
        let span = match after {
            None => (from, String::new(), to),
            Some(last) => (namespace::stored(&last.namespace), last.key.clone(), to),
        };
        let tenant = tenant.to_owned();
        let read = self.readers.read(move |connection| list(connection, &tenant, &span, limit, now));
        observe("items", read).await
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
        let from = after.map_or(from, |last| namespace::stored(last));
        let tenant = tenant.to_owned();
        let read = self.readers.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT DISTINCT ns FROM items WHERE tenant = ?1 AND ns > ?2 AND ns < ?3
                     AND (expires_at IS NULL OR expires_at > ?4) ORDER BY ns LIMIT ?5",
            )?;
            let mut rows = query.query(params![tenant, from, to, now, limit])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push(namespace::read(&row.get::<_, String>(0)?)?);
            }
            Ok(found)
        });
        observe("namespaces", read).await
    }
}

const COLUMNS: &str = "ns, item_key, value, created_at, updated_at, ttl_ms, expires_at";

fn put(connection: &Connection, row: &ItemRow) -> Result<(), StoreError> {
    let ItemRow { item: ItemKey { tenant, namespace, key }, value, created_at, updated_at, ttl_ms, expires_at } = row;
    connection
        .prepare_cached(
            "INSERT INTO items (tenant, ns, item_key, created_at, updated_at, ttl_ms, expires_at, value)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (tenant, ns, item_key) DO UPDATE SET
                 created_at = iif(expires_at <= ?9, excluded.created_at, created_at),
                 updated_at = excluded.updated_at, ttl_ms = excluded.ttl_ms, expires_at = excluded.expires_at,
                 value = excluded.value",
        )?
        .execute(params![
            tenant,
            namespace::stored(namespace),
            key,
            created_at,
            updated_at,
            ttl_ms,
            expires_at,
            value.as_ref(),
            updated_at.div_euclid(1000)
        ])?;
    Ok(())
}

fn find(connection: &Connection, item: &ItemKey, now: Millis) -> Result<Option<ItemRow>, StoreError> {
    let ns = namespace::stored(&item.namespace);
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM items
             WHERE tenant = ?1 AND ns = ?2 AND item_key = ?3 AND (expires_at IS NULL OR expires_at > ?4)"
        ))?
        .query_row(params![item.tenant, ns, item.key, now], |row| Ok(read(&item.tenant, row)))
        .optional()?
        .transpose()
}

fn refresh(connection: &Connection, row: &ItemRow) -> Result<(), StoreError> {
    let ItemRow { item: ItemKey { tenant, namespace, key }, updated_at, expires_at, .. } = row;
    connection
        .prepare_cached(
            "UPDATE items SET expires_at = ?5 WHERE tenant = ?1 AND ns = ?2 AND item_key = ?3 AND updated_at = ?4",
        )?
        .execute(params![tenant, namespace::stored(namespace), key, updated_at, expires_at])?;
    Ok(())
}

/// Items behind a namespace and key and before a namespace.
fn list(
    connection: &Connection,
    tenant: &str,
    (ns, key, to): &(String, String, String),
    limit: u32,
    now: Millis,
) -> Result<Vec<ItemRow>, StoreError> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM items
         WHERE tenant = ?1 AND (ns, item_key) > (?2, ?3) AND ns < ?4 AND (expires_at IS NULL OR expires_at > ?5)
         ORDER BY ns, item_key LIMIT ?6"
    ))?;
    let mut rows = query.query(params![tenant, ns, key, to, now, limit])?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let row = read(tenant, row)?;
        bytes += row.value.len();
        found.push(row);
        if bytes > PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(found)
}

fn read(tenant: &str, row: &Row<'_>) -> Result<ItemRow, StoreError> {
    let namespace = namespace::read(&row.get::<_, String>(0)?)?;
    Ok(ItemRow {
        item: ItemKey { tenant: tenant.to_owned(), namespace, key: row.get(1)? },
        value: row.get::<_, Vec<u8>>(2)?.into(),
        created_at: row.get(3)?,
        updated_at: row.get(4)?,
        ttl_ms: row.get(5)?,
        expires_at: row.get(6)?,
    })
}
