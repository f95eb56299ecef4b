//! A record, as it is appended and as it is read.

use std::{any::Any, borrow::Cow, cell::RefCell, fmt, ops::Deref, sync::Arc};

use bytes::Bytes;

pub type Partition = u32;
/// Counts the records of one partition from 0.
pub type Offset = u64;

/// The parsed form of a payload, handed over as it is between stages of one process. Never stored.
pub type Local = Arc<dyn Any + Send + Sync>;

/// What is appended.
#[derive(Clone, Default)]
pub struct Record {
    pub key: Bytes,
    pub headers: Headers,
    pub payload: Bytes,
    pub local: Option<Local>,
}

impl Record {
    pub fn new(key: impl Into<Bytes>, payload: impl Into<Bytes>) -> Self {
        Record { key: key.into(), headers: Headers::default(), payload: payload.into(), local: None }
    }

    /// Key, headers and payload: what the size limit counts.
    pub fn size(&self) -> usize {
        self.key.len()
            + self.payload.len()
            + self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key)
            .field("headers", &self.headers)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

/// Names and values in the order given; a name may repeat. A clone shares them, so handing a record on is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<Header>>>);

pub(crate) type Header = (HeaderName, Bytes);

/// A header's name: those that this binary writes cost no allocation.
#[derive(Clone, Debug)]
pub enum HeaderName {
    Known(&'static str),
    Read(Arc<str>),
}

impl Deref for HeaderName {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            HeaderName::Known(name) => name,
            HeaderName::Read(name) => name,
        }
    }
}

impl PartialEq for HeaderName {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for HeaderName {}

impl From<&'static str> for HeaderName {
    fn from(name: &'static str) -> Self {
        HeaderName::Known(name)
    }
}

impl From<Arc<str>> for HeaderName {
    fn from(name: Arc<str>) -> Self {
        HeaderName::Read(name)
    }
}

impl Headers {
    pub fn push(&mut self, name: impl Into<HeaderName>, value: impl Into<Bytes>) {
        Arc::make_mut(self.0.get_or_insert_default()).push((name.into(), value.into()));
    }

    /// The last value of that name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.pairs().iter().rev().find(|(known, _)| &**known == name).map(|(_, value)| value.as_ref())
    }

    pub fn get_str(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.pairs().iter().map(|(name, value)| (&**name, value))
    }

    pub fn len(&self) -> usize {
        self.pairs().len()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs().is_empty()
    }

    pub(crate) fn pairs(&self) -> &[Header] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

/// Where an appended record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub partition: Partition,
    pub offset: Offset,
}

/// What is read.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub topic: Arc<str>,
    pub partition: Partition,
    pub offset: Offset,
    /// When the log took it, in milliseconds since the epoch.
    pub timestamp: i64,
    pub record: Record,
}

impl Record {
    /// A record whose payload is `value` as JSON, and which hands `value` itself to readers in this process.
    ///
    /// # Panics
    /// Where `value` has no JSON form (a map with keys that are no strings): a mistake in the type.
    pub fn json<T>(
        key: impl Into<Bytes>,
        headers: impl IntoIterator<Item = (&'static str, Cow<'static, str>)>,
        value: Arc<T>,
    ) -> Self
    where
        T: serde::Serialize + Send + Sync + 'static,
    {
        let headers = headers.into_iter().map(|(name, text)| {
            let value = match text {
                Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
                Cow::Owned(text) => Bytes::from(text),
            };
            (name.into(), value)
        });
        Record {
            key: key.into(),
            headers: Headers(Some(Arc::new(headers.collect()))),
            payload: to_json(&*value),
            local: Some(value),
        }
    }

    /// Another text in place of the value's own. Readers parse it, and the value itself is handed to nobody: what a log
    /// keeps in memory is bounded by the bytes of its records.
    pub fn replace_payload(&mut self, payload: impl Into<Bytes>) {
        self.payload = payload.into();
        self.local = None;
    }
}

/// What a thread's buffer for [`to_json`] may keep between two uses.
const BUFFER_BYTES_MAX: usize = 256 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// `value` as JSON, in an allocation of exactly its size. A vector that grows as it is written is moved several times,
/// and would hold up to twice what it needs for as long as the record stays in memory.
///
/// # Panics
/// Where `value` has no JSON form (a map with keys that are no strings): a mistake in the type.
pub fn to_json<T: serde::Serialize + ?Sized>(value: &T) -> Bytes {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        serde_json::to_writer(&mut *buffer, value).expect("the type has a JSON form");
        let json = Bytes::copy_from_slice(buffer);
        if buffer.capacity() > BUFFER_BYTES_MAX {
            *buffer = Vec::new();
        }
        json
    })
}

impl Fetched {
    /// The payload as a `T`: the writer's own value where it was handed over, else parsed from JSON.
    pub fn json<T>(&self) -> Result<Arc<T>, serde_json::Error>
    where
        T: serde::de::DeserializeOwned + Send + Sync + 'static,
    {
        if let Some(local) = &self.record.local
            && let Ok(value) = Arc::clone(local).downcast::<T>()
        {
            return Ok(value);
        }
        serde_json::from_slice(&self.record.payload).map(Arc::new)
    }
}
