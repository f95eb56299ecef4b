//! A file of every change to a ledger, a line each. A line is with the system before its caller goes on, so that a killed
//! process loses none; a machine that loses its power may lose those of its last second.

use std::{
    borrow::Cow,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread,
};

use graph::envelope::Millis;
use serde::{Deserialize, Serialize};

use crate::{
    amount::Amount,
    ledger::{Ask, Ledger},
};

/// Where the file is written anew as what its lines came to, unless that is more than its lines.
const LINES_BYTES_MAX: u64 = 16 * 1024 * 1024;
const SYNC_EVERY_MS: Millis = 1_000;

/// The layout of a line. Frozen.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry<'a> {
    /// All that was before.
    Ledger(Cow<'a, Ledger>),
    Reserved {
        ask: Cow<'a, Ask>,
        at: Millis,
    },
    Renewed {
        ask: Cow<'a, Ask>,
        at: Millis,
    },
    Settled {
        ask: Cow<'a, Ask>,
        spent: Amount,
        at: Millis,
    },
}

impl<'a> Entry<'a> {
    pub fn reserved(ask: &'a Ask, at: Millis) -> Self {
        Entry::Reserved { ask: Cow::Borrowed(ask), at }
    }

    pub fn renewed(ask: &'a Ask, at: Millis) -> Self {
        Entry::Renewed { ask: Cow::Borrowed(ask), at }
    }

    pub fn settled(ask: &'a Ask, spent: Amount, at: Millis) -> Self {
        Entry::Settled { ask: Cow::Borrowed(ask), spent, at }
    }

    pub fn apply(&self, ledger: &mut Ledger) {
        match self {
            Entry::Ledger(known) => *ledger = Ledger::clone(known),
            Entry::Reserved { ask, at } => ledger.hold(ask, *at),
            Entry::Renewed { ask, at } => ledger.renew(ask, *at),
            Entry::Settled { ask, spent, at } => ledger.settle(ask, *spent, *at),
        }
    }

    fn at(&self) -> Millis {
        match self {
            Entry::Ledger(_) => 0,
            Entry::Reserved { at, .. } | Entry::Renewed { at, .. } | Entry::Settled { at, .. } => *at,
        }
    }
}

pub struct Journal {
    path: PathBuf,
    file: File,
    /// What the lines came to when the file was begun.
    bytes_before: u64,
    bytes: u64,
    synced_at: Millis,
    /// Who writes a line doesn't wait for the disk, nor does anybody who waits for the lock meanwhile.
    sync: SyncSender<()>,
}

impl Journal {
    /// The ledger that the file's lines come to. The last line may be cut off: its caller was never answered.
    pub fn open(path: &Path) -> std::io::Result<(Ledger, Journal)> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut ledger = Ledger::default();
        if path.exists() {
            let mut lines = BufReader::new(File::open(path)?).split(b'\n').peekable();
            while let Some(line) = lines.next() {
                match serde_json::from_slice::<Entry<'_>>(&line?) {
                    Ok(entry) => entry.apply(&mut ledger),
                    Err(_) if lines.peek().is_none() => {}
                    Err(error) => return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, error)),
                }
            }
        }
        let journal = Journal::begin(path, &ledger)?;
        Ok((ledger, journal))
    }

    /// Begins the file with the ledger as it is; the one before stays until the new one is whole.
    fn begin(path: &Path, ledger: &Ledger) -> std::io::Result<Self> {
        let new = path.with_extension("new");
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).open(&new)?;
        let bytes_before = write_line(&mut file, &Entry::Ledger(Cow::Borrowed(ledger)))?;
        file.sync_data()?;
        fs::rename(&new, path)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        let sync = syncing(file.try_clone()?)?;
        Ok(Journal { path: path.to_owned(), file, bytes_before, bytes: 0, synced_at: 0, sync })
    }

    /// Adds a line to what came to `ledger`.
    pub fn write(&mut self, entry: &Entry<'_>, ledger: &Ledger) -> std::io::Result<()> {
        if self.bytes > LINES_BYTES_MAX.max(self.bytes_before) {
            *self = Journal::begin(&self.path, ledger)?;
        }
        // Behind half a line none can stand: after a failure the file is begun anew.
        let before = std::mem::replace(&mut self.bytes, u64::MAX);
        self.bytes = before + write_line(&mut self.file, entry)?;
        if entry.at() >= self.synced_at.saturating_add(SYNC_EVERY_MS) {
            self.synced_at = entry.at();
            if let Err(TrySendError::Disconnected(())) = self.sync.try_send(()) {
                self.bytes = u64::MAX;
                return Err(std::io::Error::other("the disk did not take it"));
            }
        }
        Ok(())
    }
}

/// A thread that syncs the file whenever it is told to, until that fails or the journal is gone.
fn syncing(file: File) -> std::io::Result<SyncSender<()>> {
    let (sync, told) = sync_channel(1);
    thread::Builder::new().name("budget-journal".to_owned()).spawn(move || {
        while told.recv().is_ok() {
            if let Err(error) = file.sync_data() {
                return tracing::error!(%error, "the journal of budgets can't be synced");
            }
        }
    })?;
    Ok(sync)
}

fn write_line(file: &mut File, entry: &Entry<'_>) -> std::io::Result<u64> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    file.write_all(&line)?;
    Ok(line.len() as u64)
}
