//! What became of runs: a write's rows in one transaction, and the reads by id.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use graph::envelope::{Key, Millis};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{
    EmbeddedStore, checkpoints,
    lists::{self, RUN_COLUMNS, THREAD_COLUMNS, run_row, thread_row},
    states::stored,
    usage,
};
use crate::{
    contract::Results,
    error::StoreError,
    metrics::observe,
    packed::{UpdatesAfter, pack_updates},
    rows::{
        CheckpointRow, Page, PageRequest, RunFilter, RunRow, RunWrite, ThreadFilter, ThreadRow, UpdateRow, UsageBy,
        UsageSum,
    },
    stored::check_sizes,
};

#[async_trait]
impl Results for EmbeddedStore {
    async fn write(&self, runs: Arc<Vec<RunWrite>>) -> Result<(), StoreError> {
        check_sizes(&runs, self.value_bytes_max)?;
        let bytes = runs.iter().map(size_of).sum();
        let write = self.write(bytes, move |connection| runs.iter().try_for_each(|run| put(connection, run)));
        observe("write", write).await
    }

    async fn run(&self, tenant: &str, run_id: Uuid) -> Result<Option<RunRow>, StoreError> {
        let tenant = tenant.to_owned();
        observe("run", self.readers.read(move |connection| run(connection, &tenant, run_id))).await
    }

    async fn updates(&self, tenant: &str, run_id: Uuid, after: u64, limit: u32) -> Result<Vec<UpdateRow>, StoreError> {
        let tenant = tenant.to_owned();
        observe("updates", self.readers.read(move |connection| updates(connection, &tenant, run_id, after, limit)))
            .await
    }

    async fn runs(&self, tenant: &str, filter: &RunFilter, page: &PageRequest) -> Result<Page<RunRow>, StoreError> {
        let (tenant, filter, page) = (tenant.to_owned(), filter.clone(), page.clone());
        observe("runs", self.readers.read(move |connection| lists::runs(connection, tenant, &filter, &page))).await
    }

    async fn thread(&self, tenant: &str, thread_id: &str) -> Result<Option<ThreadRow>, StoreError> {
        let (tenant, thread_id) = (tenant.to_owned(), thread_id.to_owned());
        observe("thread", self.readers.read(move |connection| thread(connection, &tenant, &thread_id))).await
    }

    async fn threads(
        &self,
        tenant: &str,
        filter: &ThreadFilter,
        page: &PageRequest,
    ) -> Result<Page<ThreadRow>, StoreError> {
        let (tenant, filter, page) = (tenant.to_owned(), filter.clone(), page.clone());
        observe("threads", self.readers.read(move |connection| lists::threads(connection, tenant, &filter, &page)))
            .await
    }

    async fn checkpoints(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<CheckpointRow>, StoreError> {
        let (owner, ns) = (owner.clone(), ns.to_owned());
        let read = self.readers.read(move |connection| checkpoints::before(connection, &owner, &ns, before, limit));
        observe("checkpoints", read).await
    }

    async fn checkpoint(&self, owner: &Key, ns: &str, id: Uuid) -> Result<Option<CheckpointRow>, StoreError> {
        let (owner, ns) = (owner.clone(), ns.to_owned());
        observe("checkpoint", self.readers.read(move |connection| checkpoints::find(connection, &owner, &ns, id))).await
    }

    async fn usage(
        &self,
        tenant: &str,
        by: &[UsageBy],
        since: Millis,
        until: Millis,
    ) -> Result<Vec<UsageSum>, StoreError> {
        let (tenant, by) = (tenant.to_owned(), by.to_vec());
        observe("usage", self.readers.read(move |connection| usage::sum(connection, tenant, &by, since, until))).await
    }

    async fn spenders(&self) -> Result<Vec<String>, StoreError> {
        observe("spenders", self.readers.read(usage::spenders)).await
    }
}

fn size_of(run: &RunWrite) -> usize {
    let updates: usize = run.updates.iter().map(|row| row.update.len()).sum();
    let checkpoints: usize = run.checkpoints.iter().map(|row| row.checkpoint.len()).sum();
    let views = run.run.as_ref().map_or(0, |row| row.view.len()) + run.thread.as_ref().map_or(0, |row| row.view.len());
    updates + checkpoints + views
}

fn put(connection: &Connection, write: &RunWrite) -> Result<(), StoreError> {
    let RunWrite { tenant, run_id, updates, run, thread, checkpoints, usage } = write;
    put_updates(connection, tenant, *run_id, updates)?;
    run.iter().try_for_each(|row| put_run(connection, row))?;
    thread.iter().try_for_each(|row| put_thread(connection, row))?;
    checkpoints::put(connection, checkpoints)?;
    usage.iter().try_for_each(|row| usage::put(connection, row))
}

fn put_updates(connection: &Connection, tenant: &str, run_id: Uuid, rows: &[UpdateRow]) -> Result<(), StoreError> {
    for row in pack_updates(rows) {
        // Updates never change, so the longer of two pieces holds the shorter one.
        connection
            .prepare_cached(
                "INSERT INTO updates (tenant, run_id, first, last, packed) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (tenant, run_id, first) DO UPDATE SET last = excluded.last, packed = excluded.packed
                 WHERE excluded.last > last",
            )?
            .execute(params![tenant, run_id.as_bytes(), row.first as i64, row.last as i64, row.bytes])?;
    }
    Ok(())
}

fn put_run(connection: &Connection, row: &RunRow) -> Result<(), StoreError> {
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
    // Whose run it is, on which thread and graph, never changes: their indexes are left alone.
    connection
        .prepare_cached(
            "INSERT INTO runs (tenant, run_id, position, thread_id, user, graph, graph_hash, status, created_at,
                 updated_at, number, view)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
             ON CONFLICT (tenant, run_id) DO UPDATE SET
                 position = excluded.position, status = excluded.status, created_at = excluded.created_at,
                 updated_at = excluded.updated_at, number = excluded.number, view = excluded.view
             WHERE excluded.position >= position",
        )?
        .execute(params![
            tenant,
            run_id.as_bytes(),
            stored(*position),
            thread_id,
            user,
            graph,
            graph_hash,
            status.as_str(),
            created_at,
            updated_at,
            *number as i64,
            view.as_ref()
        ])?;
    Ok(())
}

fn put_thread(connection: &Connection, row: &ThreadRow) -> Result<(), StoreError> {
    let ThreadRow { tenant, thread_id, position, user, graph, created_at, updated_at, view } = row;
    connection
        .prepare_cached(
            "INSERT INTO threads (tenant, thread_id, position, user, graph, created_at, updated_at, view)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (tenant, thread_id) DO UPDATE SET
                 position = excluded.position, user = excluded.user, graph = excluded.graph,
                 created_at = excluded.created_at, updated_at = excluded.updated_at, view = excluded.view
             WHERE excluded.position >= position",
        )?
        .execute(params![tenant, thread_id, stored(*position), user, graph, created_at, updated_at, view.as_ref()])?;
    Ok(())
}

fn run(connection: &Connection, tenant: &str, run_id: Uuid) -> Result<Option<RunRow>, StoreError> {
    let mut query =
        connection.prepare_cached(&format!("SELECT {RUN_COLUMNS} FROM runs WHERE tenant = ?1 AND run_id = ?2"))?;
    let mut rows = query.query(params![tenant, run_id.as_bytes()])?;
    rows.next()?.map(run_row).transpose()
}

fn thread(connection: &Connection, tenant: &str, thread_id: &str) -> Result<Option<ThreadRow>, StoreError> {
    let mut query = connection
        .prepare_cached(&format!("SELECT {THREAD_COLUMNS} FROM threads WHERE tenant = ?1 AND thread_id = ?2"))?;
    let mut rows = query.query([tenant, thread_id])?;
    rows.next()?.map(thread_row).transpose()
}

fn updates(
    connection: &Connection,
    tenant: &str,
    run_id: Uuid,
    after: u64,
    limit: u32,
) -> Result<Vec<UpdateRow>, StoreError> {
    let mut query = connection.prepare_cached(
        "SELECT first, packed FROM updates WHERE tenant = ?1 AND run_id = ?2 AND last > ?3 ORDER BY first",
    )?;
    let mut rows = query.query(params![tenant, run_id.as_bytes(), i64::try_from(after).unwrap_or(i64::MAX)])?;
    let mut gathered = UpdatesAfter::new(after, limit);
    while let Some(row) = rows.next()? {
        if gathered.is_full(row.get::<_, i64>(0)? as u64) {
            break;
        }
        gathered.add(Bytes::from(row.get::<_, Vec<u8>>(1)?))?;
    }
    Ok(gathered.finish())
}
