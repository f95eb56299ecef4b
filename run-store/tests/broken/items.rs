//! A long-term store that finds too much, or brings back what was gone.

use async_trait::async_trait;
use graph::envelope::Millis;
use run_store::{
    Items, StoreError,
    rows::{ItemKey, ItemRow, Micros, Namespace},
};

use super::{BrokenStore, Flaw};

#[async_trait]
impl Items for BrokenStore {
    async fn put_item(&self, row: &ItemRow) -> Result<(), StoreError> {
        let row = ItemRow { item: self.shared(&row.item), ..row.clone() };
        self.inner.put_item(&row).await
    }

    async fn item(&self, item: &ItemKey, now: Millis) -> Result<Option<ItemRow>, StoreError> {
        let found = self.inner.item(&self.shared(item), self.now(now)).await?;
        Ok(found.map(|row| ItemRow { item: item.clone(), ..row }))
    }

    async fn delete_item(&self, item: &ItemKey, at: Micros) -> Result<(), StoreError> {
        self.inner.delete_item(&self.shared(item), at).await
    }

    async fn refresh_item(&self, row: &ItemRow, now: Millis) -> Result<(), StoreError> {
        if self.is(Flaw::RefreshWritesWhatWasRead) {
            return self.inner.put_item(row).await;
        }
        self.inner.refresh_item(&ItemRow { item: self.shared(&row.item), ..row.clone() }, now).await
    }

    async fn items(
        &self,
        tenant: &str,
        prefix: &[String],
        after: Option<&ItemKey>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<ItemRow>, StoreError> {
        let after = after.map(|after| self.shared(after));
        if self.is(Flaw::ItemsByTheLettersOfLabels) {
            let letters = prefix.concat();
            let mut all = self.inner.items(tenant, &[], after.as_ref(), limit, now).await?;
            all.retain(|row| row.item.namespace.concat().starts_with(&letters));
            return Ok(all);
        }
        let shared = self.shared(&ItemKey { tenant: tenant.to_owned(), namespace: Vec::new(), key: String::new() });
        let found = self.inner.items(&shared.tenant, prefix, after.as_ref(), limit, self.now(now)).await?;
        let of_tenant = |row: ItemRow| ItemRow { item: ItemKey { tenant: tenant.to_owned(), ..row.item }, ..row };
        Ok(found.into_iter().map(of_tenant).collect())
    }

    async fn namespaces(
        &self,
        tenant: &str,
        prefix: &[String],
        after: Option<&Namespace>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Namespace>, StoreError> {
        self.inner.namespaces(tenant, prefix, after, limit, self.now(now)).await
    }
}

impl BrokenStore {
    fn shared(&self, item: &ItemKey) -> ItemKey {
        let tenant = if self.is(Flaw::ItemsShared) { "everyone".to_owned() } else { item.tenant.clone() };
        ItemKey { tenant, ..item.clone() }
    }

    fn now(&self, now: Millis) -> Millis {
        if self.is(Flaw::ItemsNeverEnd) { 0 } else { now }
    }
}
