//! All that is known of a thread, or its history. Rows of positioned tables go at the position; what names a deleted run shows nothing.

use std::collections::BTreeSet;

use async_trait::async_trait;
use futures_util::{TryStreamExt, stream};
use graph::envelope::{Key, Millis};
use uuid::Uuid;

use super::{ScyllaStore, connect::IN_FLIGHT_MAX, days::day_of, states::position};
use crate::{
    contract::Deletes, error::StoreError, metrics::observe, position::Position, rows::KeptValues, stored::uuid,
};

/// Where the archive says that its thread was deleted: no graph's namespace begins so.
const DELETED_NS: &str = "|deleted";
/// Longer than the log keeps what may be read again.
const DELETED_KEPT_SECONDS: i32 = 8 * 24 * 60 * 60;

/// From when a value is listed until all of it is written.
const WRITING_MS: Millis = 10 * 60 * 1000;

#[async_trait]
impl Deletes for ScyllaStore {
    async fn delete_thread(&self, tenant: &str, thread_id: &str, at: Position) -> Result<(), StoreError> {
        observe("delete_thread", self.delete_all_of(tenant, thread_id, at)).await
    }

    async fn delete_run(&self, tenant: &str, thread_id: &str, run_id: Uuid, at: Position) -> Result<(), StoreError> {
        observe("delete_run", self.delete_one_run(tenant, thread_id, run_id, at)).await
    }

    async fn prune_thread(
        &self,
        tenant: &str,
        thread_id: &str,
        at: Position,
        kept: &KeptValues,
    ) -> Result<(), StoreError> {
        observe("prune_thread", self.prune(tenant, thread_id, at, kept)).await
    }

    async fn deleted(&self, tenant: &str, thread_id: &str) -> Result<Option<Position>, StoreError> {
        let key = Key::thread(tenant, thread_id);
        let nil = Uuid::nil();
        let values = (key.as_str(), DELETED_NS, nil.as_bytes().as_slice());
        let read = self.first::<(i64,)>(&self.statements.find_deleted, values);
        Ok(observe("deleted", read).await?.map(|(raw,)| position(raw)))
    }
}

impl ScyllaStore {
    /// What finds other rows goes after them: a delete that was cut off finds them again.
    async fn delete_all_of(&self, tenant: &str, thread_id: &str, at: Position) -> Result<(), StoreError> {
        let key = Key::thread(tenant, thread_id);
        let (owner, stamp) = (key.as_str(), at.delete_timestamp());
        self.delete_sleeper_of(&key, stamp).await?;
        self.execute(&self.statements.delete_state, (stamp, owner)).await?;
        self.execute(&self.statements.delete_archived, (stamp, owner)).await?;
        self.delete_history_of(tenant, &key, |position| position <= at).await?;
        self.delete_runs_of(tenant, thread_id, at).await?;
        self.delete_blobs_of(owner).await?;
        if let Some(row) = self.find_thread(tenant, thread_id).await?.filter(|row| row.position <= at) {
            let day = day_of(row.created_at);
            self.execute(&self.statements.unlist_thread_by_day, (tenant, day, row.created_at, thread_id)).await?;
            if let Some(user) = &row.user {
                self.execute(&self.statements.unlist_thread_by_user, (tenant, user, row.created_at, thread_id)).await?;
            }
        }
        self.execute(&self.statements.delete_thread, (stamp, tenant, thread_id)).await?;
        self.note_deleted(owner, at).await
    }

    async fn note_deleted(&self, owner: &str, at: Position) -> Result<(), StoreError> {
        let (nil, raw, empty) = (Uuid::nil(), at.as_u64() as i64, [0_u8; 0].as_slice());
        let id = nil.as_bytes().as_slice();
        let values = (owner, DELETED_NS, id, raw, empty, at.write_timestamp(), DELETED_KEPT_SECONDS);
        self.execute(&self.statements.put_deleted, values).await
    }

    async fn prune(&self, tenant: &str, thread_id: &str, at: Position, kept: &KeptValues) -> Result<(), StoreError> {
        let key = Key::thread(tenant, thread_id);
        self.execute(&self.statements.delete_archived, (at.delete_timestamp(), key.as_str())).await?;
        self.delete_history_of(tenant, &key, |position| position < at).await?;
        let runs = self.runs_of(tenant, thread_id).await?;
        stream::iter(runs.into_iter().map(Ok))
            .try_for_each_concurrent(IN_FLIGHT_MAX / 4, |run_id| async move {
                match self.find_run(tenant, run_id).await? {
                    Some(row) if row.position > at => Ok(()),
                    _ => self.execute(&self.statements.delete_updates, (tenant, run_id.as_bytes().as_slice())).await,
                }
            })
            .await?;
        self.delete_old_blobs_of(key.as_str(), kept).await?;
        self.note_deleted(key.as_str(), at).await
    }

    async fn delete_sleeper_of(&self, key: &Key, stamp: i64) -> Result<(), StoreError> {
        let Some((partition,)) = self.first::<(Option<i32>,)>(&self.statements.find_partition, (key.as_str(),)).await?
        else {
            return Ok(());
        };
        let Some(partition) = partition else { return Ok(()) };
        self.execute(&self.statements.delete_sleeper, (stamp, partition, key.as_str())).await
    }

    /// Checkpoints, and the updates of the runs and edits that made them: an edit is on no list.
    async fn delete_history_of(
        &self,
        tenant: &str,
        owner: &Key,
        goes: impl Fn(Position) -> bool + Copy,
    ) -> Result<(), StoreError> {
        let listed: Vec<(String,)> = self.all(&self.statements.find_namespaces, (owner.as_str(),)).await?;
        let all = listed.into_iter().map(|(ns,)| ns).chain([String::new()]);
        stream::iter(all.map(Ok))
            .try_for_each_concurrent(IN_FLIGHT_MAX / 4, |ns| async move {
                if self.delete_checkpoints_of(tenant, owner, &ns, goes).await? && !ns.is_empty() {
                    self.execute(&self.statements.delete_namespace, (owner.as_str(), &ns)).await?;
                }
                Ok(())
            })
            .await
    }

    /// Whether that was all of the namespace.
    async fn delete_checkpoints_of(
        &self,
        tenant: &str,
        owner: &Key,
        ns: &str,
        goes: impl Fn(Position) -> bool,
    ) -> Result<bool, StoreError> {
        let mut all = true;
        for span in self.spans(owner, ns).await? {
            let rows = self.piece(owner, ns, &span).await?;
            if rows.iter().any(|row| !goes(row.position)) {
                all = false;
                continue;
            }
            let makers: BTreeSet<Uuid> = rows.iter().map(|row| row.run_id).collect();
            for id in makers {
                self.execute(&self.statements.delete_updates, (tenant, id.as_bytes().as_slice())).await?;
            }
            let (last, first) = (span.last.as_bytes().as_slice(), span.first.as_bytes().as_slice());
            self.execute(&self.statements.delete_checkpoints, (owner.as_str(), ns, last, first, span.n)).await?;
        }
        Ok(all)
    }

    async fn runs_of(&self, tenant: &str, thread_id: &str) -> Result<Vec<Uuid>, StoreError> {
        let runs: Vec<(Vec<u8>,)> = self.all(&self.statements.find_all_by_thread, (tenant, thread_id)).await?;
        runs.iter().map(|(id,)| uuid(id)).collect()
    }

    async fn delete_runs_of(&self, tenant: &str, thread_id: &str, at: Position) -> Result<(), StoreError> {
        let runs = self.runs_of(tenant, thread_id).await?;
        stream::iter(runs.into_iter().map(Ok))
            .try_for_each_concurrent(IN_FLIGHT_MAX / 4, |run_id| async move {
                if self.find_run(tenant, run_id).await?.is_some_and(|row| row.position > at) {
                    return Ok(());
                }
                let run = run_id.as_bytes().as_slice();
                self.execute(&self.statements.delete_updates, (tenant, run)).await?;
                self.execute(&self.statements.delete_run, (at.delete_timestamp(), tenant, run)).await?;
                self.execute(&self.statements.unlist_by_thread, (tenant, thread_id, run)).await
            })
            .await
    }

    async fn delete_one_run(
        &self,
        tenant: &str,
        thread_id: &str,
        run_id: Uuid,
        at: Position,
    ) -> Result<(), StoreError> {
        let owner = Key::thread(tenant, thread_id);
        let listed: Vec<(String,)> = self.all(&self.statements.find_namespaces, (owner.as_str(),)).await?;
        for ns in listed.into_iter().map(|(ns,)| ns).chain([String::new()]) {
            for span in self.spans(&owner, &ns).await? {
                let mut others = self.piece(&owner, &ns, &span).await?;
                let count = others.len();
                others.retain(|row| row.run_id != run_id);
                if others.len() == count {
                    continue;
                }
                // The others first: they lie under another key, and none is away for a moment.
                self.put_checkpoints(&others).await?;
                let (last, first) = (span.last.as_bytes().as_slice(), span.first.as_bytes().as_slice());
                self.execute(&self.statements.delete_checkpoints, (owner.as_str(), &ns, last, first, span.n)).await?;
            }
        }
        let run = run_id.as_bytes().as_slice();
        self.execute(&self.statements.delete_updates, (tenant, run)).await?;
        self.execute(&self.statements.delete_run, (at.delete_timestamp(), tenant, run)).await?;
        self.execute(&self.statements.unlist_by_thread, (tenant, thread_id, run)).await
    }

    async fn delete_blobs_of(&self, owner: &str) -> Result<(), StoreError> {
        let hashes: Vec<(String,)> = self.all(&self.statements.find_blobs_of, (owner,)).await?;
        stream::iter(hashes.into_iter().map(Ok))
            .try_for_each_concurrent(IN_FLIGHT_MAX, |(hash,)| async move {
                self.execute(&self.statements.delete_blob, (owner, hash)).await
            })
            .await?;
        self.execute(&self.statements.delete_blobs_of, (owner,)).await
    }

    /// A value that is written anew meanwhile stays: the delete stands in time before that.
    async fn delete_old_blobs_of(&self, owner: &str, kept: &KeptValues) -> Result<(), StoreError> {
        let stamp = |at: Millis| at.max(1) * 1_000;
        let (before, listed_before) = (stamp(kept.written_before), stamp(kept.written_before - WRITING_MS));
        let hashes: Vec<(String,)> = self.all(&self.statements.find_blobs_of, (owner,)).await?;
        stream::iter(hashes.into_iter().map(|(hash,)| hash).filter(|hash| !kept.names(hash)).map(Ok))
            .try_for_each_concurrent(IN_FLIGHT_MAX, |hash| async move {
                self.execute(&self.statements.delete_old_blob, (before, owner, &hash)).await?;
                self.execute(&self.statements.delete_old_blob_of, (listed_before, owner, &hash)).await
            })
            .await
    }
}
