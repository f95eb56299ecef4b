//! Checkpoints: packed as they arrive, read newest first. Which pieces there are is read first, as their spans.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use graph::envelope::Key;
use uuid::Uuid;

use super::ScyllaStore;
use crate::{
    error::StoreError,
    packed::{CheckpointsBefore, pack_checkpoints, unpack_checkpoints},
    rows::CheckpointRow,
    stored::uuid,
};

/// Pieces that are read ahead of what the page turns out to need.
const PIECES_AHEAD: usize = 8;

pub(super) struct Span {
    pub last: Uuid,
    pub first: Uuid,
    pub n: i32,
}

impl ScyllaStore {
    pub(super) async fn put_checkpoints(&self, rows: &[CheckpointRow]) -> Result<(), StoreError> {
        for row in pack_checkpoints(rows) {
            let (last, first) = (row.last.as_bytes().as_slice(), row.first.as_bytes().as_slice());
            // First: who deletes the thread must find what stands there.
            if !row.ns.is_empty() {
                self.execute(&self.statements.put_namespace, (row.owner.as_str(), row.ns)).await?;
            }
            let values = (row.owner.as_str(), row.ns, last, first, row.count as i32, row.tenant, row.bytes);
            self.execute(&self.statements.put_checkpoints, values).await?;
        }
        Ok(())
    }

    pub(super) async fn find_checkpoints_before(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        let bound = before.unwrap_or(Uuid::max());
        let spans = self.spans(owner, ns).await?.into_iter().filter(|span| span.first < bound);
        let mut pieces = stream::iter(spans)
            .map(|span| async move { Ok::<_, StoreError>((span.last, self.piece(owner, ns, &span).await?)) })
            .buffered(PIECES_AHEAD);
        let mut gathered = CheckpointsBefore::new(before, limit);
        while let Some((last, rows)) = pieces.try_next().await? {
            if gathered.is_full(last) {
                break;
            }
            gathered.add(rows);
        }
        Ok(gathered.finish())
    }

    pub(super) async fn find_checkpoint(
        &self,
        owner: &Key,
        ns: &str,
        id: Uuid,
    ) -> Result<Option<CheckpointRow>, StoreError> {
        let spans = self.spans(owner, ns).await?;
        let mut newest: Option<CheckpointRow> = None;
        for span in spans.iter().filter(|span| span.first <= id && id <= span.last) {
            let rows = self.piece(owner, ns, span).await?;
            let found = rows.into_iter().find(|row| row.checkpoint_id == id);
            newest = newest.into_iter().chain(found).max_by_key(|row| row.position);
        }
        Ok(newest)
    }

    /// In descending order of the last id.
    pub(super) async fn spans(&self, owner: &Key, ns: &str) -> Result<Vec<Span>, StoreError> {
        let found: Vec<(Vec<u8>, Vec<u8>, i32)> =
            self.all(&self.statements.find_checkpoint_spans, (owner.as_str(), ns)).await?;
        found.into_iter().map(|(last, first, n)| Ok(Span { last: uuid(&last)?, first: uuid(&first)?, n })).collect()
    }

    pub(super) async fn piece(&self, owner: &Key, ns: &str, span: &Span) -> Result<Vec<CheckpointRow>, StoreError> {
        let (last, first) = (span.last.as_bytes().as_slice(), span.first.as_bytes().as_slice());
        let key = (owner.as_str(), ns, last, first, span.n);
        let found: Option<(String, Bytes)> = self.first(&self.statements.find_checkpoints, key).await?;
        let Some((tenant, packed)) = found else { return Ok(Vec::new()) };
        unpack_checkpoints(packed, &tenant, owner, ns)
    }
}
