//! Versions of graphs and the current one of each name.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use graph::envelope::Millis;

use super::{ScyllaStore, connect::IN_FLIGHT_MAX};
use crate::{contract::Specs, error::StoreError, metrics::observe, rows::SpecRow, stored::check_size};

/// The timestamp of a spec is this less its time: of equal specs the first stays. The year 2100, in milliseconds.
const FIRST_WINS: i64 = 4_102_444_800_000;

#[async_trait]
impl Specs for ScyllaStore {
    async fn put_spec(&self, row: &SpecRow) -> Result<(), StoreError> {
        let put = async {
            check_size(&row.spec, self.cell_bytes_max)?;
            let SpecRow { hash, name, spec, created_at } = row;
            let values = (hash, name, created_at, spec.as_ref(), FIRST_WINS - created_at);
            self.execute(&self.statements.put_spec, values).await?;
            self.execute(&self.statements.put_version, (name, hash)).await
        };
        observe("put_spec", put).await
    }

    async fn spec(&self, hash: &str) -> Result<Option<SpecRow>, StoreError> {
        observe("spec", self.find_spec(hash)).await
    }

    async fn publish(&self, name: &str, hash: &str, at: Millis) -> Result<(), StoreError> {
        // At the same moment the greater hash wins.
        observe("publish", self.execute(&self.statements.publish, (name, hash, at))).await
    }

    async fn current(&self) -> Result<Vec<SpecRow>, StoreError> {
        let read = async {
            let hashes: Vec<(String,)> = self.all(&self.statements.find_current, ()).await?;
            self.find_specs(hashes).await
        };
        observe("current", read).await
    }

    async fn current_of(&self, name: &str) -> Result<Option<SpecRow>, StoreError> {
        let read = async {
            let hash: Option<(String,)> = self.first(&self.statements.find_current_of, (name,)).await?;
            match hash {
                Some((hash,)) => self.find_spec(&hash).await,
                None => Ok(None),
            }
        };
        observe("current_of", read).await
    }

    async fn versions(&self, name: &str) -> Result<Vec<SpecRow>, StoreError> {
        let read = async {
            let hashes: Vec<(String,)> = self.all(&self.statements.find_versions, (name,)).await?;
            let mut rows = self.find_specs(hashes).await?;
            rows.sort_by(|a, b| (b.created_at, &b.hash).cmp(&(a.created_at, &a.hash)));
            Ok(rows)
        };
        observe("versions", read).await
    }
}

impl ScyllaStore {
    async fn find_spec(&self, hash: &str) -> Result<Option<SpecRow>, StoreError> {
        let found: Option<(String, String, i64, Bytes)> = self.first(&self.statements.find_spec, (hash,)).await?;
        Ok(found.map(|(hash, name, created_at, spec)| SpecRow { hash, name, spec, created_at }))
    }

    async fn find_specs(&self, hashes: Vec<(String,)>) -> Result<Vec<SpecRow>, StoreError> {
        let found: Vec<Option<SpecRow>> = stream::iter(hashes)
            .map(|(hash,)| async move { self.find_spec(&hash).await })
            .buffered(IN_FLIGHT_MAX)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }
}
