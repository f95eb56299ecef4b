//! What the deployment has agreed on, by lightweight transactions.

use async_trait::async_trait;

use super::ScyllaStore;
use crate::{contract::Meta, error::StoreError, metrics::observe, stored::corrupt};

#[async_trait]
impl Meta for ScyllaStore {
    async fn set_once(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let set = async {
            if self.applied(&self.statements.set_once, (name, value)).await? {
                return Ok(value.to_owned());
            }
            self.held_meta(name).await?.ok_or_else(|| corrupt(format!("{name:?} was set and is gone")))
        };
        observe("set_once", set).await
    }

    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        observe("meta", self.held_meta(name)).await
    }
}

impl ScyllaStore {
    async fn held_meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        let found: Option<(String,)> = self.first(&self.statements.find_meta, (name,)).await?;
        Ok(found.map(|(value,)| value))
    }
}
