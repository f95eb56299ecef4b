//! From librdkafka's messages to ours, and the bytes that are handed out but not yet taken.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::Thread,
};

use bytes::{Bytes, BytesMut};
use rdkafka::{
    Message,
    message::{BorrowedMessage, Headers as _},
};

use crate::{Fetched, Headers, Partition, Record};

/// Names of headers repeat with every record: at most so many are kept to be shared.
const HEADER_NAMES_MAX: usize = 256;
/// What a record takes beside its bytes.
const RECORD_OVERHEAD_BYTES: usize = 128;

/// Something for each of some partitions.
pub(super) struct Partitions<T>(BTreeMap<Arc<str>, BTreeMap<Partition, T>>);

impl<T> Partitions<T> {
    pub fn new() -> Self {
        Partitions(BTreeMap::new())
    }

    pub fn get(&self, topic: &str, partition: Partition) -> Option<&T> {
        self.0.get(topic)?.get(&partition)
    }

    pub fn get_mut(&mut self, topic: &str, partition: Partition) -> Option<&mut T> {
        self.0.get_mut(topic)?.get_mut(&partition)
    }

    pub fn insert(&mut self, topic: &Arc<str>, partition: Partition, value: T) {
        self.0.entry(Arc::clone(topic)).or_default().insert(partition, value);
    }

    pub fn remove(&mut self, topic: &str, partition: Partition) -> Option<T> {
        self.0.get_mut(topic)?.remove(&partition)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Partition, &T)> {
        self.0.iter().flat_map(|(topic, parts)| parts.iter().map(move |(part, value)| (topic, *part, value)))
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut().flat_map(BTreeMap::values_mut)
    }
}

/// Copies messages out of librdkafka's buffers.
#[derive(Default)]
pub(super) struct Decoder {
    header_names: BTreeSet<Arc<str>>,
}

impl Decoder {
    pub fn decode(&mut self, topic: &Arc<str>, message: &BorrowedMessage<'_>) -> Fetched {
        let (key, payload) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
        // One buffer for both: records are many and small.
        let mut bytes = BytesMut::with_capacity(key.len() + payload.len());
        bytes.extend_from_slice(key);
        let key = bytes.split().freeze();
        bytes.extend_from_slice(payload);
        Fetched {
            topic: Arc::clone(topic),
            partition: message.partition() as Partition,
            offset: message.offset().max(0) as u64,
            timestamp: message.timestamp().to_millis().unwrap_or(0),
            record: Record { key, headers: self.headers(message), payload: bytes.freeze(), local: None },
        }
    }

    fn headers(&mut self, message: &BorrowedMessage<'_>) -> Headers {
        let mut headers = Headers::default();
        let Some(found) = message.headers() else { return headers };
        for index in 0..found.count() {
            // A name that isn't UTF-8 panics in rdkafka. Anyone may write one to a topic, and it must stall nobody.
            let Ok(header) = catch_unwind(AssertUnwindSafe(|| found.get(index))) else { continue };
            headers.push(self.name(header.key), Bytes::copy_from_slice(header.value.unwrap_or_default()));
        }
        headers
    }

    fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.header_names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        if self.header_names.len() < HEADER_NAMES_MAX {
            self.header_names.insert(Arc::clone(&name));
        }
        name
    }
}

/// What a record counts in a budget.
pub(super) fn weight(fetched: &Fetched) -> usize {
    fetched.record.size() + RECORD_OVERHEAD_BYTES
}

/// Bounds what a poll thread has handed out and nobody has taken.
pub(super) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub fn new(max: usize) -> Self {
        Budget { used: AtomicUsize::new(0), max: max.max(1) }
    }

    pub fn has_room(&self) -> bool {
        self.used.load(Ordering::Acquire) < self.max
    }

    pub fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::AcqRel);
    }

    /// Wakes the poll thread where it may go on.
    pub fn give_back(&self, bytes: usize, waiting: &Thread) {
        let before = self.used.fetch_sub(bytes, Ordering::AcqRel);
        if before >= self.max && before - bytes < self.max {
            waiting.unpark();
        }
    }
}
