//! The embedded store as the suite opens it: one folder, closed and opened again where a case asks for a restart.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use run_store::{EmbeddedStore, RunStore, StoreError, conformance::Harness, embedded::Config};
use tokio::sync::Mutex;

pub struct EmbeddedHarness {
    dir: tempfile::TempDir,
    open: Mutex<Option<Arc<EmbeddedStore>>>,
    next: AtomicU64,
}

impl EmbeddedHarness {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder for the store");
        EmbeddedHarness { dir, open: Mutex::new(None), next: AtomicU64::new(1) }
    }

    async fn store(&self) -> Result<Arc<EmbeddedStore>, StoreError> {
        let mut open = self.open.lock().await;
        match open.as_ref() {
            Some(store) => Ok(store.clone()),
            None => {
                let store = EmbeddedStore::open(self.dir.path(), Config::default()).await?;
                *open = Some(store.clone());
                Ok(store)
            }
        }
    }
}

#[async_trait]
impl Harness for EmbeddedHarness {
    async fn open(&self) -> Result<Arc<dyn RunStore>, StoreError> {
        Ok(self.store().await?)
    }

    async fn reopen(&self) -> Result<Arc<dyn RunStore>, StoreError> {
        if let Some(store) = self.open.lock().await.take() {
            store.close().await;
        }
        Ok(self.store().await?)
    }

    async fn forget(&self, now: i64) -> Result<(), StoreError> {
        self.store().await?.sweep(now).await.map(drop)
    }

    fn unique(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}
