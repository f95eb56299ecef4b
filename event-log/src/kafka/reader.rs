//! Readers of single partitions, which share as few poll threads as they can.

use std::sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize};

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    answers::Answers,
    config::Config,
    reader_thread::{self, Batch, Command, Handle, Line, taken},
};
use crate::{Fetched, LogError, Partition, Reader, Start};

/// All readers of a log.
pub(super) struct Readers {
    config: Config,
    answers: Arc<Answers>,
    closing: CancellationToken,
    threads: TaskTracker,
    shared: tokio::sync::Mutex<Vec<Shared>>,
}

/// What a thread reads for some reader.
type Taken = Arc<Mutex<Vec<(Arc<str>, Partition)>>>;

/// A thread, and what is read by it: a partition is assigned to a client once.
struct Shared {
    handle: Handle,
    taken: Taken,
}

struct PartitionReader {
    topic: Arc<str>,
    partition: Partition,
    handle: Handle,
    taken: Taken,
    batches: mpsc::UnboundedReceiver<Batch>,
    buffered: Arc<AtomicUsize>,
    closing: CancellationToken,
}

impl Readers {
    pub fn new(config: Config, answers: Arc<Answers>, closing: CancellationToken, threads: TaskTracker) -> Self {
        Readers { config, answers, closing, threads, shared: tokio::sync::Mutex::default() }
    }

    pub async fn read(
        &self,
        topic: &str,
        partition: Partition,
        start: Start,
    ) -> Result<impl Reader + 'static, LogError> {
        let (oldest, end) = self.answers.bounds(topic, partition).await?;
        let at = match start {
            Start::Earliest => oldest,
            Start::Tail => end,
            Start::At(offset) if (oldest..=end).contains(&offset) => offset,
            Start::At(offset) => {
                return Err(LogError::OutOfRange { topic: topic.to_string(), partition, offset, start: oldest, end });
            }
        };
        let topic: Arc<str> = topic.into();
        let (handle, taken) = self.thread_for(&topic, partition).await?;
        let (sender, batches) = mpsc::unbounded_channel();
        let buffered = Arc::new(AtomicUsize::new(0));
        let line = Line { batches: sender, buffered: Arc::clone(&buffered) };
        handle.send(Command::Begin { topic: Arc::clone(&topic), partition, at, line })?;
        Ok(PartitionReader { topic, partition, handle, taken, batches, buffered, closing: self.closing.clone() })
    }

    /// A thread that doesn't read the partition yet.
    async fn thread_for(&self, topic: &Arc<str>, partition: Partition) -> Result<(Handle, Taken), LogError> {
        let wanted = (Arc::clone(topic), partition);
        let mut shared = self.shared.lock().await;
        for thread in shared.iter() {
            let mut taken = thread.taken.lock().unwrap_or_else(PoisonError::into_inner);
            if !taken.contains(&wanted) {
                taken.push(wanted);
                return Ok((thread.handle.clone(), Arc::clone(&thread.taken)));
            }
        }
        let handle = reader_thread::start(&self.config, self.closing.clone(), self.threads.token()).await?;
        let taken = Arc::new(Mutex::new(vec![wanted]));
        shared.push(Shared { handle: handle.clone(), taken: Arc::clone(&taken) });
        Ok((handle, taken))
    }
}

#[async_trait]
impl Reader for PartitionReader {
    async fn next(&mut self) -> Result<Vec<Fetched>, LogError> {
        let batch = tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(LogError::Closed),
            batch = self.batches.recv() => batch.ok_or(LogError::Closed)?,
        };
        let (records, bytes) = batch?;
        if taken(&self.buffered, bytes) {
            self.handle.send(Command::Drained { topic: Arc::clone(&self.topic), partition: self.partition })?;
        }
        Ok(records)
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        // Ended before it is free again: another reader's beginning comes after it.
        let _ = self.handle.send(Command::End { topic: Arc::clone(&self.topic), partition: self.partition });
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.retain(|(topic, partition)| (topic, *partition) != (&self.topic, self.partition));
    }
}
