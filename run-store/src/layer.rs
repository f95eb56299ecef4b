//! A store around another that differs in a few calls: what a layer doesn't say goes on to what it stands around. Tests make
//! stores that fail of them.

use std::sync::Arc;

use async_trait::async_trait;
use graph::envelope::{Key, Millis};
use uuid::Uuid;

use crate::{
    contract::Results,
    error::StoreError,
    rows::{
        CheckpointRow, Page, PageRequest, RunFilter, RunRow, RunWrite, ThreadFilter, ThreadRow, UpdateRow, UsageBy,
        UsageSum,
    },
};

/// [`Results`] around others.
#[async_trait]
pub trait ResultsLayer: Send + Sync + 'static {
    /// An error where they can't be reached now.
    fn inner(&self) -> Result<&dyn Results, StoreError>;

    async fn write(&self, runs: Arc<Vec<RunWrite>>) -> Result<(), StoreError> {
        self.inner()?.write(runs).await
    }

    async fn updates(&self, tenant: &str, run_id: Uuid, after: u64, limit: u32) -> Result<Vec<UpdateRow>, StoreError> {
        self.inner()?.updates(tenant, run_id, after, limit).await
    }

    async fn runs(&self, tenant: &str, filter: &RunFilter, page: &PageRequest) -> Result<Page<RunRow>, StoreError> {
        self.inner()?.runs(tenant, filter, page).await
    }

    async fn thread(&self, tenant: &str, thread_id: &str) -> Result<Option<ThreadRow>, StoreError> {
        self.inner()?.thread(tenant, thread_id).await
    }

    async fn checkpoints(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        self.inner()?.checkpoints(owner, ns, before, limit).await
    }
}

#[async_trait]
impl<L: ResultsLayer> Results for L {
    async fn write(&self, runs: Arc<Vec<RunWrite>>) -> Result<(), StoreError> {
        ResultsLayer::write(self, runs).await
    }

    async fn run(&self, tenant: &str, run_id: Uuid) -> Result<Option<RunRow>, StoreError> {
        self.inner()?.run(tenant, run_id).await
    }

    async fn updates(&self, tenant: &str, run_id: Uuid, after: u64, limit: u32) -> Result<Vec<UpdateRow>, StoreError> {
        ResultsLayer::updates(self, tenant, run_id, after, limit).await
    }

    async fn runs(&self, tenant: &str, filter: &RunFilter, page: &PageRequest) -> Result<Page<RunRow>, StoreError> {
        ResultsLayer::runs(self, tenant, filter, page).await
    }

    async fn thread(&self, tenant: &str, thread_id: &str) -> Result<Option<ThreadRow>, StoreError> {
        ResultsLayer::thread(self, tenant, thread_id).await
    }

    async fn threads(
        &self,
        tenant: &str,
        filter: &ThreadFilter,
        page: &PageRequest,
    ) -> Result<Page<ThreadRow>, StoreError> {
        self.inner()?.threads(tenant, filter, page).await
    }

    async fn checkpoints(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        ResultsLayer::checkpoints(self, owner, ns, before, limit).await
    }

    async fn checkpoint(&self, owner: &Key, ns: &str, id: Uuid) -> Result<Option<CheckpointRow>, StoreError> {
        self.inner()?.checkpoint(owner, ns, id).await
    }

    async fn usage(
        &self,
        tenant: &str,
        by: &[UsageBy],
        since: Millis,
        until: Millis,
    ) -> Result<Vec<UsageSum>, StoreError> {
        self.inner()?.usage(tenant, by, since, until).await
    }

    async fn spenders(&self) -> Result<Vec<String>, StoreError> {
        self.inner()?.spenders().await
    }
}
