//! The long-term store as nodes and clients see it: LangGraph's `BaseStore` over [`Items`]. It alone reads what items hold,
//! for their filters.

mod filter;
mod found;
mod meaning;
mod names;
mod paths;
mod words;

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use graph::{envelope::Millis, world::Clock};
use serde_json::{Map, Value};

pub use self::meaning::{EmbedError, Embedder, Index};
pub use self::words::Words;
use self::{
    filter::Filter,
    found::{First, Names},
    meaning::{Nearest, packed, read_value},
    names::{check_item, check_labels, check_namespace},
};
use crate::{
    contract::Items,
    error::StoreError,
    rows::{ItemKey, ItemRow, Micros, Namespace},
    stored::corrupt,
};

/// Items that one request of the backend asks for.
const PAGE: u32 = 256;
/// Items whose end is moved at the same time.
const REFRESHED_AT_ONCE: usize = 16;
/// Bytes of the items that one search gives.
const FOUND_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A longer life than a thousand years is a mistake.
const TTL_MS_MAX: Millis = 1_000 * 366 * 24 * 60 * 60 * 1_000;

/// Why the long-term store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ItemsError {
    /// Asked wrongly: what is wrong, and what to do.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing was stored or searched.
    #[error("the embedding model: {0}")]
    Embedding(#[from] EmbedError),
}

type Result<T> = std::result::Result<T, ItemsError>;

#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub namespace: Namespace,
    pub key: String,
    pub value: Map<String, Value>,
    pub created_at: Micros,
    pub updated_at: Micros,
    /// Of a search by meaning: the cosine, where the item has a vector.
    pub score: Option<f64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Put {
    pub namespace: Namespace,
    pub key: String,
    pub value: Map<String, Value>,
    /// Lets the item end so long after it was put, or read last.
    pub ttl_ms: Option<Millis>,
    /// The paths of the texts that a search by meaning looks at, such as `text`, `notes[*].text`, `$`; the store's own unless
    /// told.
    pub index: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// Of namespaces, by whole labels.
    pub prefix: Namespace,
    /// What items hold, by key: a value, or an object of operators (`$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`).
    pub filter: Map<String, Value>,
    /// Items whose meaning is near to this come first, those without a vector last. Without an index it is left out.
    pub query: Option<String>,
    pub limit: usize,
    pub offset: usize,
    /// Whether the time of what is found begins anew.
    pub refresh_ttl: bool,
}

impl Default for Search {
    fn default() -> Self {
        Search { prefix: Vec::new(), filter: Map::new(), query: None, limit: 10, offset: 0, refresh_ttl: true }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListNamespaces {
    /// `*` stands for any label.
    pub prefix: Namespace,
    pub suffix: Namespace,
    /// Cuts what is deeper.
    pub max_depth: Option<usize>,
    pub limit: usize,
    pub offset: usize,
}

impl Default for ListNamespaces {
    fn default() -> Self {
        ListNamespaces { prefix: Vec::new(), suffix: Vec::new(), max_depth: None, limit: 100, offset: 0 }
    }
}

/// One for a process: cloned, it is the same.
#[derive(Clone)]
pub struct LongTermStore {
    items: Arc<dyn Items>,
    clock: Arc<dyn Clock>,
    last: Arc<AtomicI64>,
    index: Option<Index>,
}

impl LongTermStore {
    pub fn new(items: Arc<dyn Items>, clock: Arc<dyn Clock>) -> Self {
        LongTermStore { items, clock, last: Arc::default(), index: None }
    }

    /// Lets it search by meaning. What was put before has no vectors.
    pub fn with_index(self, index: Option<Index>) -> Self {
        LongTermStore { index, ..self }
    }

    /// Whether a model makes vectors of what is put and searched for.
    pub fn has_index(&self) -> bool {
        self.index.is_some()
    }

    pub async fn put(&self, tenant: &str, put: Put) -> Result<()> {
        let Put { namespace, key, value, ttl_ms, index: fields } = put;
        check_namespace(&namespace)?;
        check_item(&namespace, &key)?;
        if ttl_ms.is_some_and(|ttl| !(1..=TTL_MS_MAX).contains(&ttl)) {
            return Err(ItemsError::Refused("ttl: must be above 0; leave it out to keep the item".into()));
        }
        let value = Value::Object(value);
        let vectors = match &self.index {
            Some(index) => index.vectors(fields.as_deref(), &value).await?,
            None => Vec::new(),
        };
        let at = self.tick();
        let row = ItemRow {
            item: ItemKey { tenant: tenant.to_owned(), namespace, key },
            value: packed(&value, &vectors),
            created_at: at,
            updated_at: at,
            ttl_ms,
            expires_at: ttl_ms.map(|ttl| at.div_euclid(1000) + ttl),
        };
        Ok(self.items.put_item(&row).await?)
    }

    pub async fn get(&self, tenant: &str, namespace: &[String], key: &str, refresh_ttl: bool) -> Result<Option<Item>> {
        check_labels(namespace)?;
        let item = ItemKey { tenant: tenant.to_owned(), namespace: namespace.to_vec(), key: key.to_owned() };
        let now = self.clock.now();
        let Some(row) = self.items.item(&item, now).await? else { return Ok(None) };
        if refresh_ttl {
            self.refresh(&row, now).await?;
        }
        Ok(Some(read(row)?))
    }

    /// An item that isn't there is deleted, too.
    pub async fn delete(&self, tenant: &str, namespace: &[String], key: &str) -> Result<()> {
        check_labels(namespace)?;
        let item = ItemKey { tenant: tenant.to_owned(), namespace: namespace.to_vec(), key: key.to_owned() };
        Ok(self.items.delete_item(&item, self.tick()).await?)
    }

    /// In the order in which namespaces got their oldest item, and then items were made; by meaning, the nearest first.
    pub async fn search(&self, tenant: &str, search: Search) -> Result<Vec<Item>> {
        let Search { prefix, filter, query, limit, offset, refresh_ttl } = search;
        check_labels(&prefix)?;
        let filter = Filter::read(&filter)?;
        let now = self.clock.now();
        let most = offset.saturating_add(limit);
        let mut nearest = match (&self.index, query.filter(|query| !query.is_empty())) {
            (Some(index), Some(query)) => Some(Nearest::new(index.vector(&query).await?, most)),
            (None, _) | (_, None) => None,
        };
        let mut first = First::new(most);
        let mut after = None;
        loop {
            let page = self.items.items(tenant, &prefix, after.as_ref(), PAGE, now).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.item.clone());
            for row in page {
                let holds = filter.is_empty() || filter.holds(&value_of(&row)?).map_err(|wrong| wrong.of(&row.item))?;
                let has_score = holds && nearest.as_mut().is_some_and(|nearest| nearest.add(&row));
                first.add(row, holds && !has_score);
            }
            if first.bytes() + nearest.as_ref().map_or(0, Nearest::bytes) > FOUND_BYTES_MAX {
                let says = format!("more than {FOUND_BYTES_MAX} bytes were found: ask for fewer items with `limit`");
                return Err(ItemsError::Refused(says));
            }
        }
        let scored = nearest.into_iter().flat_map(Nearest::rows).map(|(score, row)| (Some(score), row));
        let all = scored.chain(first.rows().map(|row| (None, row)));
        let found: Vec<(Option<f64>, ItemRow)> = all.skip(offset).take(limit).collect();
        if refresh_ttl {
            let rows = found.iter().map(|(_, row)| row);
            let mortal: Vec<ItemRow> = rows.filter(|row| row.ttl_ms.is_some()).cloned().collect();
            let refreshed = mortal.into_iter().map(|row| async move { self.refresh(&row, now).await });
            stream::iter(refreshed).buffer_unordered(REFRESHED_AT_ONCE).try_collect::<()>().await?;
        }
        found.into_iter().map(|(score, row)| Ok(Item { score, ..read(row)? })).collect()
    }

    /// In order.
    pub async fn list_namespaces(&self, tenant: &str, list: ListNamespaces) -> Result<Vec<Namespace>> {
        check_labels(&list.prefix)?;
        check_labels(&list.suffix)?;
        let below: Vec<String> = list.prefix.iter().take_while(|label| *label != names::ANY).cloned().collect();
        let now = self.clock.now();
        let mut names = Names::new(list.offset.saturating_add(list.limit));
        let mut after = None;
        loop {
            let page = self.items.namespaces(tenant, &below, after.as_ref(), PAGE, now).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.clone());
            let fitting = page.into_iter().filter(|namespace| names::fits(namespace, &list.prefix, &list.suffix));
            for mut namespace in fitting {
                namespace.truncate(list.max_depth.unwrap_or(usize::MAX));
                names.add(namespace);
            }
        }
        Ok(names.all().skip(list.offset).collect())
    }

    async fn refresh(&self, row: &ItemRow, now: Millis) -> std::result::Result<(), StoreError> {
        let Some(ttl) = row.ttl_ms else { return Ok(()) };
        let row = ItemRow { expires_at: Some(now + ttl), ..row.clone() };
        self.items.refresh_item(&row, now).await
    }

    /// The time, later than any that this gave before.
    fn tick(&self) -> Micros {
        let now = self.clock.now() * 1000;
        let next = |last: Micros| Some(now.max(last + 1));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        now.max(last.unwrap_or_default() + 1)
    }
}

fn read(row: ItemRow) -> Result<Item> {
    let value = value_of(&row)?;
    let ItemRow { item: ItemKey { tenant: _, namespace, key }, created_at, updated_at, .. } = row;
    Ok(Item { namespace, key, value, created_at, updated_at, score: None })
}

fn value_of(row: &ItemRow) -> Result<Map<String, Value>> {
    let unreadable = |error| corrupt(format!("the item {:?} is no JSON object: {error}", row.item.key));
    Ok(read_value(&row.value).map_err(unreadable)?)
}

/// RFC 3339, UTC, as LangGraph writes it.
pub fn rfc3339(at: Micros) -> String {
    jiff::Timestamp::from_microsecond(at).unwrap_or_default().strftime("%FT%T.%6f+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_microseconds() {
        for (at, expected) in [
            (0, "1970-01-01T00:00:00.000000+00:00"),
            (1_763_721_600_000_001, "2025-11-21T10:40:00.000001+00:00"),
            (1_763_769_599_999_999, "2025-11-21T23:59:59.999999+00:00"),
        ] {
            assert_eq!(rfc3339(at), expected);
        }
    }
}
