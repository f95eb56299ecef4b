//! One segment file: rows appended in order, sealed when the next one begins, unlinked when all of it is past retention.
//!
//! Schema version 1, frozen: `about` (when it began), `opening` (each partition's next offset at that time, so that
//! offsets go on after older segments are gone), `groups` (a row for each commit group), `summary` (written when
//! sealed: the index of the whole segment, so that opening a long log reads one row of it).

use std::{fs, path::Path, sync::Arc};

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::{
    config::CHECKPOINT_PAGES,
    frame::{Index, Row, seal, unseal},
    partition::SegmentSpan,
    status::Failure,
    varint::{Cursor, put},
};
use crate::record::{Offset, Partition};

const SUMMARY_SEED: u64 = 0x7365_616c_6564_0001;

pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) path: Arc<Path>,
    pub(super) began: i64,
    /// Timestamp of the newest record, if it has any.
    pub(super) newest: Option<i64>,
    pub(super) bytes: u64,
    connection: Connection,
}

/// A partition's part of a segment, by topic id and partition.
pub(super) type Summary = Vec<(u32, Partition, SegmentSpan)>;

impl Segment {
    /// Makes the file. `opening` holds (topic, partition, next offset).
    pub(super) fn create(
        path: &Path,
        number: u64,
        began: i64,
        opening: &[(u32, Partition, Offset)],
    ) -> Result<Self, Failure> {
        let mut connection = connect(path)?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(
            "CREATE TABLE opening (topic INTEGER, partition INTEGER, next INTEGER, PRIMARY KEY (topic, partition))
                 WITHOUT ROWID;
             CREATE TABLE groups (id INTEGER PRIMARY KEY, newest INTEGER NOT NULL, spans BLOB NOT NULL,
                 records BLOB NOT NULL);
             CREATE TABLE summary (id INTEGER PRIMARY KEY CHECK (id = 1), newest INTEGER, spans BLOB NOT NULL);
             CREATE TABLE about (version INTEGER NOT NULL, began INTEGER NOT NULL);",
        )?;
        transaction.execute("INSERT INTO about (version, began) VALUES (1, ?1)", params![began])?;
        for (topic, partition, next) in opening {
            transaction.execute(
                "INSERT INTO opening (topic, partition, next) VALUES (?1, ?2, ?3)",
                params![topic, partition, *next as i64],
            )?;
        }
        transaction.commit()?;
        if let Some(folder) = path.parent() {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(Segment { number, path: path.into(), began, newest: None, bytes: 0, connection })
    }

    /// Opens the file of a former process; None where that died before the file was whole (nothing is in it then).
    pub(super) fn open(path: &Path, number: u64) -> Result<Option<Self>, Failure> {
        let connection = connect(path)?;
        let tables: i64 = connection.query_row(
            "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'about'",
            [],
            |row| row.get(0),
        )?;
        if tables == 0 {
            return Ok(None);
        }
        let (version, began): (i64, i64) =
            connection.query_row("SELECT version, began FROM about", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if version != 1 {
            return Err(Failure::Damage(format!("{} has version {version}, not 1", path.display())));
        }
        let newest = connection.query_row(
            "SELECT coalesce((SELECT newest FROM summary), (SELECT newest FROM groups ORDER BY id DESC LIMIT 1))",
            [],
            |row| row.get(0),
        )?;
        let bytes = fs::metadata(path)?.len();
        Ok(Some(Segment { number, path: path.into(), began, newest, bytes, connection }))
    }

    pub(super) fn opening(&self) -> Result<Vec<(u32, Partition, Offset)>, Failure> {
        let mut statement = self.connection.prepare("SELECT topic, partition, next FROM opening")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as Offset)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The index of a sealed segment.
    pub(super) fn summary(&self) -> Result<Option<Summary>, Failure> {
        let bytes: Option<Vec<u8>> =
            self.connection.query_row("SELECT spans FROM summary", [], |row| row.get(0)).optional()?;
        bytes.map(|bytes| read_summary(&bytes, self.number, &self.path)).transpose()
    }

    /// Goes through the index of each row, without reading records.
    pub(super) fn scan(&self, mut each: impl FnMut(i64, Index) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut statement = self.connection.prepare("SELECT id, spans FROM groups ORDER BY id")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            each(row.get(0)?, Index::parse(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)?)?;
        }
        Ok(())
    }

    /// Appends the rows in one transaction and returns their ids once they are on disk.
    pub(super) fn append(&mut self, rows: &[(i64, Row)]) -> Result<Vec<i64>, Failure> {
        const INSERT: &str = "INSERT INTO groups (newest, spans, records) VALUES (?1, ?2, ?3)";
        let mut ids = Vec::with_capacity(rows.len());
        if let [(newest, row)] = rows {
            ids.push(self.connection.prepare_cached(INSERT)?.insert(params![newest, row.spans, row.records])?);
        } else {
            let transaction = self.connection.transaction()?;
            for (newest, row) in rows {
                ids.push(transaction.prepare_cached(INSERT)?.insert(params![newest, row.spans, row.records])?);
            }
            transaction.commit()?;
        }
        for (newest, row) in rows {
            self.bytes += (row.spans.len() + row.records.len()) as u64;
            self.newest = Some(self.newest.map_or(*newest, |known| known.max(*newest)));
        }
        Ok(ids)
    }

    /// Ends the segment: writes its index and moves everything from the WAL into the file.
    pub(super) fn seal(self, summary: &Summary) -> Result<Sealed, Failure> {
        self.connection.execute(
            "INSERT OR REPLACE INTO summary (id, newest, spans) VALUES (1, ?1, ?2)",
            params![self.newest, write_summary(summary)],
        )?;
        self.into_sealed()
    }

    /// A segment that a former process sealed, or left behind unsealed: it is read from, never appended to.
    pub(super) fn into_sealed(self) -> Result<Sealed, Failure> {
        // A reader may hold the WAL; then it is moved over when the next process opens the file.
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)?;
        let bytes = fs::metadata(&self.path)?.len();
        Ok(Sealed { number: self.number, path: self.path, newest: self.newest, bytes })
    }
}

/// A segment that is only read from.
pub(super) struct Sealed {
    pub(super) number: u64,
    pub(super) path: Arc<Path>,
    pub(super) newest: Option<i64>,
    pub(super) bytes: u64,
}

impl Sealed {
    pub(super) fn remove(&self) -> Result<(), Failure> {
        remove_database(&self.path)
    }
}

/// Unlinks a database with its WAL.
pub(super) fn remove_database(path: &Path) -> Result<(), Failure> {
    for suffix in ["-wal", "-shm", ""] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Opens a database of the log for writing, synced at each commit.
pub(super) fn connect(path: &Path) -> Result<Connection, Failure> {
    let connection = Connection::open(path)?;
    connection.execute_batch(&format!(
        "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -4096; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
    ))?;
    Ok(connection)
}

/// Opens a database of the log beside its writer.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -1024; PRAGMA wal_autocheckpoint = 0;")?;
    Ok(connection)
}

fn write_summary(summary: &Summary) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, summary.len() as u64);
    for (topic, partition, span) in summary {
        put(&mut out, u64::from(*topic));
        put(&mut out, u64::from(*partition));
        put(&mut out, span.first);
        put(&mut out, span.end);
        put(&mut out, span.rows.len() as u64);
        for (offset, row) in &span.rows {
            put(&mut out, offset - span.first);
            put(&mut out, *row as u64);
        }
    }
    seal(&mut out, SUMMARY_SEED);
    out
}

fn read_summary(bytes: &[u8], segment: u64, path: &Arc<Path>) -> Result<Summary, Failure> {
    let (body, _) = unseal(bytes, SUMMARY_SEED)?;
    let mut cursor = Cursor::new(body, 0);
    let mut summary = Vec::new();
    for _ in 0..cursor.number()? {
        let (topic, partition) = (cursor.small()?, cursor.small()?);
        let (first, end) = (cursor.number()?, cursor.number()?);
        let mut rows = Vec::new();
        for _ in 0..cursor.number()? {
            rows.push((first + cursor.number()?, cursor.number()? as i64));
        }
        summary.push((topic, partition, SegmentSpan { segment, path: Arc::clone(path), first, end, rows }));
    }
    Ok(summary)
}
