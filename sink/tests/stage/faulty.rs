//! A store with faults.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use graph::envelope::{Key, Millis};
use run_store::{
    EmbeddedStore, Results, StoreError,
    rows::{
        CheckpointRow, Page, PageRequest, RunFilter, RunRow, RunWrite, ThreadFilter, ThreadRow, UpdateRow, UsageBy,
        UsageSum,
    },
};
use tokio::sync::Semaphore;
use uuid::Uuid;

/// A store that can't be reached for a while, is slow once, and counts what it is asked.
pub struct Faulty {
    pub store: Arc<dyn Results>,
    pub down: Arc<AtomicBool>,
    pub writes: Arc<AtomicUsize>,
    pub threads_asked: Arc<AtomicUsize>,
    /// The first to ask for a thread waits here.
    pub first_thread: Option<Arc<Semaphore>>,
}

impl Faulty {
    /// Without a fault.
    pub fn new(store: &Arc<EmbeddedStore>) -> Self {
        Faulty {
            store: Arc::clone(store) as Arc<dyn Results>,
            down: Arc::default(),
            writes: Arc::default(),
            threads_asked: Arc::default(),
            first_thread: None,
        }
    }

    fn up(&self) -> Result<&dyn Results, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { reason: "down".to_owned() });
        }
        Ok(&*self.store)
    }
}

#[async_trait]
impl Results for Faulty {
    async fn write(&self, runs: Arc<Vec<RunWrite>>) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.up()?.write(runs).await
    }
    async fn run(&self, tenant: &str, run_id: Uuid) -> Result<Option<RunRow>, StoreError> {
        self.up()?.run(tenant, run_id).await
    }
    async fn updates(&self, tenant: &str, run: Uuid, after: u64, limit: u32) -> Result<Vec<UpdateRow>, StoreError> {
        self.up()?.updates(tenant, run, after, limit).await
    }
    async fn runs(&self, tenant: &str, filter: &RunFilter, page: &PageRequest) -> Result<Page<RunRow>, StoreError> {
        self.up()?.runs(tenant, filter, page).await
    }
    async fn thread(&self, tenant: &str, thread_id: &str) -> Result<Option<ThreadRow>, StoreError> {
        let is_first = self.threads_asked.fetch_add(1, Ordering::SeqCst) == 0;
        if let Some(gate) = self.first_thread.as_ref().filter(|_| is_first) {
            gate.acquire().await.expect("it stays open").forget();
        }
        self.up()?.thread(tenant, thread_id).await
    }
    async fn threads(
        &self,
        tenant: &str,
        filter: &ThreadFilter,
        page: &PageRequest,
    ) -> Result<Page<ThreadRow>, StoreError> {
        self.up()?.threads(tenant, filter, page).await
    }
    async fn checkpoints(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        self.up()?.checkpoints(owner, ns, before, limit).await
    }
    async fn checkpoint(&self, owner: &Key, ns: &str, id: Uuid) -> Result<Option<CheckpointRow>, StoreError> {
        self.up()?.checkpoint(owner, ns, id).await
    }
    async fn usage(
        &self,
        tenant: &str,
        by: &[UsageBy],
        since: Millis,
        until: Millis,
    ) -> Result<Vec<UsageSum>, StoreError> {
        self.up()?.usage(tenant, by, since, until).await
    }
}
