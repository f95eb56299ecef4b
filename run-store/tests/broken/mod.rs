//! Stores with one flaw each, around a sound one.

mod archive;
mod items;
mod results;
mod states;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use graph::envelope::{Key, Millis};
use run_store::{
    Blobs, Claims, Keys, Meta, Position, RunStore, Specs, StoreError,
    conformance::Harness,
    rows::{Claim, Claimed, KeyRow, SecretHash, Sleeper, SpecRow, StateRow},
};

use crate::embedded_harness::EmbeddedHarness;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    OlderStateWins,
    TombstonesDropped,
    StatesLostAtReopen,
    SleepersNeverLeave,
    CoveredGoesBack,
    ClaimGivenTwice,
    SetOnceTakesTheLast,
    KeysChangedUnseen,
    KeysStay,
    LastPublishCallWins,
    BlobsSharedByOwners,
    PageCutShort,
    PageRepeatsARow,
    CursorTakenByAnyList,
    ListIgnoresTenant,
    OlderViewWins,
    UpdatesBackwards,
    UsageCountedTwice,
    BeforeIsIncluded,
    HalfABatchWritten,
    UpdatesBeforeTheRest,
    LastArchivedCounts,
    OneArchiveForAll,
    HistoryOutlivesItsThread,
    DeletedForEver,
    ItemsByTheLettersOfLabels,
    ItemsShared,
    ItemsNeverEnd,
    RefreshWritesWhatWasRead,
    DeletesAreForgotten,
    UndoneRunsLeaveHistory,
    PruningTakesTheLatest,
    PruningForgetsSubgraphs,
    PruningTakesNamedValues,
    PruningTakesYoungValues,
}

pub struct BrokenStore {
    inner: Arc<dyn RunStore>,
    flaw: Option<Flaw>,
    counter: AtomicU64,
    remembered: Mutex<Remembered>,
}

/// What a flaw keeps in memory.
#[derive(Default)]
struct Remembered {
    states: BTreeMap<Key, StateRow>,
    sleepers: Vec<Sleeper>,
    covered: BTreeMap<u32, Position>,
    tenants: Vec<String>,
}

impl BrokenStore {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn count(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// A position above all that the cases use: whoever writes last wins.
    fn last_position(&self) -> Position {
        Position::from_u64((700 << 40) + self.count())
    }
}

pub struct BrokenHarness {
    inner: EmbeddedHarness,
    flaw: Option<Flaw>,
}

impl BrokenHarness {
    pub fn new(flaw: Option<Flaw>) -> Self {
        BrokenHarness { inner: EmbeddedHarness::new(), flaw }
    }

    fn wrap(&self, inner: Arc<dyn RunStore>) -> Arc<dyn RunStore> {
        Arc::new(BrokenStore { inner, flaw: self.flaw, counter: AtomicU64::new(1), remembered: Mutex::default() })
    }
}

#[async_trait]
impl Harness for BrokenHarness {
    async fn open(&self) -> Result<Arc<dyn RunStore>, StoreError> {
        Ok(self.wrap(self.inner.open().await?))
    }

    async fn reopen(&self) -> Result<Arc<dyn RunStore>, StoreError> {
        Ok(self.wrap(self.inner.reopen().await?))
    }

    async fn forget(&self, now: Millis) -> Result<(), StoreError> {
        self.inner.forget(now).await
    }

    fn unique(&self) -> u64 {
        self.inner.unique()
    }
}

#[async_trait]
impl Claims for BrokenStore {
    async fn claim(&self, claim: &Claim, now: Millis) -> Result<Claimed, StoreError> {
        let answer = self.inner.claim(claim, now).await?;
        Ok(if self.is(Flaw::ClaimGivenTwice) { Claimed::New } else { answer })
    }
}

#[async_trait]
impl Keys for BrokenStore {
    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.inner.keys().await
    }

    async fn put_key(&self, row: &KeyRow, seen: Option<&SecretHash>) -> Result<bool, StoreError> {
        if self.is(Flaw::KeysChangedUnseen) {
            self.inner.delete_key(&row.name).await?;
            return self.inner.put_key(row, None).await;
        }
        self.inner.put_key(row, seen).await
    }

    async fn delete_key(&self, name: &str) -> Result<bool, StoreError> {
        if self.is(Flaw::KeysStay) { Ok(true) } else { self.inner.delete_key(name).await }
    }
}

#[async_trait]
impl Meta for BrokenStore {
    async fn set_once(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let held = self.inner.set_once(name, value).await?;
        Ok(if self.is(Flaw::SetOnceTakesTheLast) { value.to_owned() } else { held })
    }

    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.inner.meta(name).await
    }
}

#[async_trait]
impl Specs for BrokenStore {
    async fn put_spec(&self, row: &SpecRow) -> Result<(), StoreError> {
        self.inner.put_spec(row).await
    }

    async fn spec(&self, hash: &str) -> Result<Option<SpecRow>, StoreError> {
        self.inner.spec(hash).await
    }

    async fn publish(&self, name: &str, hash: &str, at: Millis) -> Result<(), StoreError> {
        let at = if self.is(Flaw::LastPublishCallWins) { 3_000_000_000_000 + self.count() as Millis } else { at };
        self.inner.publish(name, hash, at).await
    }

    async fn current(&self) -> Result<Vec<SpecRow>, StoreError> {
        self.inner.current().await
    }

    async fn current_of(&self, name: &str) -> Result<Option<SpecRow>, StoreError> {
        self.inner.current_of(name).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<SpecRow>, StoreError> {
        self.inner.versions(name).await
    }
}

#[async_trait]
impl Blobs for BrokenStore {
    async fn put_blob(&self, owner: &Key, hash: &str, value: Bytes) -> Result<(), StoreError> {
        self.inner.put_blob(&self.owner(owner), hash, value).await
    }

    async fn blob(&self, owner: &Key, hash: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.blob(&self.owner(owner), hash).await
    }
}

impl BrokenStore {
    fn owner(&self, owner: &Key) -> Key {
        if self.is(Flaw::BlobsSharedByOwners) { Key("everyone".into()) } else { owner.clone() }
    }
}
