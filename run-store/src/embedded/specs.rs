//! Versions of graphs and the current one of each name.

use async_trait::async_trait;
use bytes::Bytes;
use graph::envelope::Millis;
use rusqlite::{OptionalExtension, Row, params};

use super::EmbeddedStore;
use crate::{contract::Specs, error::StoreError, metrics::observe, rows::SpecRow, stored::check_size};

#[async_trait]
impl Specs for EmbeddedStore {
    async fn put_spec(&self, row: &SpecRow) -> Result<(), StoreError> {
        check_size(&row.spec, self.value_bytes_max)?;
        let row = row.clone();
        let write = self.write(row.spec.len(), move |connection| {
            // The same hash is the same spec: the first one's time stands.
            connection
                .prepare_cached("INSERT OR IGNORE INTO specs (hash, name, created_at, spec) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![row.hash, row.name, row.created_at, row.spec.as_ref()])?;
            Ok(())
        });
        observe("put_spec", write).await
    }

    async fn spec(&self, hash: &str) -> Result<Option<SpecRow>, StoreError> {
        let hash = hash.to_owned();
        let read = self.readers.read(move |connection| {
            let mut query =
                connection.prepare_cached("SELECT hash, name, created_at, spec FROM specs WHERE hash = ?1")?;
            Ok(query.query_row([hash], spec_row).optional()?)
        });
        observe("spec", read).await
    }

    async fn publish(&self, name: &str, hash: &str, at: Millis) -> Result<(), StoreError> {
        let (name, hash) = (name.to_owned(), hash.to_owned());
        let write = self.write(128, move |connection| {
            // At the same moment the greater hash wins, as it does in CQL.
            connection
                .prepare_cached(
                    "INSERT INTO current_specs (name, hash, at) VALUES (?1, ?2, ?3)
                     ON CONFLICT (name) DO UPDATE SET hash = excluded.hash, at = excluded.at
                     WHERE (excluded.at, excluded.hash) > (at, hash)",
                )?
                .execute(params![name, hash, at])?;
            Ok(())
        });
        observe("publish", write).await
    }

    async fn current(&self) -> Result<Vec<SpecRow>, StoreError> {
        let read = self.readers.read(|connection| {
            let mut query = connection.prepare_cached(
                "SELECT specs.hash, specs.name, created_at, spec FROM current_specs
                 JOIN specs ON specs.hash = current_specs.hash ORDER BY current_specs.name",
            )?;
            Ok(query.query_map([], spec_row)?.collect::<Result<_, _>>()?)
        });
        observe("current", read).await
    }

    async fn current_of(&self, name: &str) -> Result<Option<SpecRow>, StoreError> {
        let name = name.to_owned();
        let read = self.readers.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT specs.hash, specs.name, created_at, spec FROM current_specs
                 JOIN specs ON specs.hash = current_specs.hash WHERE current_specs.name = ?1",
            )?;
            Ok(query.query_row([name], spec_row).optional()?)
        });
        observe("current_of", read).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<SpecRow>, StoreError> {
        let name = name.to_owned();
        let read = self.readers.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT hash, name, created_at, spec FROM specs WHERE name = ?1 ORDER BY created_at DESC, hash DESC",
            )?;
            Ok(query.query_map([name], spec_row)?.collect::<Result<_, _>>()?)
        });
        observe("versions", read).await
    }
}

fn spec_row(row: &Row<'_>) -> rusqlite::Result<SpecRow> {
    Ok(SpecRow {
        hash: row.get(0)?,
        name: row.get(1)?,
        created_at: row.get(2)?,
        spec: Bytes::from(row.get::<_, Vec<u8>>(3)?),
    })
}
