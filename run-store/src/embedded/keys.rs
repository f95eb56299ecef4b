//! API keys, by name.

use async_trait::async_trait;
use bytes::Bytes;
use rusqlite::params;

use super::EmbeddedStore;
use crate::{
    contract::Keys,
    error::StoreError,
    metrics::observe,
    rows::{KeyRow, SecretHash},
    stored::secret_hash,
};

#[async_trait]
impl Keys for EmbeddedStore {
    async fn keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        let read = self.readers.read(|connection| {
            let mut query = connection.prepare_cached("SELECT name, hash, api_key FROM api_keys ORDER BY name")?;
            let found = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            let found: Vec<(String, Vec<u8>, Vec<u8>)> = found.collect::<Result<_, _>>()?;
            let row = |(name, hash, key)| Ok(KeyRow { name, hash: secret_hash(hash)?, key: Bytes::from(key) });
            found.into_iter().map(row).collect()
        });
        observe("keys", read).await
    }

    async fn put_key(&self, row: &KeyRow, seen: Option<&SecretHash>) -> Result<bool, StoreError> {
        let (row, seen) = (row.clone(), seen.copied());
        let write = self.write(row.key.len(), move |connection| {
            let KeyRow { name, hash, key } = &row;
            let changed = match seen {
                None => connection
                    .prepare_cached("INSERT OR IGNORE INTO api_keys (name, hash, api_key) VALUES (?1, ?2, ?3)")?
                    .execute(params![name, hash, key.as_ref()])?,
                Some(seen) => connection
                    .prepare_cached("UPDATE api_keys SET hash = ?2, api_key = ?3 WHERE name = ?1 AND hash = ?4")?
                    .execute(params![name, hash, key.as_ref(), seen])?,
            };
            Ok(changed > 0)
        });
        observe("put_key", write).await
    }

    async fn delete_key(&self, name: &str) -> Result<bool, StoreError> {
        let name = name.to_owned();
        let write = self.write(128, move |connection| {
            let changed = connection.prepare_cached("DELETE FROM api_keys WHERE name = ?1")?.execute([&name])?;
            Ok(changed > 0)
        });
        observe("delete_key", write).await
    }
}
