//! All that is known of a thread, or its history, gone in one transaction.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use graph::envelope::Key;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use super::{
    EmbeddedStore, checkpoints,
    states::{position, stored},
};
use crate::{
    contract::Deletes, error::StoreError, metrics::observe, packed::unpack_checkpoints, position::Position,
    rows::KeptValues,
};

#[async_trait]
impl Deletes for EmbeddedStore {
    async fn delete_thread(&self, tenant: &str, thread_id: &str, at: Position) -> Result<(), StoreError> {
        let (tenant, thread_id) = (tenant.to_owned(), thread_id.to_owned());
        let write = self.write(1024, move |connection| delete_thread(connection, &tenant, &thread_id, at));
        observe("delete_thread", write).await
    }

    async fn delete_run(&self, tenant: &str, thread_id: &str, run_id: Uuid, at: Position) -> Result<(), StoreError> {
        let (tenant, owner) = (tenant.to_owned(), Key::thread(tenant, thread_id));
        let write = self.write(1024, move |connection| delete_run(connection, &tenant, &owner, run_id, at));
        observe("delete_run", write).await
    }

    async fn prune_thread(
        &self,
        tenant: &str,
        thread_id: &str,
        at: Position,
        kept: &KeptValues,
    ) -> Result<(), StoreError> {
        let (tenant, thread_id, kept) = (tenant.to_owned(), thread_id.to_owned(), kept.clone());
        let write = self.write(1024, move |connection| prune_thread(connection, (&tenant, &thread_id), at, &kept));
        observe("prune_thread", write).await
    }

    async fn deleted(&self, tenant: &str, thread_id: &str) -> Result<Option<Position>, StoreError> {
        let key = Key::thread(tenant, thread_id);
        let read = self.readers.read(move |connection| {
            let mut query = connection.prepare_cached("SELECT position FROM deleted_threads WHERE owner = ?1")?;
            Ok(query.query_row([key.as_str()], |row| row.get(0)).optional()?.map(position))
        });
        observe("deleted", read).await
    }
}

fn delete_thread(connection: &Connection, tenant: &str, thread_id: &str, at: Position) -> Result<(), StoreError> {
    let (key, at) = (Key::thread(tenant, thread_id), stored(at));
    let owner = key.as_str();
    note_deleted(connection, owner, at)?;
    // As every delete of a state: it leaves its position, and loses to a write there.
    connection
        .prepare_cached(
            "INSERT INTO states (key, partition, position) VALUES (?1, 0, ?2)
             ON CONFLICT (key) DO UPDATE SET position = excluded.position, wake_at = NULL, expires_at = NULL, state = NULL
             WHERE excluded.position > position",
        )?
        .execute(params![owner, at])?;
    delete_history(connection, (tenant, thread_id), at, at)?;
    connection
        .prepare_cached("DELETE FROM runs WHERE tenant = ?1 AND thread_id = ?2 AND position <= ?3")?
        .execute(params![tenant, thread_id, at])?;
    connection
        .prepare_cached("DELETE FROM threads WHERE tenant = ?1 AND thread_id = ?2 AND position <= ?3")?
        .execute(params![tenant, thread_id, at])?;
    connection.prepare_cached("DELETE FROM blobs WHERE owner = ?1")?.execute([owner])?;
    Ok(())
}

fn note_deleted(connection: &Connection, owner: &str, at: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO deleted_threads (owner, position) VALUES (?1, ?2)
             ON CONFLICT (owner) DO UPDATE SET position = excluded.position, expires_at = NULL
             WHERE excluded.position > position",
        )?
        .execute(params![owner, at])?;
    Ok(())
}

fn prune_thread(
    connection: &Connection,
    (tenant, thread_id): (&str, &str),
    at: Position,
    kept: &KeptValues,
) -> Result<(), StoreError> {
    let (key, at) = (Key::thread(tenant, thread_id), stored(at));
    let owner = key.as_str();
    note_deleted(connection, owner, at)?;
    // What stays was written at this very position.
    delete_history(connection, (tenant, thread_id), at, at - 1)?;
    let mut query = connection.prepare_cached("SELECT hash FROM blobs WHERE owner = ?1 AND written_at < ?2")?;
    let old = query.query_map(params![owner, kept.written_before], |row| row.get::<_, String>(0))?;
    let old: Vec<String> = old.collect::<Result<_, _>>()?;
    for hash in old.iter().filter(|hash| !kept.names(hash)) {
        connection
            .prepare_cached("DELETE FROM blobs WHERE owner = ?1 AND hash = ?2")?
            .execute([owner, hash.as_str()])?;
    }
    Ok(())
}

/// The archive and updates up to `at`, and the checkpoints up to `checkpoints_up_to`.
fn delete_history(
    connection: &Connection,
    (tenant, thread_id): (&str, &str),
    at: i64,
    checkpoints_up_to: i64,
) -> Result<(), StoreError> {
    let key = Key::thread(tenant, thread_id);
    connection
        .prepare_cached("DELETE FROM archive WHERE owner = ?1 AND position <= ?2")?
        .execute(params![key.as_str(), at])?;
    // An edit is no run: its checkpoint alone names it.
    for id in makers(connection, tenant, &key, checkpoints_up_to)? {
        connection
            .prepare_cached("DELETE FROM updates WHERE tenant = ?1 AND run_id = ?2")?
            .execute(params![tenant, id.as_bytes()])?;
    }
    connection
        .prepare_cached("DELETE FROM checkpoints WHERE owner = ?1 AND position <= ?2")?
        .execute(params![key.as_str(), checkpoints_up_to])?;
    connection
        .prepare_cached(
            "DELETE FROM updates WHERE tenant = ?1 AND run_id IN
                 (SELECT run_id FROM runs WHERE tenant = ?1 AND thread_id = ?2 AND position <= ?3)",
        )?
        .execute(params![tenant, thread_id, at])?;
    Ok(())
}

fn delete_run(
    connection: &Connection,
    tenant: &str,
    owner: &Key,
    run_id: Uuid,
    at: Position,
) -> Result<(), StoreError> {
    let mut query = connection.prepare_cached("SELECT id, ns, packed FROM checkpoints WHERE owner = ?1")?;
    let mut rows = query.query([owner.as_str()])?;
    let mut held = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, ns, packed): (i64, String, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let checkpoints = unpack_checkpoints(Bytes::from(packed), tenant, owner, &ns)?;
        if checkpoints.iter().any(|checkpoint| checkpoint.run_id == run_id) {
            held.push((id, checkpoints));
        }
    }
    for (id, mut others) in held {
        connection.prepare_cached("DELETE FROM checkpoints WHERE id = ?1")?.execute([id])?;
        others.retain(|checkpoint| checkpoint.run_id != run_id);
        checkpoints::put(connection, &others)?;
    }
    connection
        .prepare_cached("DELETE FROM updates WHERE tenant = ?1 AND run_id = ?2")?
        .execute(params![tenant, run_id.as_bytes()])?;
    connection
        .prepare_cached("DELETE FROM runs WHERE tenant = ?1 AND run_id = ?2 AND position <= ?3")?
        .execute(params![tenant, run_id.as_bytes(), stored(at)])?;
    Ok(())
}

/// The runs and edits that made a thread's checkpoints.
fn makers(connection: &Connection, tenant: &str, owner: &Key, at: i64) -> Result<BTreeSet<Uuid>, StoreError> {
    let mut query =
        connection.prepare_cached("SELECT ns, packed FROM checkpoints WHERE owner = ?1 AND position <= ?2")?;
    let mut rows = query.query(params![owner.as_str(), at])?;
    let mut makers = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let (ns, packed): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let checkpoints = unpack_checkpoints(Bytes::from(packed), tenant, owner, &ns)?;
        makers.extend(checkpoints.iter().map(|checkpoint| checkpoint.run_id));
    }
    Ok(makers)
}
