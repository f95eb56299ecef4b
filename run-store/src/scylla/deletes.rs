//! All that is known of a thread. Rows of positioned tables go at the position; what names a deleted run shows nothing.

use async_trait::async_trait;
use futures_util::{TryStreamExt, stream};
use graph::envelope::Key;
use uuid::Uuid;

use super::{ScyllaStore, connect::IN_FLIGHT_MAX, days::day_of};
use crate::{contract::Deletes, error::StoreError, metrics::observe, position::Position, stored::uuid};

#[async_trait]
impl Deletes for ScyllaStore {
    async fn delete_thread(&self, tenant: &str, thread_id: &str, at: Position) -> Result<(), StoreError> {
        observe("delete_thread", self.delete_all_of(tenant, thread_id, at)).await
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
        self.delete_history_of(owner).await?;
        self.delete_runs_of(tenant, thread_id, stamp).await?;
        self.delete_blobs_of(owner).await?;
        if let Some(row) = self.find_thread(tenant, thread_id).await?.filter(|row| row.position <= at) {
            let day = day_of(row.created_at);
            self.execute(&self.statements.unlist_thread_by_day, (tenant, day, row.created_at, thread_id)).await?;
            if let Some(user) = &row.user {
                self.execute(&self.statements.unlist_thread_by_user, (tenant, user, row.created_at, thread_id)).await?;
            }
        }
        self.execute(&self.statements.delete_thread, (stamp, tenant, thread_id)).await
    }

    async fn delete_sleeper_of(&self, key: &Key, stamp: i64) -> Result<(), StoreError> {
        let Some((partition,)) = self.first::<(Option<i32>,)>(&self.statements.find_partition, (key.as_str(),)).await?
        else {
            return Ok(());
        };
        let Some(partition) = partition else { return Ok(()) };
        self.execute(&self.statements.delete_sleeper, (stamp, partition, key.as_str())).await
    }

    async fn delete_history_of(&self, owner: &str) -> Result<(), StoreError> {
        let listed: Vec<(String,)> = self.all(&self.statements.find_namespaces, (owner,)).await?;
        let all = listed.into_iter().map(|(ns,)| ns).chain([String::new()]);
        stream::iter(all.map(Ok))
            .try_for_each_concurrent(IN_FLIGHT_MAX, |ns| async move {
                self.execute(&self.statements.delete_checkpoints, (owner, ns)).await
            })
            .await?;
        self.execute(&self.statements.delete_namespaces, (owner,)).await
    }

    async fn delete_runs_of(&self, tenant: &str, thread_id: &str, stamp: i64) -> Result<(), StoreError> {
        let runs: Vec<(Vec<u8>,)> = self.all(&self.statements.find_all_by_thread, (tenant, thread_id)).await?;
        let runs: Vec<Uuid> = runs.iter().map(|(id,)| uuid(id)).collect::<Result<_, _>>()?;
        stream::iter(runs.iter().map(Ok))
            .try_for_each_concurrent(IN_FLIGHT_MAX, |run| async move {
                let run = run.as_bytes().as_slice();
                self.execute(&self.statements.delete_updates, (tenant, run)).await?;
                self.execute(&self.statements.delete_run, (stamp, tenant, run)).await
            })
            .await?;
        self.execute(&self.statements.unlist_by_thread, (tenant, thread_id)).await
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
}
