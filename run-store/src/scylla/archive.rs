//! Checkpoints that have a successor, each version at its position.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use graph::envelope::Key;
use uuid::Uuid;

use super::{ScyllaStore, connect::IN_FLIGHT_MAX, states::position};
use crate::{
    contract::Archive,
    error::StoreError,
    metrics::observe,
    position::Position,
    rows::ArchivedRow,
    stored::{check_size, uuid},
};

#[async_trait]
impl Archive for ScyllaStore {
    async fn put_archived(&self, rows: &[ArchivedRow]) -> Result<(), StoreError> {
        let put = async {
            rows.iter().try_for_each(|row| check_size(&row.checkpoint, self.cell_bytes_max))?;
            stream::iter(rows.iter().map(Ok)).try_for_each_concurrent(IN_FLIGHT_MAX, |row| self.put_one(row)).await
        };
        observe("put_archived", put).await
    }

    async fn archived(
        &self,
        owner: &Key,
        ns: &str,
        id: Uuid,
        below: Position,
    ) -> Result<Option<ArchivedRow>, StoreError> {
        let read = async {
            let key = (owner.as_str(), ns, id.as_bytes().as_slice(), below.as_u64() as i64);
            let found: Option<(i64, Option<Bytes>)> = self.first(&self.statements.find_archived, key).await?;
            Ok(found.map(|(at, checkpoint)| row(owner, ns, id, at, checkpoint)))
        };
        observe("archived", read).await
    }

    async fn archived_before(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        below: Position,
        limit: u32,
    ) -> Result<Vec<ArchivedRow>, StoreError> {
        observe("archived_before", self.find_archived_before(owner, ns, before, below, limit as usize)).await
    }
}

impl ScyllaStore {
    async fn put_one(&self, row: &ArchivedRow) -> Result<(), StoreError> {
        let ArchivedRow { owner, ns, checkpoint_id, position, checkpoint } = row;
        let (id, raw) = (checkpoint_id.as_bytes().as_slice(), position.as_u64() as i64);
        let values = (owner.as_str(), ns.as_str(), id, raw, checkpoint.as_ref(), position.write_timestamp());
        self.execute(&self.statements.put_archived, values).await
    }

    async fn find_archived_before(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        below: Position,
        limit: usize,
    ) -> Result<Vec<ArchivedRow>, StoreError> {
        type Found = (Vec<u8>, i64, Option<Bytes>);
        let mut found: Vec<ArchivedRow> = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let bound = before.unwrap_or(Uuid::max());
        let key = (owner.as_str(), ns, bound.as_bytes().as_slice());
        let pages = self.pages::<Found>(&self.statements.find_archived_before, key).await?;
        futures_util::pin_mut!(pages);
        while let Some((id, at, checkpoint)) = pages.try_next().await? {
            let id = uuid(&id)?;
            let newest = found.last().is_none_or(|newer| newer.checkpoint_id != id);
            if newest && position(at) < below {
                found.push(row(owner, ns, id, at, checkpoint));
            }
            if found.len() == limit {
                break;
            }
        }
        Ok(found)
    }
}

fn row(owner: &Key, ns: &str, checkpoint_id: Uuid, at: i64, checkpoint: Option<Bytes>) -> ArchivedRow {
    let (owner, ns) = (owner.clone(), ns.to_owned());
    ArchivedRow { owner, ns, checkpoint_id, position: position(at), checkpoint: checkpoint.unwrap_or_default() }
}
