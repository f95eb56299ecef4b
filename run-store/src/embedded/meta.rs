//! What the deployment has agreed on.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};

use super::EmbeddedStore;
use crate::{contract::Meta, error::StoreError, metrics::observe};

#[async_trait]
impl Meta for EmbeddedStore {
    async fn set_once(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        let write = self.write(128, move |connection| {
            connection
                .prepare_cached("INSERT OR IGNORE INTO meta (name, value) VALUES (?1, ?2)")?
                .execute([&name, &value])?;
            Ok(find(connection, &name)?.unwrap_or_else(|| value.clone()))
        });
        observe("set_once", write).await
    }

    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        observe("meta", self.readers.read(move |connection| find(connection, &name))).await
    }
}

fn find(connection: &Connection, name: &str) -> Result<Option<String>, StoreError> {
    let mut query = connection.prepare_cached("SELECT value FROM meta WHERE name = ?1")?;
    Ok(query.query_row([name], |row| row.get(0)).optional()?)
}
