//! Immutable values by owner and content hash.

use async_trait::async_trait;
use bytes::Bytes;
use graph::envelope::Key;
use rusqlite::{OptionalExtension, params};

use super::EmbeddedStore;
use crate::{contract::Blobs, error::StoreError, metrics::observe, stored::check_size};

#[async_trait]
impl Blobs for EmbeddedStore {
    async fn put_blob(&self, owner: &Key, hash: &str, value: Bytes) -> Result<(), StoreError> {
        check_size(&value, self.value_bytes_max)?;
        let (owner, hash) = (owner.clone(), hash.to_owned());
        let write = self.write(value.len(), move |connection| {
            connection
                .prepare_cached(
                    "INSERT INTO blobs (owner, hash, value, written_at) VALUES (?1, ?2, ?3, unixepoch() * 1000)
                     ON CONFLICT (owner, hash) DO UPDATE SET value = excluded.value, written_at = excluded.written_at",
                )?
                .execute(params![owner.as_str(), hash, value.as_ref()])?;
            Ok(())
        });
        observe("put_blob", write).await
    }

    async fn blob(&self, owner: &Key, hash: &str) -> Result<Option<Bytes>, StoreError> {
        let (owner, hash) = (owner.clone(), hash.to_owned());
        let read = self.readers.read(move |connection| {
            let mut query = connection.prepare_cached("SELECT value FROM blobs WHERE owner = ?1 AND hash = ?2")?;
            Ok(query.query_row([owner.as_str(), &hash], |row| row.get::<_, Vec<u8>>(0)).optional()?.map(Bytes::from))
        });
        observe("blob", read).await
    }
}
