//! Opening and closing: the folder's lock, the file's settings, its schema, its threads.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    readers::{Readers, STATEMENTS_MAX},
    schema,
    writer::Writer,
};
use crate::{error::StoreError, stored::VALUE_BYTES_MAX};

const FILE: &str = "store.db";
const LOCK: &str = "store.lock";
/// Pages that the write-ahead log gathers before they move to the file: 64 MiB.
const WAL_PAGES: u32 = 8_192;

#[derive(Clone, Debug)]
pub struct Config {
    /// Makes the file, or brings its schema up to date, where it is missing or older.
    pub create: bool,
    /// Reads that run at the same time.
    pub readers: usize,
    /// The largest single value, in bytes.
    pub value_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { create: true, readers: 4, value_bytes_max: VALUE_BYTES_MAX }
    }
}

/// The store in a folder of this process. See [`crate::contract`] for what it promises.
pub struct EmbeddedStore {
    pub(super) readers: Readers,
    pub(super) value_bytes_max: usize,
    writer: RwLock<Option<Arc<Writer>>>,
    /// Resolves when the writer's thread has let go of the file and the lock.
    ended: tokio::sync::Mutex<oneshot::Receiver<()>>,
    reader_count: usize,
}

impl EmbeddedStore {
    /// Opens the store in `dir`, made where it is missing. One process at a time.
    pub async fn open(dir: impl AsRef<Path>, config: Config) -> Result<Arc<Self>, StoreError> {
        let dir = dir.as_ref().to_owned();
        let opening = tokio::task::spawn_blocking(move || open(&dir, &config));
        opening.await.map_err(|error| StoreError::Unavailable { reason: format!("opening was cut off: {error}") })?
    }

    /// Ends what is under way, then lets go of the folder. Later calls answer `Closed`.
    pub async fn close(&self) {
        let writer = self.writer.write().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        drop(writer);
        self.readers.close(self.reader_count).await;
        // An error says that the thread has ended already.
        let _ = (&mut *self.ended.lock().await).await;
    }

    /// Returns with the reason when the disk has failed: the process must end, for a later sync may only seem to work.
    pub async fn failed(&self) -> String {
        // Holds no writer: `close` must not wait for this.
        let failure = self.writer().map(|writer| writer.failure());
        let reason = match failure {
            Ok(mut failure) => failure.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone()),
            Err(_) => None,
        };
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    pub(super) async fn write<T, W>(&self, bytes: usize, work: W) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnMut(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.writer()?.write(bytes, work).await
    }

    fn writer(&self) -> Result<Arc<Writer>, StoreError> {
        self.writer.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone().ok_or(StoreError::Closed)
    }
}

fn open(dir: &Path, config: &Config) -> Result<Arc<EmbeddedStore>, StoreError> {
    std::fs::create_dir_all(dir).map_err(|error| no_folder(dir, &error))?;
    let lock = lock(dir)?;
    let file = dir.join(FILE);
    let mut connection = open_for_write(&file)?;
    schema::migrate(&mut connection, config.create)?;
    let reader_count = config.readers.max(1);
    let readers = Readers::open(&file, reader_count)?;
    let (end, ended) = oneshot::channel();
    let held = Held { _lock: lock, _end: end };
    let writer = Writer::start(connection, held).map_err(|error| no_folder(dir, &error))?;
    Ok(Arc::new(EmbeddedStore {
        readers,
        value_bytes_max: config.value_bytes_max,
        writer: RwLock::new(Some(Arc::new(writer))),
        ended: tokio::sync::Mutex::new(ended),
        reader_count,
    }))
}

/// Dropped by the writer's thread at its end, the lock before the word of it.
struct Held {
    _lock: File,
    _end: oneshot::Sender<()>,
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path: PathBuf = dir.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| no_folder(dir, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unavailable {
            reason: format!(
                "another process has the store in {} open: stop it, or choose another data folder",
                dir.display()
            ),
        }),
        Err(TryLockError::Error(error)) => Err(no_folder(dir, &error)),
    }
}

fn open_for_write(file: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open(file)?;
    connection.execute_batch(&format!(
        "PRAGMA page_size = 8192;
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = {WAL_PAGES};
         PRAGMA journal_size_limit = 134217728;
         PRAGMA cache_size = -65536;
         PRAGMA temp_store = MEMORY;
         PRAGMA busy_timeout = 5000;"
    ))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

fn no_folder(dir: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable { reason: format!("the store's folder {} can't be used: {error}", dir.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A commit that is not synced would be lost with the power, and no test of ours can cut that.
    #[test]
    fn commits_are_synced() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open_for_write(&dir.path().join(FILE)).unwrap();
        let setting = |name: &str| -> String {
            let value: rusqlite::types::Value =
                connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap();
            format!("{value:?}")
        };
        assert_eq!(setting("journal_mode"), "Text(\"wal\")");
        assert_eq!(setting("synchronous"), "Integer(2)");
    }
}
