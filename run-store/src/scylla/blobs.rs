//! Immutable values by owner and content hash, cut into pieces that a server takes.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{TryStreamExt, stream};
use graph::envelope::Key;

use super::ScyllaStore;
use crate::{contract::Blobs, error::StoreError, metrics::observe, stored::check_size};

/// Frozen: a blob that is written again must be cut at the same places.
const PIECE_BYTES: usize = 1024 * 1024;
/// Pieces of one blob that are written at the same time.
const PIECES_IN_FLIGHT_MAX: usize = 4;

#[async_trait]
impl Blobs for ScyllaStore {
    async fn put_blob(&self, owner: &Key, hash: &str, value: Bytes) -> Result<(), StoreError> {
        let put = async {
            check_size(&value, self.value_bytes_max)?;
            let total = value.len() as i32;
            self.execute(&self.statements.put_blob_of, (owner.as_str(), hash)).await?;
            let piece =
                |n: usize| value.slice((n * PIECE_BYTES).min(value.len())..((n + 1) * PIECE_BYTES).min(value.len()));
            let later = 1..value.len().div_ceil(PIECE_BYTES).max(1);
            stream::iter(later.map(Ok))
                .try_for_each_concurrent(PIECES_IN_FLIGHT_MAX, |n| {
                    let bytes = piece(n);
                    async move {
                        let values = (owner.as_str(), hash, n as i32, total, bytes.as_ref());
                        self.execute(&self.statements.put_blob, values).await
                    }
                })
                .await?;
            // Who sees the first piece may rely on the others.
            let first = piece(0);
            self.execute(&self.statements.put_blob, (owner.as_str(), hash, 0_i32, total, first.as_ref())).await
        };
        observe("put_blob", put).await
    }

    async fn blob(&self, owner: &Key, hash: &str) -> Result<Option<Bytes>, StoreError> {
        let read = async {
            let pieces: Vec<(i32, i32, Option<Bytes>)> =
                self.all(&self.statements.find_blob, (owner.as_str(), hash)).await?;
            Ok(joined(pieces))
        };
        observe("blob", read).await
    }
}

/// None where a piece is missing: the blob is being written, or being forgotten.
fn joined(pieces: Vec<(i32, i32, Option<Bytes>)>) -> Option<Bytes> {
    let (_, total, _) = *pieces.first()?;
    let mut value = BytesMut::with_capacity(total as usize);
    for (expected, (n, _, bytes)) in (0..).zip(pieces) {
        if n != expected {
            return None;
        }
        value.extend_from_slice(&bytes.unwrap_or_default());
    }
    (value.len() == total as usize).then(|| value.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_piece_is_a_missing_blob() {
        let piece = |n, text: &'static str| (n, 4, Some(Bytes::from_static(text.as_bytes())));
        assert_eq!(joined(vec![piece(0, "ab"), piece(1, "cd")]).as_deref(), Some(b"abcd".as_slice()));
        for broken in [vec![], vec![piece(1, "cd")], vec![piece(0, "ab")], vec![piece(0, "ab"), piece(2, "cd")]] {
            assert_eq!(joined(broken), None);
        }
    }
}
