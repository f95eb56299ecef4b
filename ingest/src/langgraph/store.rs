//! `/store`: the long-term store, as the clients' `store` uses it. Where no embedding is configured `query` and `index` do
//! what they do on a LangGraph store without an index: nothing.

use std::time::Duration;

use axum::{body::Body, extract::State, response::IntoResponse};
use graph::envelope::Millis;
use http::{Method, StatusCode};
use run_store::{
    items::{self, ItemsError, ListNamespaces, Search, rfc3339},
    rows::Namespace,
};
use schemars::{JsonSchema, SchemaGenerator};
use schemas::{error::Code, node_api::StoreIndex};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{TAG, threads::unprocessable};
use crate::{
    auth::Scope,
    body,
    config::Config,
    extract::Params,
    ingest::Ingest,
    layers::Asked,
    refusal::{Answer, Refusal},
    route::{Media, Route, route},
    runs::json_of,
};

const MINUTE_MS: f64 = 60_000.0;

pub(crate) fn routes() -> Vec<Route> {
    vec![
        route(Scope::Run, Method::PUT, "/store/items", put)
            .says(TAG, "Stores an item, in place of the one that is there.")
            .takes(Media::Json("ItemPut"))
            .bare(204, "It is stored."),
        route(Scope::Read, Method::GET, "/store/items", get)
            .says(TAG, "An item of the store.")
            .query(&[
                ("namespace", "Its labels, joined by `.`."),
                ("key", "Its key."),
                ("refresh_ttl", "Whether its time begins anew; yes unless told."),
            ])
            .answers(200, "The item, or null.", Media::Json("Item")),
        route(Scope::Run, Method::DELETE, "/store/items", delete)
            .says(TAG, "Deletes an item of the store.")
            .takes(Media::Json("ItemDelete"))
            .bare(204, "It is gone, or never was there."),
        route(Scope::Read, Method::POST, "/store/items/search", search)
            .says(TAG, "Searches the store, below a namespace and by what items hold.")
            .takes(Media::Json("ItemSearch"))
            .answers(200, "The items.", Media::Json("ItemsFound")),
        route(Scope::Read, Method::POST, "/store/namespaces", namespaces)
            .says(TAG, "Lists the namespaces that have items, in order.")
            .takes(Media::Json("NamespaceSearch"))
            .answers(200, "The namespaces.", Media::Json("NamespacesFound")),
    ]
}

pub(super) fn register(generator: &mut SchemaGenerator) {
    generator.subschema_for::<ItemPut>();
    generator.subschema_for::<ItemDelete>();
    generator.subschema_for::<ItemSearch>();
    generator.subschema_for::<NamespaceSearch>();
    generator.subschema_for::<Item>();
    generator.subschema_for::<ItemsFound>();
    generator.subschema_for::<NamespacesFound>();
}

/// Body of `PUT /store/items`.
#[derive(Default, Deserialize, JsonSchema)]
struct ItemPut {
    namespace: Option<Namespace>,
    key: Option<String>,
    value: Option<Map<String, Value>>,
    /// False, or the paths that a search by meaning looks at, such as `text` or `notes[*].text`.
    index: Option<StoreIndex>,
    /// Minutes that it lives after it was put, or read last.
    ttl: Option<f64>,
}

#[derive(Default, Deserialize)]
struct ItemAsked {
    namespace: Option<String>,
    key: Option<String>,
    refresh_ttl: Option<String>,
}

/// Body of `DELETE /store/items`.
#[derive(Default, Deserialize, JsonSchema)]
struct ItemDelete {
    namespace: Option<Namespace>,
    key: Option<String>,
}

/// Body of `POST /store/items/search`.
#[derive(Default, Deserialize, JsonSchema)]
struct ItemSearch {
    /// Namespaces that begin so, by whole labels; all unless told.
    namespace_prefix: Option<Namespace>,
    /// Values by key, or objects of `$eq`, `$ne`, `$gt`, `$gte`, `$lt`, `$lte`.
    filter: Option<Map<String, Value>>,
    /// 10 unless told.
    limit: Option<usize>,
    offset: Option<usize>,
    /// What is near to this in meaning comes first. Without an embedding it is left out, as LangGraph's stores do.
    query: Option<String>,
    /// Whether the time of what is found begins anew; yes unless told.
    refresh_ttl: Option<bool>,
}

/// Body of `POST /store/namespaces`.
#[derive(Default, Deserialize, JsonSchema)]
struct NamespaceSearch {
    /// `*` stands for any label.
    prefix: Option<Namespace>,
    suffix: Option<Namespace>,
    max_depth: Option<usize>,
    /// 100 unless told.
    limit: Option<usize>,
    offset: Option<usize>,
}

#[derive(Serialize, JsonSchema)]
struct Item {
    namespace: Namespace,
    key: String,
    value: Map<String, Value>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize, JsonSchema)]
struct ItemsFound {
    items: Vec<ItemFound>,
}

#[derive(Serialize, JsonSchema)]
struct ItemFound {
    #[serde(flatten)]
    item: Item,
    /// Of a search by meaning.
    score: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
struct NamespacesFound {
    namespaces: Vec<Namespace>,
}

impl From<items::Item> for Item {
    fn from(item: items::Item) -> Self {
        let items::Item { namespace, key, value, created_at, updated_at, score: _ } = item;
        Item { namespace, key, value, created_at: rfc3339(created_at), updated_at: rfc3339(updated_at) }
    }
}

async fn put(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let ItemPut { namespace, key, value, index, ttl } = body::compatible(&ingest.config, request).await?;
    let put = items::Put {
        namespace: namespace.unwrap_or_default(),
        key: given(key, "key")?,
        value: given(value, "value")?,
        // Down to a millisecond; what is 0 or less is refused as such.
        ttl_ms: ttl.map(|minutes| (minutes * MINUTE_MS).ceil() as Millis),
        index: index.and_then(StoreIndex::paths),
    };
    ingest.in_store_by_meaning(ingest.deps.store.put(&asked.caller.tenant, put)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn get(State(ingest): State<Ingest>, asked: Asked, Params(wanted): Params<ItemAsked>) -> Answer {
    let ItemAsked { namespace, key, refresh_ttl } = wanted;
    let namespace = labels(namespace.as_deref().unwrap_or_default());
    let key = given(key, "key")?;
    let refresh = match refresh_ttl.as_deref() {
        None | Some("" | "true" | "True" | "1") => true,
        Some("false" | "False" | "0") => false,
        Some(other) => return Err(invalid(format!("refresh_ttl: `{other}` is neither true nor false"), "refresh_ttl")),
    };
    let found = ingest.in_store(ingest.deps.store.get(&asked.caller.tenant, &namespace, &key, refresh)).await?;
    Ok(json_of(&found.map(Item::from)))
}

async fn delete(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let ItemDelete { namespace, key } = body::compatible(&ingest.config, request).await?;
    let (namespace, key) = (namespace.unwrap_or_default(), given(key, "key")?);
    ingest.in_store(ingest.deps.store.delete(&asked.caller.tenant, &namespace, &key)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn search(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let wanted = body::compatible::<ItemSearch>(&ingest.config, request).await?;
    let ItemSearch { namespace_prefix, filter, limit, offset, query, refresh_ttl } = wanted;
    let default = Search::default();
    let search = Search {
        prefix: namespace_prefix.unwrap_or_default(),
        filter: filter.unwrap_or_default(),
        query,
        limit: limit.unwrap_or(default.limit),
        offset: offset.unwrap_or(default.offset),
        refresh_ttl: refresh_ttl.unwrap_or(default.refresh_ttl),
    };
    let found = ingest.in_store_by_meaning(ingest.deps.store.search(&asked.caller.tenant, search)).await?;
    let items = found.into_iter().map(|item| ItemFound { score: item.score, item: item.into() }).collect();
    Ok(json_of(&ItemsFound { items }))
}

async fn namespaces(State(ingest): State<Ingest>, asked: Asked, request: http::Request<Body>) -> Answer {
    let wanted = body::compatible::<NamespaceSearch>(&ingest.config, request).await?;
    let NamespaceSearch { prefix, suffix, max_depth, limit, offset } = wanted;
    let default = ListNamespaces::default();
    let list = ListNamespaces {
        prefix: prefix.unwrap_or_default(),
        suffix: suffix.unwrap_or_default(),
        max_depth,
        limit: limit.unwrap_or(default.limit),
        offset: offset.unwrap_or(default.offset),
    };
    let namespaces = ingest.in_store(ingest.deps.store.list_namespaces(&asked.caller.tenant, list)).await?;
    Ok(json_of(&NamespacesFound { namespaces }))
}

impl Ingest {
    async fn in_store<T>(&self, op: impl Future<Output = Result<T, ItemsError>>) -> Result<T, Refusal> {
        self.in_store_within(self.config.store_timeout, op).await
    }

    /// As [`in_store`](Self::in_store), where a model may be asked for vectors first.
    async fn in_store_by_meaning<T>(&self, op: impl Future<Output = Result<T, ItemsError>>) -> Result<T, Refusal> {
        let Config { store_timeout, embedding_timeout, .. } = self.config;
        let embedding = if self.deps.store.has_index() { embedding_timeout } else { Duration::ZERO };
        self.in_store_within(store_timeout + embedding, op).await
    }

    async fn in_store_within<T>(
        &self,
        within: Duration,
        op: impl Future<Output = Result<T, ItemsError>>,
    ) -> Result<T, Refusal> {
        match tokio::time::timeout(within, op).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(ItemsError::Refused(says))) => Err(unprocessable(Refusal::new(Code::InvalidValue, says))),
            Ok(Err(ItemsError::Store(error))) => Err(error.into()),
            Ok(Err(error @ ItemsError::Embedding(_))) => {
                tracing::warn!(%error, "an item has no vector");
                Err(Refusal::new(Code::StoreUnavailable, format!("{error}; nothing was stored or searched")))
            }
            Err(_) => Err(Refusal::store_slow()),
        }
    }
}

fn labels(joined: &str) -> Namespace {
    if joined.is_empty() { Vec::new() } else { joined.split('.').map(str::to_owned).collect() }
}

fn given<T>(value: Option<T>, name: &'static str) -> Result<T, Refusal> {
    value.ok_or_else(|| invalid(format!("{name}: is needed"), name))
}

fn invalid(says: String, param: &'static str) -> Refusal {
    unprocessable(Refusal::new(Code::InvalidValue, says).param(param))
}
