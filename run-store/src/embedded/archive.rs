//! Checkpoints that have a successor, each version at its position.

use async_trait::async_trait;
use bytes::Bytes;
use graph::envelope::Key;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    EmbeddedStore,
    states::{position, stored},
};
use crate::{
    contract::Archive,
    error::StoreError,
    metrics::observe,
    position::Position,
    rows::ArchivedRow,
    stored::{check_size, uuid},
};

#[async_trait]
impl Archive for EmbeddedStore {
    async fn put_archived(&self, rows: &[ArchivedRow]) -> Result<(), StoreError> {
        rows.iter().try_for_each(|row| check_size(&row.checkpoint, self.value_bytes_max))?;
        let rows = rows.to_vec();
        let bytes = rows.iter().map(|row| 128 + row.checkpoint.len()).sum();
        let write = self.write(bytes, move |connection| rows.iter().try_for_each(|row| put(connection, row)));
        observe("put_archived", write).await
    }

    async fn archived(
        &self,
        owner: &Key,
        ns: &str,
        id: Uuid,
        below: Position,
    ) -> Result<Option<ArchivedRow>, StoreError> {
        let (owner, ns) = (owner.clone(), ns.to_owned());
        let read = self.readers.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT position, checkpoint FROM archive
                 WHERE owner = ?1 AND ns = ?2 AND checkpoint_id = ?3 AND position < ?4 ORDER BY position DESC LIMIT 1",
            )?;
            let found = query.query_row(params![owner.as_str(), ns, id.as_bytes(), stored(below)], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?))
            });
            let found = found.optional()?;
            Ok(found.map(|(at, checkpoint)| ArchivedRow {
                owner,
                ns,
                checkpoint_id: id,
                position: position(at),
                checkpoint: Bytes::from(checkpoint),
            }))
        });
        observe("archived", read).await
    }

    async fn archived_before(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        below: Position,
        limit: u32,
    ) -> Result<Vec<ArchivedRow>, StoreError> {
        let (owner, ns) = (owner.clone(), ns.to_owned());
        let read =
            self.readers.read(move |connection| newest_before(connection, &owner, &ns, before, below, limit as usize));
        observe("archived_before", read).await
    }
}

fn put(connection: &Connection, row: &ArchivedRow) -> Result<(), StoreError> {
    let ArchivedRow { owner, ns, checkpoint_id, position, checkpoint } = row;
    connection
        .prepare_cached(
            "INSERT INTO archive (owner, ns, checkpoint_id, position, checkpoint)
             SELECT ?1, ?2, ?3, ?4, ?5
             WHERE NOT EXISTS (SELECT 1 FROM deleted_threads WHERE owner = ?1 AND position >= ?4)
             ON CONFLICT (owner, ns, checkpoint_id, position) DO UPDATE SET checkpoint = excluded.checkpoint",
        )?
        .execute(params![owner.as_str(), ns, checkpoint_id.as_bytes(), stored(*position), checkpoint.as_ref()])?;
    Ok(())
}

fn newest_before(
    connection: &Connection,
    owner: &Key,
    ns: &str,
    before: Option<Uuid>,
    below: Position,
    limit: usize,
) -> Result<Vec<ArchivedRow>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT checkpoint_id, position, checkpoint FROM archive
         WHERE owner = ?1 AND ns = ?2 AND checkpoint_id < ?3 AND position < ?4
         ORDER BY checkpoint_id DESC, position DESC",
    )?;
    let bound = before.unwrap_or(Uuid::max());
    let mut rows = query.query(params![owner.as_str(), ns, bound.as_bytes(), stored(below)])?;
    let mut found: Vec<ArchivedRow> = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let checkpoint_id = uuid(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        if found.last().is_none_or(|newer| newer.checkpoint_id != checkpoint_id) {
            found.push(ArchivedRow {
                owner: owner.clone(),
                ns: ns.to_owned(),
                checkpoint_id,
                position: position(row.get(1)?),
                checkpoint: Bytes::from(row.get::<_, Vec<u8>>(2)?),
            });
        }
    }
    Ok(found)
}
