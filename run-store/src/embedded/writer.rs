//! The one writer: takes what waits, applies it in one transaction, syncs once and answers all.

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::errors::is_disk_failure;
use crate::error::StoreError;

/// Requests that may wait for the writer; callers beyond it wait for room.
const QUEUE_REQUESTS_MAX: usize = 4_096;
/// Requests and bytes of one transaction: what a caller at most waits behind.
const GROUP_REQUESTS_MAX: usize = 1_024;
const GROUP_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Hands work to the writer's thread.
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
    failed: watch::Receiver<Option<String>>,
}

impl Writer {
    /// Starts the thread; it ends, and drops `connection` and `held`, when the writer is dropped and its queue done.
    pub(super) fn start<H: Send + 'static>(connection: Connection, held: H) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE_REQUESTS_MAX);
        let (fail, failed) = watch::channel(None);
        std::thread::Builder::new().name("store-writer".into()).spawn(move || {
            write_groups(&connection, waiting, &fail);
            // Errors of the last tidying are none: the file is whole without it.
            let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
            drop(connection);
            drop(held);
        })?;
        Ok(Writer { queue, failed })
    }

    /// Runs `work` in a transaction with what else waits; returns when that is synced.
    ///
    /// `work` may run again after a rollback, so it must leave nothing behind but rows. `bytes` is about its size.
    pub(super) async fn write<T, W>(&self, bytes: usize, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Request { work, bytes, outcome: None, reply };
        self.queue.send(Box::new(job)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Holds the reason once the disk has failed; nothing more is written then.
    pub(super) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failed.clone()
    }
}

trait Job: Send {
    fn bytes(&self) -> usize;
    /// Whether it went well; keeps the outcome for the answer.
    fn apply(&mut self, connection: &Connection) -> bool;
    /// Answers with the outcome, or with why it could not be made durable.
    fn answer(self: Box<Self>, failure: Option<&str>);
}

struct Request<T, W> {
    work: W,
    bytes: usize,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, W> Job for Request<T, W>
where
    T: Send,
    W: FnMut(&Connection) -> Result<T, StoreError> + Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn apply(&mut self, connection: &Connection) -> bool {
        let outcome = (self.work)(connection);
        let went_well = outcome.is_ok();
        self.outcome = Some(outcome);
        went_well
    }

    fn answer(self: Box<Self>, failure: Option<&str>) {
        let outcome = match (failure, self.outcome) {
            (_, Some(Err(error))) => Err(error),
            (None, Some(Ok(answer))) => Ok(answer),
            (Some(reason), _) => Err(StoreError::Unavailable { reason: reason.to_owned() }),
            (None, None) => Err(StoreError::Closed),
        };
        // A caller that no longer waits has nothing to be told.
        let _ = self.reply.send(outcome);
    }
}

fn write_groups(
    connection: &Connection,
    mut waiting: mpsc::Receiver<Box<dyn Job>>,
    fail: &watch::Sender<Option<String>>,
) {
    while let Some(first) = waiting.blocking_recv() {
        if let Some(reason) = fail.borrow().as_deref() {
            first.answer(Some(reason));
            continue;
        }
        let mut bytes = first.bytes();
        let mut group = vec![first];
        while group.len() < GROUP_REQUESTS_MAX && bytes < GROUP_BYTES_MAX {
            let Ok(job) = waiting.try_recv() else { break };
            bytes += job.bytes();
            group.push(job);
        }
        if let Err(error) = commit(connection, group)
            && is_disk_failure(&error)
        {
            tracing::error!(error = %error, "the store's disk failed; nothing more is written");
            fail.send_replace(Some(format!("the store's disk failed, restart the process: {error}")));
        }
    }
}

/// All in one transaction; where one fails, each in its own, so that it fails alone.
fn commit(connection: &Connection, mut group: Vec<Box<dyn Job>>) -> rusqlite::Result<()> {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        answer_all(group, Some(&error.to_string()));
        return Err(error);
    }
    if !group.iter_mut().all(|job| job.apply(connection)) {
        roll_back(connection);
        return match group.len() {
            1 => {
                answer_all(group, None);
                Ok(())
            }
            _ => group.into_iter().map(|job| commit(connection, vec![job])).fold(Ok(()), Result::and),
        };
    }
    match connection.execute_batch("COMMIT") {
        Ok(()) => {
            answer_all(group, None);
            Ok(())
        }
        Err(error) => {
            roll_back(connection);
            answer_all(group, Some(&error.to_string()));
            Err(error)
        }
    }
}

fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(error = %error, "a transaction of the store could not be rolled back");
    }
}

fn answer_all(group: Vec<Box<dyn Job>>, failure: Option<&str>) {
    for job in group {
        job.answer(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE numbers (n INTEGER NOT NULL UNIQUE)").unwrap();
        Writer::start(connection, ()).unwrap()
    }

    async fn insert(writer: &Writer, n: i64) -> Result<(), StoreError> {
        writer
            .write(8, move |connection| {
                connection.execute("INSERT INTO numbers VALUES (?1)", [n])?;
                Ok(())
            })
            .await
    }

    #[tokio::test]
    async fn a_request_that_fails_takes_no_neighbour_with_it() {
        let writer = writer();
        let numbers = (0..200).map(|n| if n % 10 == 9 { 0 } else { n });
        let outcomes = futures_util::future::join_all(numbers.clone().map(|n| insert(&writer, n))).await;
        let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert_eq!(failed, 20);
        let stored: i64 = writer
            .write(0, |connection| Ok(connection.query_row("SELECT count(*) FROM numbers", [], |row| row.get(0))?))
            .await
            .unwrap();
        assert_eq!(stored, 180);
    }

    #[tokio::test]
    async fn a_full_disk_refuses_a_write_and_takes_the_next_that_fits() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE numbers (n BLOB NOT NULL); PRAGMA max_page_count = 20").unwrap();
        let writer = Writer::start(connection, ()).unwrap();
        let insert = |bytes: usize| {
            writer.write(bytes, move |connection| {
                connection.execute("INSERT INTO numbers VALUES (?1)", [vec![7_u8; bytes]])?;
                Ok(())
            })
        };
        insert(10).await.unwrap();
        let refused = insert(1_000_000).await;
        assert!(matches!(&refused, Err(StoreError::Unavailable { reason }) if reason.contains("full")), "{refused:?}");
        insert(10).await.unwrap();
        assert_eq!(*writer.failure().borrow(), None);
    }
}
