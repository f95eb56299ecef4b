//! Reading back from disk, for who has fallen behind what memory holds.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, params};
use tokio::sync::{Notify, oneshot};

use super::{
    compacted::{self, Compacted},
    config::READ_SEGMENTS_OPEN_MAX,
    frame::Index,
    jobs::Jobs,
    partition::{PartitionLog, Place},
    status::{Failure, Status},
};
use crate::record::{Fetched, Offset, Record};

/// Reads of partition `log` from `from` up to `below`, as far as `bytes_max`.
pub(super) struct Read {
    pub(super) log: Arc<PartitionLog>,
    pub(super) place: Place,
    pub(super) from: Offset,
    pub(super) below: Offset,
    pub(super) bytes_max: usize,
    pub(super) reply: oneshot::Sender<Result<Page, Failure>>,
    /// Woken when the reply is there.
    pub(super) wake: Arc<Notify>,
}

pub(super) struct Page {
    pub(super) records: Vec<Fetched>,
    /// Everything kept below this has been read.
    pub(super) next: Offset,
}

/// The body of a reading thread.
pub(super) fn run(jobs: &Jobs<Read>, folder: &Path, status: &Status) {
    let mut open = OpenSegments { folder: folder.to_owned(), connections: Vec::new() };
    while let Some(read) = jobs.next() {
        if read.reply.is_closed() {
            continue;
        }
        let page = open.read(&read);
        if let Err(failure @ Failure::Damage(_)) = &page {
            status.fail(failure.clone());
        }
        // A reader that is gone needs no page.
        let _ = read.reply.send(page);
        read.wake.notify_one();
    }
}

/// Connections by file, the one used last at the end.
struct OpenSegments {
    folder: PathBuf,
    connections: Vec<(PathBuf, Connection)>,
}

impl OpenSegments {
    fn read(&mut self, read: &Read) -> Result<Page, Failure> {
        let mut page = Collector { read, records: Vec::new(), bytes: 0, full: false };
        match &read.place {
            Place::Segment { path, row } => {
                read_segment(self.connection(path)?, *row, &mut page)?;
                // Segments have no holes, so nothing found means that the index and the file disagree.
                if page.records.is_empty() {
                    let path = path.display();
                    return Err(Failure::Damage(format!("{path} does not hold offset {} that it should", read.from)));
                }
                Ok(Page { next: page.next_offset(), records: page.records })
            }
            Place::Compacted => {
                let path = Compacted::path(&self.folder);
                let (topic, partition) = (read.log.topic_id, read.log.number);
                let connection = self.connection(&path)?;
                compacted::read(connection, topic, partition, read.from, read.below, |offset, timestamp, record| {
                    page.take(offset, timestamp, record)
                })?;
                let next = if page.full { page.next_offset() } else { read.below };
                Ok(Page { next, records: page.records })
            }
        }
    }

    fn connection(&mut self, path: &Path) -> Result<&Connection, Failure> {
        match self.connections.iter().position(|(known, _)| known == path) {
            Some(at) => {
                let known = self.connections.remove(at);
                self.connections.push(known);
            }
            None => {
                // Files of segments removed meanwhile are let go of here, too.
                self.connections.retain(|(path, _)| path.exists());
                if self.connections.len() >= READ_SEGMENTS_OPEN_MAX {
                    self.connections.remove(0);
                }
                self.connections.push((path.to_owned(), super::segment::connect_to_read(path)?));
            }
        }
        Ok(&self.connections[self.connections.len() - 1].1)
    }
}

fn read_segment(connection: &Connection, row: i64, page: &mut Collector<'_>) -> Result<(), Failure> {
    let read = page.read;
    let mut statement = connection.prepare_cached("SELECT spans, records FROM groups WHERE id >= ?1 ORDER BY id")?;
    let mut rows = statement.query(params![row])?;
    while !page.full
        && let Some(row) = rows.next()?
    {
        let index = Index::parse(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?)?;
        let has =
            index.spans.iter().filter(|span| span.topic == read.log.topic_id && span.partition == read.log.number);
        let Some(end) = has.map(|span| span.end()).max() else { continue };
        if end > read.from {
            let records = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            index.unpack(records, read.log.topic_id, read.log.number, read.from, |offset, timestamp, record| {
                page.take(offset, timestamp, record)
            })?;
        }
        page.full |= end >= read.below;
    }
    Ok(())
}

struct Collector<'a> {
    read: &'a Read,
    records: Vec<Fetched>,
    bytes: usize,
    full: bool,
}

impl Collector<'_> {
    /// Whether more may come.
    fn take(&mut self, offset: Offset, timestamp: i64, record: Record) -> bool {
        if offset < self.read.below {
            self.bytes += record.size();
            let log = &self.read.log;
            let topic = Arc::clone(&log.topic);
            self.records.push(Fetched { topic, partition: log.number, offset, timestamp, record });
        }
        self.full = self.bytes >= self.read.bytes_max || offset + 1 >= self.read.below;
        !self.full
    }

    fn next_offset(&self) -> Offset {
        self.records.last().map_or(self.read.from, |record| record.offset + 1)
    }
}
