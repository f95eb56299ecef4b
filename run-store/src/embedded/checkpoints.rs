//! Checkpoints: packed as they arrive, read newest first.

use bytes::Bytes;
use graph::envelope::Key;
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::states::stored;
use crate::{
    error::StoreError,
    packed::{CheckpointsBefore, pack_checkpoints, unpack_checkpoints},
    rows::CheckpointRow,
    stored::uuid,
};

pub(super) fn put(connection: &Connection, rows: &[CheckpointRow]) -> Result<(), StoreError> {
    for row in pack_checkpoints(rows) {
        connection
            .prepare_cached(
                "INSERT INTO checkpoints (tenant, owner, ns, first_id, last_id, count, position, packed)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT (owner, ns, last_id, first_id) DO UPDATE SET
                     tenant = excluded.tenant, count = excluded.count, position = excluded.position,
                     packed = excluded.packed
                 WHERE excluded.count >= count AND excluded.position >= position",
            )?
            .execute(params![
                row.tenant,
                row.owner.as_str(),
                row.ns,
                row.first.as_bytes(),
                row.last.as_bytes(),
                row.count,
                stored(row.position),
                row.bytes
            ])?;
    }
    Ok(())
}

pub(super) fn before(
    connection: &Connection,
    owner: &Key,
    ns: &str,
    before: Option<Uuid>,
    limit: u32,
) -> Result<Vec<CheckpointRow>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT tenant, last_id, packed FROM checkpoints
         WHERE owner = ?1 AND ns = ?2 AND first_id < ?3 ORDER BY last_id DESC, first_id DESC",
    )?;
    let bound = before.unwrap_or(Uuid::max());
    let mut rows = query.query(params![owner.as_str(), ns, bound.as_bytes()])?;
    let mut gathered = CheckpointsBefore::new(before, limit);
    while let Some(row) = rows.next()? {
        if gathered.is_full(uuid(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?) {
            break;
        }
        let tenant: String = row.get(0)?;
        gathered.add(unpack_checkpoints(Bytes::from(row.get::<_, Vec<u8>>(2)?), &tenant, owner, ns)?);
    }
    Ok(gathered.finish())
}

pub(super) fn find(
    connection: &Connection,
    owner: &Key,
    ns: &str,
    id: Uuid,
) -> Result<Option<CheckpointRow>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT tenant, packed FROM checkpoints
         WHERE owner = ?1 AND ns = ?2 AND last_id >= ?3 AND first_id <= ?3 ORDER BY last_id, first_id",
    )?;
    let mut rows = query.query(params![owner.as_str(), ns, id.as_bytes()])?;
    let mut newest: Option<CheckpointRow> = None;
    while let Some(row) = rows.next()? {
        let tenant: String = row.get(0)?;
        let unpacked = unpack_checkpoints(Bytes::from(row.get::<_, Vec<u8>>(1)?), &tenant, owner, ns)?;
        let found = unpacked.into_iter().find(|checkpoint| checkpoint.checkpoint_id == id);
        newest = newest.into_iter().chain(found).max_by_key(|checkpoint| checkpoint.position);
    }
    Ok(newest)
}
