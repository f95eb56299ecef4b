//! Writes and reads the values that a record or row names, many at a time. What they mean nobody here knows.

use std::{collections::BTreeMap, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use graph::envelope::Key;
use tokio::time::Instant;

use crate::{contract::Blobs, error::StoreError};

/// How long a value that the store doesn't have is asked for: a slow replica may yet show it.
pub const MISSING_AFTER: Duration = Duration::from_secs(10);

/// The name under which a thread's owner keeps what was said of it when it was made; no content hash looks like it.
pub const THREAD_BLOB: &str = "thread";

/// Frozen: a longer value stands in the store as several blobs.
const PIECE_BYTES: usize = 8 * 1024 * 1024;
/// Reads or writes of one call that are under way at a time.
const IN_FLIGHT_MAX: usize = 8;
const ASK_AGAIN_FIRST: Duration = Duration::from_millis(20);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(1);

/// Values by content hash.
pub type Values = BTreeMap<String, Bytes>;

/// The store answers, and doesn't have a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store has no value {hash} of {owner}", owner = owner.as_str())]
pub struct ValueMissing {
    pub owner: Key,
    pub hash: String,
}

/// Why values could not be read at once.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    #[error(transparent)]
    Missing(ValueMissing),
    #[error(transparent)]
    Store(StoreError),
}

/// Writes all, also those that are there: a collector may be about to remove them. Durable when it returns.
pub async fn put_values(blobs: &dyn Blobs, owner: &Key, values: &Values) -> Result<(), StoreError> {
    let pieces = values.iter().flat_map(|(hash, value)| {
        names(hash, value.len() as u64).enumerate().map(move |(n, name)| {
            let piece = n * PIECE_BYTES..value.len().min((n + 1) * PIECE_BYTES);
            (name, value.slice(piece))
        })
    });
    let puts = pieces.map(|(name, piece)| async move { blobs.put_blob(owner, &name, piece).await });
    stream::iter(puts.collect::<Vec<_>>()).map(Ok).try_for_each_concurrent(IN_FLIGHT_MAX, |put| put).await
}

/// Writes all, however long the store is away.
pub async fn put_values_until_taken(blobs: &dyn Blobs, owner: &Key, values: &Values) {
    let mut again = ASK_AGAIN_FIRST;
    while let Err(error) = put_values(blobs, owner, values).await {
        tracing::warn!(owner = owner.as_str(), %error, "values can't be stored, trying again");
        pause(&mut again).await;
    }
}

/// Reads all, once. `wanted` is hash and length of each.
pub async fn find_values(
    blobs: &dyn Blobs,
    owner: &Key,
    wanted: impl IntoIterator<Item = (&str, u64)>,
) -> Result<Values, FindError> {
    let finds = wanted.into_iter().map(|(hash, bytes)| find(blobs, owner, hash, bytes));
    stream::iter(finds.collect::<Vec<_>>()).buffer_unordered(IN_FLIGHT_MAX).try_collect().await
}

/// Reads all: waits for a store that is away, and no longer than [`MISSING_AFTER`] for a value that it doesn't have.
pub async fn await_values(
    blobs: &dyn Blobs,
    owner: &Key,
    wanted: &BTreeMap<&str, u64>,
) -> Result<Values, ValueMissing> {
    let mut again = ASK_AGAIN_FIRST;
    let mut missing_since = None;
    loop {
        match find_values(blobs, owner, wanted.iter().map(|(hash, bytes)| (*hash, *bytes))).await {
            Ok(values) => return Ok(values),
            Err(FindError::Missing(missing)) => {
                if missing_since.get_or_insert_with(Instant::now).elapsed() >= MISSING_AFTER {
                    return Err(missing);
                }
            }
            Err(FindError::Store(error)) => {
                // What an absent store doesn't show is not missing.
                missing_since = None;
                tracing::warn!(owner = owner.as_str(), %error, "values can't be read, asking again");
            }
        }
        pause(&mut again).await;
    }
}

async fn find(blobs: &dyn Blobs, owner: &Key, hash: &str, bytes: u64) -> Result<(String, Bytes), FindError> {
    let missing = || FindError::Missing(ValueMissing { owner: owner.clone(), hash: hash.to_owned() });
    let mut pieces = Vec::new();
    for name in names(hash, bytes) {
        let piece = blobs.blob(owner, &name).await.map_err(FindError::Store)?;
        pieces.push(piece.ok_or_else(missing)?);
    }
    let value = match <[Bytes; 1]>::try_from(pieces) {
        Ok([whole]) => whole,
        Err(pieces) => {
            let mut value = BytesMut::with_capacity(bytes as usize);
            pieces.iter().for_each(|piece| value.extend_from_slice(piece));
            value.freeze()
        }
    };
    let same = value.len() as u64 == bytes && *blake3::hash(&value).to_hex() == *hash;
    // Damaged bytes are as good as none.
    if same { Ok((hash.to_owned(), value)) } else { Err(missing()) }
}

/// Under which names a value's pieces stand: its hash, where it is one piece.
fn names(hash: &str, bytes: u64) -> impl Iterator<Item = String> {
    let pieces = bytes.div_ceil(PIECE_BYTES as u64).max(1);
    let hash = hash.to_owned();
    (0..pieces).map(move |n| if pieces == 1 { hash.clone() } else { format!("{hash}.{n}") })
}

async fn pause(again: &mut Duration) {
    tokio::time::sleep(*again).await;
    *again = (*again * 2).min(ASK_AGAIN_MAX);
}
