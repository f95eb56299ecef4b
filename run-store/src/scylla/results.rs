//! What became of runs: rows first, then the lists that name them, many at a time.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use graph::envelope::{Key, Millis};
use uuid::Uuid;

use super::{ScyllaStore, connect::IN_FLIGHT_MAX, states::position};
use crate::{
    contract::Results,
    error::StoreError,
    metrics::observe,
    rows::{
        CheckpointRow, Page, PageRequest, RunFilter, RunRow, RunWrite, ThreadFilter, ThreadRow, UpdateRow, UsageBy,
        UsageSum,
    },
    stored::{check_sizes, status},
};

/// Runs of one call that are written at the same time; each has a few statements under way.
const RUNS_IN_FLIGHT_MAX: usize = IN_FLIGHT_MAX / 4;

#[async_trait]
impl Results for ScyllaStore {
    async fn write(&self, runs: Arc<Vec<RunWrite>>) -> Result<(), StoreError> {
        observe("write", self.write_all(&runs)).await
    }

    async fn run(&self, tenant: &str, run_id: Uuid) -> Result<Option<RunRow>, StoreError> {
        observe("run", self.find_run(tenant, run_id)).await
    }

    async fn updates(&self, tenant: &str, run_id: Uuid, after: u64, limit: u32) -> Result<Vec<UpdateRow>, StoreError> {
        observe("updates", self.find_updates(tenant, run_id, after, limit)).await
    }

    async fn runs(&self, tenant: &str, filter: &RunFilter, page: &PageRequest) -> Result<Page<RunRow>, StoreError> {
        observe("runs", self.find_runs(tenant, filter, page)).await
    }

    async fn thread(&self, tenant: &str, thread_id: &str) -> Result<Option<ThreadRow>, StoreError> {
        observe("thread", self.find_thread(tenant, thread_id)).await
    }

    async fn threads(
        &self,
        tenant: &str,
        filter: &ThreadFilter,
        page: &PageRequest,
    ) -> Result<Page<ThreadRow>, StoreError> {
        observe("threads", self.find_threads(tenant, filter, page)).await
    }

    async fn checkpoints(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        observe("checkpoints", self.find_checkpoints_before(owner, ns, before, limit)).await
    }

    async fn checkpoint(&self, owner: &Key, ns: &str, id: Uuid) -> Result<Option<CheckpointRow>, StoreError> {
        observe("checkpoint", self.find_checkpoint(owner, ns, id)).await
    }

    async fn usage(
        &self,
        tenant: &str,
        by: &[UsageBy],
        since: Millis,
        until: Millis,
    ) -> Result<Vec<UsageSum>, StoreError> {
        observe("usage", self.sum_usage(tenant, by, since, until)).await
    }

    async fn spenders(&self) -> Result<Vec<String>, StoreError> {
        observe("spenders", self.find_spenders()).await
    }
}

impl ScyllaStore {
    async fn write_all(&self, runs: &[RunWrite]) -> Result<(), StoreError> {
        check_sizes(runs, self.cell_bytes_max)?;
        stream::iter(runs.iter().map(Ok))
            .try_for_each_concurrent(RUNS_IN_FLIGHT_MAX, |run| self.write_all_but_updates(run))
            .await?;
        // Threads apart: several runs of a call may bring the same one, and the servers would mix equal positions.
        stream::iter(newest_threads(runs).into_iter().map(Ok))
            .try_for_each_concurrent(RUNS_IN_FLIGHT_MAX, |row| async move {
                self.put_thread(row).await?;
                self.list_thread(row).await
            })
            .await?;
        // Whoever reads the log again after a crash writes nothing for an update that is here.
        stream::iter(runs.iter().map(Ok))
            .try_for_each_concurrent(RUNS_IN_FLIGHT_MAX, |run| self.put_updates(&run.tenant, run.run_id, &run.updates))
            .await
    }

    async fn write_all_but_updates(&self, write: &RunWrite) -> Result<(), StoreError> {
        let RunWrite { tenant: _, run_id: _, updates: _, run, thread: _, checkpoints, usage } = write;
        let run = async {
            let Some(row) = run else { return Ok(()) };
            self.put_run(row).await?;
            self.list_run(row).await
        };
        let usage = async {
            for row in usage {
                self.put_usage(row).await?;
            }
            Ok(())
        };
        tokio::try_join!(run, self.put_checkpoints(checkpoints), usage)?;
        Ok(())
    }

    async fn put_run(&self, row: &RunRow) -> Result<(), StoreError> {
        let RunRow {
            tenant,
            run_id,
            position,
            thread_id,
            user,
            graph,
            graph_hash,
            status,
            created_at,
            updated_at,
            number,
            view,
        } = row;
        let values = (
            tenant,
            run_id.as_bytes().as_slice(),
            position.as_u64() as i64,
            thread_id,
            user,
            graph,
            graph_hash,
            status.as_str(),
            created_at,
            updated_at,
            *number as i64,
            view.as_ref(),
            position.write_timestamp(),
        );
        self.execute(&self.statements.put_run, values).await
    }

    pub(super) async fn find_run(&self, tenant: &str, run_id: Uuid) -> Result<Option<RunRow>, StoreError> {
        type Found = (i64, Option<String>, Option<String>, String, String, String, i64, i64, i64, Option<Bytes>);
        let key = (tenant, run_id.as_bytes().as_slice());
        let found: Option<Found> = self.first(&self.statements.find_run, key).await?;
        let Some((raw, thread_id, user, graph, graph_hash, word, created_at, updated_at, number, view)) = found else {
            return Ok(None);
        };
        Ok(Some(RunRow {
            tenant: tenant.to_owned(),
            run_id,
            position: position(raw),
            thread_id,
            user,
            graph,
            graph_hash,
            status: status(&word)?,
            created_at,
            updated_at,
            number: number as u64,
            view: view.unwrap_or_default(),
        }))
    }
}

/// Each thread once, at its highest position; at equal ones the last of the call.
fn newest_threads(runs: &[RunWrite]) -> Vec<&ThreadRow> {
    let mut newest: BTreeMap<(&str, &str), &ThreadRow> = BTreeMap::new();
    for row in runs.iter().filter_map(|run| run.thread.as_ref()) {
        let known = newest.entry((&row.tenant, &row.thread_id)).or_insert(row);
        if known.position <= row.position {
            *known = row;
        }
    }
    newest.into_values().collect()
}
