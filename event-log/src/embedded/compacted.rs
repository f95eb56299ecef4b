//! Topics of which only the newest record of each key is kept: one table, a row a key. Offsets get holes.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::{
    frame::{pack_one, unpack_one},
    segment::connect,
    status::Failure,
};
use crate::record::{Offset, Partition, Record};

pub(super) struct Compacted {
    connection: Connection,
}

impl Compacted {
    pub(super) fn path(folder: &Path) -> PathBuf {
        folder.join("compacted.db")
    }

    pub(super) fn open(folder: &Path) -> Result<Self, Failure> {
        let connection = connect(&Self::path(folder))?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS newest (topic INTEGER, partition INTEGER, key BLOB, at INTEGER NOT NULL,
                 timestamp INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (topic, partition, key)) WITHOUT ROWID;
             CREATE UNIQUE INDEX IF NOT EXISTS newest_at ON newest (topic, partition, at);",
        )?;
        Ok(Compacted { connection })
    }

    /// Each partition's next offset: the newest record of all is the newest of its key, so it is there.
    pub(super) fn ends(&self) -> Result<Vec<(u32, Partition, Offset)>, Failure> {
        let mut statement =
            self.connection.prepare("SELECT topic, partition, max(at) + 1 FROM newest GROUP BY topic, partition")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as Offset)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Writes the records in one transaction; they are on disk when this returns.
    pub(super) fn append<'a>(
        &mut self,
        records: impl Iterator<Item = (u32, Partition, Offset, i64, &'a Record)>,
    ) -> Result<(), Failure> {
        let transaction = self.connection.transaction()?;
        {
            let mut statement = transaction.prepare_cached(
                "INSERT OR REPLACE INTO newest (topic, partition, key, at, timestamp, record)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?;
            for (topic, partition, offset, timestamp, record) in records {
                let at = offset as i64;
                statement.execute(params![topic, partition, &record.key[..], at, timestamp, pack_one(record)])?;
            }
        }
        Ok(transaction.commit()?)
    }

    pub(super) fn bytes(&self) -> Result<u64, Failure> {
        let count = |pragma: &str| self.connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
        Ok((count("PRAGMA page_count")? * count("PRAGMA page_size")?) as u64)
    }
}

/// Hands over the records kept from `from` up to `below`, in order, until `take` says no.
pub(super) fn read(
    connection: &Connection,
    topic: u32,
    partition: Partition,
    from: Offset,
    below: Offset,
    mut take: impl FnMut(Offset, i64, Record) -> bool,
) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT at, timestamp, record FROM newest
         WHERE topic = ?1 AND partition = ?2 AND at >= ?3 AND at < ?4 ORDER BY at",
    )?;
    let mut rows = statement.query(params![topic, partition, from as i64, below as i64])?;
    while let Some(row) = rows.next()? {
        let record = unpack_one(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        if !take(row.get::<_, i64>(0)? as Offset, row.get(1)?, record) {
            break;
        }
    }
    Ok(())
}
