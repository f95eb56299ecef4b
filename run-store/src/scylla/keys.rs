//! API keys, by lightweight transactions: of two changes at the same time one is refused.

use async_trait::async_trait;
use bytes::Bytes;

use super::ScyllaStore;
use crate::{
    contract::Keys,
    error::StoreError,
    metrics::observe,
    rows::{KeyRow, SecretHash},
    stored::secret_hash,
};

#[async_trait]
impl Keys for ScyllaStore {
    /// A plain read: what a transaction has answered to is seen, and one that nobody was answered to may be later.
    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let read = async {
            let found: Vec<(String, Vec<u8>, Bytes)> = self.all(&self.statements.find_keys, ()).await?;
            let row = |(name, hash, key)| Ok(KeyRow { name, hash: secret_hash(hash)?, key });
            found.into_iter().map(row).collect()
        };
        observe("keys", read).await
    }

    async fn put_key(&self, row: &KeyRow, seen: Option<&SecretHash>) -> Result<bool, StoreError> {
        let KeyRow { name, hash, key } = row;
        let (hash, key) = (hash.as_slice(), key.as_ref());
        let put = async {
            match seen {
                None => self.applied(&self.statements.add_key, (name, hash, key)).await,
                Some(seen) => self.applied(&self.statements.change_key, (hash, key, name, seen.as_slice())).await,
            }
        };
        observe("put_key", put).await
    }

    async fn delete_key(&self, name: &str) -> Result<bool, StoreError> {
        observe("delete_key", self.applied(&self.statements.delete_key, (name,))).await
    }
}
