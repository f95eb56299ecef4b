//! A store with faults.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use run_store::{
    EmbeddedStore, Results, StoreError,
    layer::ResultsLayer,
    rows::{RunWrite, ThreadRow},
};
use tokio::sync::Semaphore;

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
}

#[async_trait]
impl ResultsLayer for Faulty {
    fn inner(&self) -> Result<&dyn Results, StoreError> {
        if self.down.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable { reason: "down".to_owned() });
        }
        Ok(&*self.store)
    }

    async fn write(&self, runs: Arc<Vec<RunWrite>>) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::SeqCst);
        self.inner()?.write(runs).await
    }

    async fn thread(&self, tenant: &str, thread_id: &str) -> Result<Option<ThreadRow>, StoreError> {
        let is_first = self.threads_asked.fetch_add(1, Ordering::SeqCst) == 0;
        if let Some(gate) = self.first_thread.as_ref().filter(|_| is_first) {
            gate.acquire().await.expect("it stays open").forget();
        }
        self.inner()?.thread(tenant, thread_id).await
    }
}
