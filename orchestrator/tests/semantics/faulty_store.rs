//! A store that can't be reached now and then, before a write or after it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use graph::envelope::Key;
use run_store::{
    Archive, Blobs, EmbeddedStore, Position, States, StoreError,
    rows::{ArchivedRow, Sleeper, StateRow},
};
use uuid::Uuid;

pub struct FaultyStore {
    pub inner: Arc<EmbeddedStore>,
    /// Every so many calls fail; none where 0.
    every: u64,
    calls: AtomicU64,
    refused: AtomicU64,
    /// No state is taken.
    pub takes_no_states: AtomicBool,
}

impl FaultyStore {
    pub fn new(inner: Arc<EmbeddedStore>, every: u64) -> Self {
        FaultyStore {
            inner,
            every,
            calls: AtomicU64::new(1),
            refused: AtomicU64::new(0),
            takes_no_states: AtomicBool::new(false),
        }
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn reach(&self) -> Result<(), StoreError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.every == 0 || !call.is_multiple_of(self.every) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Err(StoreError::Unavailable { reason: "the test says so".to_owned() })
    }
}

#[async_trait]
impl States for FaultyStore {
    async fn state(&self, partition: u32, key: &Key) -> Result<Option<StateRow>, StoreError> {
        self.reach()?;
        self.inner.state(partition, key).await
    }

    async fn put_states(&self, rows: &[StateRow]) -> Result<(), StoreError> {
        if self.takes_no_states.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable { reason: "the test says so".to_owned() });
        }
        self.inner.put_states(rows).await?;
        self.reach()
    }

    async fn sleepers(&self, partition: u32) -> Result<Vec<Sleeper>, StoreError> {
        self.inner.sleepers(partition).await
    }

    async fn covered(&self, partition: u32) -> Result<Option<Position>, StoreError> {
        self.inner.covered(partition).await
    }

    async fn set_covered(&self, partition: u32, position: Position) -> Result<(), StoreError> {
        self.inner.set_covered(partition, position).await
    }
}

#[async_trait]
impl Archive for FaultyStore {
    async fn put_archived(&self, rows: &[ArchivedRow]) -> Result<(), StoreError> {
        self.inner.put_archived(rows).await?;
        self.reach()
    }

    async fn archived(
        &self,
        owner: &Key,
        ns: &str,
        id: Uuid,
        below: Position,
    ) -> Result<Option<ArchivedRow>, StoreError> {
        self.reach()?;
        self.inner.archived(owner, ns, id, below).await
    }

    async fn archived_before(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        below: Position,
        limit: u32,
    ) -> Result<Vec<ArchivedRow>, StoreError> {
        self.reach()?;
        self.inner.archived_before(owner, ns, before, below, limit).await
    }
}

#[async_trait]
impl Blobs for FaultyStore {
    async fn put_blob(&self, owner: &Key, hash: &str, value: Bytes) -> Result<(), StoreError> {
        self.reach()?;
        self.inner.put_blob(owner, hash, value).await
    }

    async fn blob(&self, owner: &Key, hash: &str) -> Result<Option<Bytes>, StoreError> {
        self.reach()?;
        self.inner.blob(owner, hash).await
    }
}
