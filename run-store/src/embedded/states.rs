//! The fold's states, the sleepers among them, and how far they cover the log.

use async_trait::async_trait;
use bytes::Bytes;
use graph::envelope::Key;
use rusqlite::{Connection, OptionalExtension, params};

use super::EmbeddedStore;
use crate::{
    contract::States,
    error::StoreError,
    metrics::observe,
    position::Position,
    rows::{Sleeper, StateRow},
    stored::check_size,
};

#[async_trait]
impl States for EmbeddedStore {
    async fn state(&self, _partition: u32, key: &Key) -> Result<Option<StateRow>, StoreError> {
        // A key is one row wherever it lives: a thread outlives a change of the partition count.
        let key = key.clone();
        observe("state", self.readers.read(move |connection| find(connection, key))).await
    }

    async fn put_states(&self, rows: &[StateRow]) -> Result<(), StoreError> {
        for row in rows {
            row.state.iter().try_for_each(|state| check_size(state, self.value_bytes_max))?;
        }
        let rows = rows.to_vec();
        let bytes = rows.iter().map(|row| 128 + row.state.as_ref().map_or(0, Bytes::len)).sum();
        let write = self.write(bytes, move |connection| rows.iter().try_for_each(|row| put(connection, row)));
        observe("put_states", write).await
    }

    async fn sleepers(&self, partition: u32) -> Result<Vec<Sleeper>, StoreError> {
        let read = self.readers.read(move |connection| {
            let mut query = connection.prepare_cached(
                "SELECT key, wake_at, position FROM states
                 WHERE partition = ?1 AND wake_at IS NOT NULL ORDER BY wake_at, key",
            )?;
            let rows = query.query_map([partition], |row| {
                Ok(Sleeper { key: Key(row.get(0)?), wake_at: row.get(1)?, position: position(row.get(2)?) })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        });
        observe("sleepers", read).await
    }

    async fn covered(&self, partition: u32) -> Result<Option<Position>, StoreError> {
        let read = self.readers.read(move |connection| {
            let mut query = connection.prepare_cached("SELECT position FROM covered WHERE partition = ?1")?;
            Ok(query.query_row([partition], |row| row.get(0)).optional()?.map(position))
        });
        observe("covered", read).await
    }

    async fn set_covered(&self, partition: u32, position: Position) -> Result<(), StoreError> {
        let write = self.write(16, move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO covered (partition, position) VALUES (?1, ?2)
                     ON CONFLICT (partition) DO UPDATE SET position = excluded.position
                     WHERE excluded.position > position",
                )?
                .execute(params![partition, stored(position)])?;
            Ok(())
        });
        observe("set_covered", write).await
    }
}

pub(super) fn position(raw: i64) -> Position {
    Position::from_u64(raw as u64)
}

/// A position is below 2^50.
pub(super) fn stored(position: Position) -> i64 {
    position.as_u64() as i64
}

fn find(connection: &Connection, key: Key) -> Result<Option<StateRow>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT partition, position, state, wake_at, expires_at FROM states WHERE key = ?1 AND state IS NOT NULL",
    )?;
    let found = query.query_row([key.as_str()], |row| {
        Ok(StateRow {
            key: key.clone(),
            partition: row.get(0)?,
            position: position(row.get(1)?),
            state: row.get::<_, Option<Vec<u8>>>(2)?.map(Bytes::from),
            wake_at: row.get(3)?,
            expires_at: row.get(4)?,
        })
    });
    Ok(found.optional()?)
}

fn put(connection: &Connection, row: &StateRow) -> Result<(), StoreError> {
    let StateRow { key, partition, position, state, wake_at, expires_at } = row;
    // A tombstone neither sleeps nor expires: the sweep gives it its time.
    let (wake_at, expires_at) = if state.is_some() { (*wake_at, *expires_at) } else { (None, None) };
    // At one position a delete loses to a write.
    connection
        .prepare_cached(
            "INSERT INTO states (key, partition, position, wake_at, expires_at, state) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (key) DO UPDATE SET
                 partition = excluded.partition, position = excluded.position, wake_at = excluded.wake_at,
                 expires_at = excluded.expires_at, state = excluded.state
             WHERE excluded.position > position OR (excluded.position = position AND excluded.state IS NOT NULL)",
        )?
        .execute(params![key.as_str(), partition, stored(*position), wake_at, expires_at, state.as_deref()])?;
    Ok(())
}
