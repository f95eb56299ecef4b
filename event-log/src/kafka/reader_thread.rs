//! One poll thread for many readers: each has a partition of its own, assigned outside of any group. A reader that
//! doesn't keep up is paused alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, Thread},
    time::Duration,
};

use rdkafka::{
    Message, Offset as KafkaOffset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::{
    sync::{mpsc as events, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};

use super::{
    answers::{self, misconfigured},
    config::Config,
    context::Context,
    fetch::{Decoder, Partitions, weight},
};
use crate::{Fetched, LogError, Offset, Partition};

/// librdkafka wakes the thread when its queue fills; this is for a wake-up that got lost.
const NAP: Duration = Duration::from_millis(20);
const BATCH_RECORDS_MAX: usize = 1024;
/// A reader that has so much to take is paused, until it has taken most of it.
const BUFFERED_BYTES_MAX: usize = 4 * 1024 * 1024;
const BUFFERED_BYTES_LOW: usize = BUFFERED_BYTES_MAX / 4;
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
const SEEK_ATTEMPT: Duration = Duration::from_secs(1);

pub(super) type Batch = Result<(Vec<Fetched>, usize), LogError>;

pub(super) enum Command {
    Begin {
        topic: Arc<str>,
        partition: Partition,
        at: Offset,
        line: Line,
    },
    End {
        topic: Arc<str>,
        partition: Partition,
    },
    /// The reader has taken what it held: it may be read on for.
    Drained {
        topic: Arc<str>,
        partition: Partition,
    },
}

/// Leads to one reader.
pub(super) struct Line {
    pub batches: events::UnboundedSender<Batch>,
    pub buffered: Arc<AtomicUsize>,
}

/// Reaches a running thread.
#[derive(Clone)]
pub(super) struct Handle {
    commands: mpsc::Sender<Command>,
    thread: Thread,
}

impl Handle {
    pub fn send(&self, command: Command) -> Result<(), LogError> {
        self.commands.send(command).map_err(|_| LogError::Closed)?;
        self.thread.unpark();
        Ok(())
    }
}

/// Notes that a reader has taken a batch. Whether its thread has to hear of it.
pub(super) fn taken(buffered: &AtomicUsize, bytes: usize) -> bool {
    let before = buffered.fetch_sub(bytes, Ordering::AcqRel);
    before >= BUFFERED_BYTES_LOW && before - bytes < BUFFERED_BYTES_LOW
}

struct ReaderThread {
    consumer: BaseConsumer<Context>,
    commands: mpsc::Receiver<Command>,
    closing: CancellationToken,
    decoder: Decoder,
    read: Partitions<Read>,
}

struct Read {
    topic: Arc<str>,
    next: Offset,
    line: Line,
    paused: bool,
    /// Fetched in this round of polling.
    batch: Vec<Fetched>,
    batch_bytes: usize,
}

pub(super) async fn start(
    config: &Config,
    closing: CancellationToken,
    token: TaskTrackerToken,
) -> Result<Handle, LogError> {
    let client = config.reading();
    let (started, start) = oneshot::channel();
    let spawned = thread::Builder::new().name("kafka-readers".to_string()).spawn(move || {
        let _token = token;
        let mut consumer: BaseConsumer<Context> =
            match BaseConsumer::from_config_and_context(&client, Context::default()) {
                Ok(consumer) => consumer,
                Err(error) => return drop(started.send(Err(misconfigured(error)))),
            };
        let (me, woken) = (thread::current(), thread::current());
        consumer.set_nonempty_callback(move || woken.unpark());
        let (sender, commands) = mpsc::channel();
        if started.send(Ok(Handle { commands: sender, thread: me })).is_ok() {
            let decoder = Decoder::default();
            ReaderThread { consumer, commands, closing, decoder, read: Partitions::new() }.run();
        }
    });
    spawned.map_err(|error| LogError::Unavailable { reason: format!("no thread for kafka: {error}") })?;
    start.await.unwrap_or(Err(LogError::Closed))
}

impl ReaderThread {
    fn run(mut self) {
        while !self.closing.is_cancelled() {
            let mut busy = false;
            loop {
                match self.commands.try_recv() {
                    Ok(command) => {
                        busy = true;
                        self.follow(command);
                    }
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return self.end(),
                }
            }
            busy |= self.poll();
            if !busy {
                thread::park_timeout(NAP);
            }
        }
        self.end();
    }

    fn follow(&mut self, command: Command) {
        match command {
            Command::Begin { topic, partition, at, line } => self.begin(topic, partition, at, line),
            Command::End { topic, partition } => {
                self.read.remove(&topic, partition);
                let unassigned = self.consumer.incremental_unassign(&one(&topic, partition, None));
                if let Err(error) = unassigned {
                    tracing::warn!(kafka.error = %error, "a partition could not be let go of");
                }
            }
            Command::Drained { topic, partition } => self.resume(&topic, partition),
        }
    }

    fn begin(&mut self, topic: Arc<str>, partition: Partition, at: Offset, line: Line) {
        match self.consumer.incremental_assign(&one(&topic, partition, Some(at))) {
            Ok(()) => {
                let name = Arc::clone(&topic);
                let read = Read { topic, next: at, line, paused: false, batch: Vec::new(), batch_bytes: 0 };
                self.read.insert(&name, partition, read);
            }
            Err(error) => {
                let _ = line.batches.send(Err(self.consumer.context().unavailable("begin to read", &error)));
            }
        }
    }

    fn poll(&mut self) -> bool {
        let mut polled = 0;
        while polled < BATCH_RECORDS_MAX {
            match self.consumer.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    polled += 1;
                    let Some(read) = self.read.get_mut(message.topic(), message.partition() as Partition) else {
                        continue;
                    };
                    let fetched = self.decoder.decode(&read.topic, &message);
                    if fetched.offset >= read.next {
                        read.next = fetched.offset + 1;
                        read.batch_bytes += weight(&fetched);
                        read.batch.push(fetched);
                    }
                }
                Some(Err(error)) => {
                    self.failed(&error);
                    polled += 1;
                    break;
                }
            }
        }
        if polled > 0 {
            self.hand_out();
        }
        polled > 0
    }

    fn hand_out(&mut self) {
        for read in self.read.values_mut().filter(|read| !read.batch.is_empty()) {
            let (batch, bytes) = (std::mem::take(&mut read.batch), std::mem::take(&mut read.batch_bytes));
            let partition = batch[0].partition;
            let buffered = read.line.buffered.fetch_add(bytes, Ordering::AcqRel) + bytes;
            // A reader that is gone has sent `End`.
            let _ = read.line.batches.send(Ok((batch, bytes)));
            if buffered > BUFFERED_BYTES_MAX && !read.paused {
                read.paused = true;
                if let Err(error) = self.consumer.pause(&one(&read.topic, partition, None)) {
                    tracing::warn!(kafka.error = %error, "a partition could not be paused");
                }
            }
        }
    }

    fn resume(&mut self, topic: &str, partition: Partition) {
        let Some(read) = self.read.get_mut(topic, partition) else { return };
        if !std::mem::take(&mut read.paused) {
            return;
        }
        let resumed = self.consumer.resume(&one(topic, partition, None));
        let sought = resumed.and_then(|()| seek(&self.consumer, topic, partition, read.next));
        if let Err(error) = sought {
            let _ = read.line.batches.send(Err(self.consumer.context().unavailable("read on", &error)));
        }
    }

    /// librdkafka doesn't say which partition it means, so each is looked at.
    fn failed(&mut self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        if !matches!(code, Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)) {
            tracing::warn!(kafka.error = %error, "readers met an error that passes");
            return;
        }
        for (topic, partition, read) in self.read.iter() {
            let Ok((start, end)) = answers::watermarks(&self.consumer, topic, partition as i32) else { continue };
            if read.next < start || read.next > end {
                let (topic, offset) = (topic.to_string(), read.next);
                let _ = read.line.batches.send(Err(LogError::OutOfRange { topic, partition, offset, start, end }));
            }
        }
    }

    fn end(self) {
        self.consumer.context().leaving.store(true, Ordering::SeqCst);
    }
}

fn seek(consumer: &BaseConsumer<Context>, topic: &str, partition: Partition, offset: Offset) -> Result<(), KafkaError> {
    let deadline = Instant::now() + SEEK_TIMEOUT;
    loop {
        match consumer.seek(topic, partition as i32, KafkaOffset::Offset(offset as i64), SEEK_ATTEMPT) {
            Err(_) if Instant::now() < deadline => thread::park_timeout(Duration::from_millis(5)),
            sought => return sought,
        }
    }
}

fn one(topic: &str, partition: Partition, at: Option<Offset>) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(1);
    let mut part = list.add_partition(topic, partition as i32);
    if let Some(at) = at
        && let Err(error) = part.set_offset(KafkaOffset::Offset(at as i64))
    {
        tracing::warn!(kafka.error = %error, "an offset is beyond what kafka counts to");
    }
    list
}
