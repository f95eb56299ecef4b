//! Lists, updates, checkpoints and usage with a flaw.

use std::sync::Arc;

use async_trait::async_trait;
use graph::envelope::Key;
use run_store::{
    Results, StoreError,
    layer::ResultsLayer,
    rows::{CheckpointRow, Page, PageRequest, RunFilter, RunRow, RunWrite, UpdateRow},
};
use uuid::Uuid;

use super::{BrokenStore, Flaw};

/// More than a write of the store beneath takes.
const YIELDS: usize = 20;

#[async_trait]
impl ResultsLayer for BrokenStore {
    fn inner(&self) -> Result<&dyn Results, StoreError> {
        Ok(&*self.inner)
    }

    async fn write(&self, runs: Arc<Vec<RunWrite>>) -> Result<(), StoreError> {
        let mut runs = Arc::unwrap_or_clone(runs);
        self.remembered.lock().unwrap().tenants.extend(runs.iter().map(|run| run.tenant.clone()));
        match self.flaw {
            Some(Flaw::UsageCountedTwice) => {
                for call in runs.iter_mut().flat_map(|run| &mut run.usage) {
                    call.call_id = format!("{}-{}", call.call_id, self.count());
                }
            }
            Some(Flaw::OlderViewWins) => {
                runs.iter_mut().flat_map(|run| &mut run.run).for_each(|row| row.position = self.last_position());
            }
            Some(Flaw::UpdatesBeforeTheRest) => {
                let mut updates = runs.clone();
                updates.iter_mut().for_each(|run| {
                    (run.run, run.thread, run.checkpoints) = (None, None, Vec::new());
                });
                self.inner.write(updates.into()).await?;
                // Whoever stops here sees them alone, however quick the rest would be.
                for _ in 0..YIELDS {
                    tokio::task::yield_now().await;
                }
            }
            Some(Flaw::HalfABatchWritten) if runs.len() > 1 => runs.truncate(runs.len() / 2),
            _ => {}
        }
        self.inner.write(runs.into()).await
    }

    async fn updates(&self, tenant: &str, run_id: Uuid, after: u64, limit: u32) -> Result<Vec<UpdateRow>, StoreError> {
        let mut rows = self.inner.updates(tenant, run_id, after, limit).await?;
        if self.is(Flaw::UpdatesBackwards) {
            rows.reverse();
        }
        Ok(rows)
    }

    async fn runs(&self, tenant: &str, filter: &RunFilter, page: &PageRequest) -> Result<Page<RunRow>, StoreError> {
        if self.is(Flaw::CursorTakenByAnyList) && page.cursor.is_some() {
            return self.inner.runs(tenant, filter, &PageRequest { cursor: None, ..page.clone() }).await;
        }
        let mut found = self.inner.runs(tenant, filter, page).await?;
        match self.flaw {
            Some(Flaw::PageCutShort) if found.cursor.is_some() => drop(found.rows.pop()),
            Some(Flaw::PageRepeatsARow) => {
                if let (Some(_), Some(last)) = (&page.cursor, found.rows.first().cloned()) {
                    found.rows.insert(0, last);
                    found.rows.truncate(page.limit as usize);
                }
            }
            Some(Flaw::ListIgnoresTenant) => {
                let others = self.remembered.lock().unwrap().tenants.clone();
                for other in others.iter().filter(|other| *other != tenant) {
                    found.rows.extend(self.inner.runs(other, filter, page).await?.rows);
                }
            }
            _ => {}
        }
        Ok(found)
    }

    async fn checkpoints(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        let before =
            if self.is(Flaw::BeforeIsIncluded) { before.map(|id| Uuid::from_u128(id.as_u128() + 1)) } else { before };
        self.inner.checkpoints(owner, ns, before, limit).await
    }
}
