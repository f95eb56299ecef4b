//! One partition as one reader follows it: from memory at the tail, from disk behind it.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::{
    Notify,
    oneshot::{self, error::TryRecvError},
};

use super::{
    config::BATCH_BYTES_MAX,
    jobs::Jobs,
    partition::{PartitionLog, View},
    reads::{Page, Read},
    status::{Failure, Status},
};
use crate::{
    error::LogError,
    record::{Fetched, Offset},
};

pub(super) struct Feed {
    pub(super) log: Arc<PartitionLog>,
    /// The next offset to hand over.
    position: Offset,
    buffer: VecDeque<Fetched>,
    /// Where reading goes on when the buffer is empty.
    read_to: Offset,
    fetch: Option<oneshot::Receiver<Result<Page, Failure>>>,
    wake: Arc<Notify>,
}

/// What a feed reads by.
#[derive(Clone)]
pub(super) struct Source {
    pub(super) reads: Arc<Jobs<Read>>,
    pub(super) status: Arc<Status>,
}

/// How much a feed may hand over.
#[derive(Clone, Copy)]
pub(super) struct Quota {
    pub(super) records: usize,
    pub(super) bytes: usize,
    /// Whether a read from disk may begin.
    pub(super) fetch: bool,
}

impl Feed {
    pub(super) fn new(log: Arc<PartitionLog>, position: Offset, wake: &Arc<Notify>) -> Self {
        log.watch(wake);
        let wake = Arc::clone(wake);
        Feed { log, position, buffer: VecDeque::new(), read_to: position, fetch: None, wake }
    }

    pub(super) fn seek(&mut self, offset: Offset) {
        self.position = offset;
        self.forget();
    }

    /// Lets go of what was read ahead; it will be read again.
    pub(super) fn forget(&mut self) {
        self.buffer.clear();
        self.fetch = None;
        self.read_to = self.position;
    }

    /// Whether bytes were read, or are being read, ahead of what was handed over.
    pub(super) fn is_ahead(&self) -> bool {
        self.fetch.is_some() || !self.buffer.is_empty()
    }

    /// Adds to `out` what is at hand. Where that is nothing, the notify is woken when there may be something.
    pub(super) fn take(&mut self, source: &Source, quota: Quota, out: &mut Vec<Fetched>) -> Result<(), LogError> {
        let before = out.len();
        while out.len() == before {
            if !self.buffer.is_empty() {
                self.drain(quota, out);
                return Ok(());
            }
            if !self.receive(source)? {
                return Ok(());
            }
            if !self.buffer.is_empty() {
                continue;
            }
            self.position = self.read_to;
            match self.log.view(self.position, quota.records, quota.bytes, out)? {
                View::Tail => {}
                View::Caught => return Ok(()),
                View::Skip(start) => self.seek(start),
                View::Behind { .. } if !quota.fetch => return Ok(()),
                View::Behind { place, below } => {
                    let (reply, fetch) = oneshot::channel();
                    let (log, wake) = (Arc::clone(&self.log), Arc::clone(&self.wake));
                    let bytes_max = BATCH_BYTES_MAX;
                    let read = Read { log, place, from: self.position, below, bytes_max, reply, wake };
                    if !source.reads.push(read) {
                        return Err(LogError::Closed);
                    }
                    self.fetch = Some(fetch);
                    return Ok(());
                }
            }
        }
        if let Some(last) = out.last() {
            self.position = last.offset + 1;
            self.read_to = self.position;
        }
        Ok(())
    }

    fn drain(&mut self, quota: Quota, out: &mut Vec<Fetched>) {
        let mut bytes = 0;
        for _ in 0..quota.records {
            let Some(record) = self.buffer.pop_front() else { break };
            bytes += record.record.size();
            self.position = record.offset + 1;
            out.push(record);
            if bytes >= quota.bytes {
                break;
            }
        }
        if self.buffer.is_empty() {
            self.position = self.read_to;
        }
    }

    /// False while a read is under way.
    fn receive(&mut self, source: &Source) -> Result<bool, LogError> {
        let Some(fetch) = &mut self.fetch else { return Ok(true) };
        let page = match fetch.try_recv() {
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Closed) => Err(LogError::Closed),
            Ok(page) => Ok(page),
        };
        self.fetch = None;
        match page? {
            Ok(page) => {
                self.read_to = page.next;
                self.buffer = page.records.into();
                Ok(true)
            }
            // Retention may have removed the segment meanwhile; looking again then says so.
            Err(_) if self.log.bounds().0 > self.position => Ok(true),
            Err(failure) => {
                source.status.fail(failure.clone());
                Err(failure.error())
            }
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.log.unwatch(&self.wake);
    }
}
