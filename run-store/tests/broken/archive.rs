//! An archive that a replay can't rely on, and deletes that take too little or too much.

use std::collections::BTreeSet;

use async_trait::async_trait;
use graph::envelope::{Key, Millis};
use run_store::{
    Archive, Deletes, Position, StoreError,
    rows::{ArchivedRow, KeptValues, RunWrite},
};
use uuid::Uuid;

use super::{BrokenStore, Flaw};

#[async_trait]
impl Archive for BrokenStore {
    async fn put_archived(&self, rows: &[ArchivedRow]) -> Result<(), StoreError> {
        let rows: Vec<_> = rows.iter().map(|row| ArchivedRow { ns: self.ns(&row.ns), ..row.clone() }).collect();
        self.inner.put_archived(&rows).await
    }

    async fn archived(
        &self,
        owner: &Key,
        ns: &str,
        id: Uuid,
        below: Position,
    ) -> Result<Option<ArchivedRow>, StoreError> {
        self.inner.archived(owner, &self.ns(ns), id, self.below(below)).await
    }

    async fn archived_before(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        below: Position,
        limit: u32,
    ) -> Result<Vec<ArchivedRow>, StoreError> {
        self.inner.archived_before(owner, &self.ns(ns), before, self.below(below), limit).await
    }
}

#[async_trait]
impl Deletes for BrokenStore {
    async fn delete_thread(&self, tenant: &str, thread_id: &str, at: Position) -> Result<(), StoreError> {
        let key = Key::thread(tenant, thread_id);
        let history = self.inner.checkpoints(&key, "", None, 100).await?;
        let at = if self.is(Flaw::DeletedForEver) { self.last_position() } else { at };
        self.inner.delete_thread(tenant, thread_id, at).await?;
        match history.first().filter(|_| self.is(Flaw::HistoryOutlivesItsThread)) {
            Some(first) => {
                let run_id = first.run_id;
                let write = RunWrite { tenant: tenant.to_owned(), run_id, checkpoints: history, ..RunWrite::default() };
                self.inner.write(vec![write].into()).await
            }
            None => Ok(()),
        }
    }

    async fn delete_run(&self, tenant: &str, thread_id: &str, run_id: Uuid, at: Position) -> Result<(), StoreError> {
        let key = Key::thread(tenant, thread_id);
        let mut history = self.inner.checkpoints(&key, "", None, 100).await?;
        self.inner.delete_run(tenant, thread_id, run_id, at).await?;
        if !self.is(Flaw::UndoneRunsLeaveHistory) {
            return Ok(());
        }
        history.retain(|row| row.run_id == run_id);
        let write = RunWrite { tenant: tenant.to_owned(), run_id, checkpoints: history, ..RunWrite::default() };
        self.inner.write(vec![write].into()).await
    }

    async fn prune_thread(
        &self,
        tenant: &str,
        thread_id: &str,
        at: Position,
        kept: &KeptValues,
    ) -> Result<(), StoreError> {
        let at = if self.is(Flaw::PruningTakesTheLatest) { Position::from_u64(at.as_u64() + 1) } else { at };
        let kept = match self.flaw {
            Some(Flaw::PruningTakesNamedValues) => KeptValues { named: BTreeSet::new(), ..kept.clone() },
            Some(Flaw::PruningTakesYoungValues) => KeptValues { written_before: Millis::MAX / 4_000, ..kept.clone() },
            _ => kept.clone(),
        };
        let key = Key::thread(tenant, thread_id);
        let history = self.inner.checkpoints(&key, "child:1", None, 100).await?;
        self.inner.prune_thread(tenant, thread_id, at, &kept).await?;
        match history.first().filter(|_| self.is(Flaw::PruningForgetsSubgraphs)) {
            Some(first) => {
                let run_id = first.run_id;
                let write = RunWrite { tenant: tenant.to_owned(), run_id, checkpoints: history, ..RunWrite::default() };
                self.inner.write(vec![write].into()).await
            }
            None => Ok(()),
        }
    }

    async fn deleted(&self, tenant: &str, thread_id: &str) -> Result<Option<Position>, StoreError> {
        if self.is(Flaw::DeletesAreForgotten) { Ok(None) } else { self.inner.deleted(tenant, thread_id).await }
    }
}

impl BrokenStore {
    fn ns(&self, ns: &str) -> String {
        if self.is(Flaw::OneArchiveForAll) { String::new() } else { ns.to_owned() }
    }

    fn below(&self, below: Position) -> Position {
        if self.is(Flaw::LastArchivedCounts) { self.last_position() } else { below }
    }
}
