//! The address that services ask: a list of operations in, a list of results out.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    response::{IntoResponse, Response},
    routing::post,
};
use graph::envelope::Millis;
use run_store::{
    LongTermStore, StoreError,
    items::{Item, ItemsError, ListNamespaces, Put, Search, rfc3339},
};
use schemas::{
    error::{Code, ErrorBody},
    node_api::{
        StoreAnswer, StoreAsk, StoreDelete, StoreGet, StoreIndex, StoreItem, StoreListNamespaces, StoreOp, StorePut,
        StoreResult, StoreSearch,
    },
};

use super::{NodeStore, STORE_PATH};

/// Bytes of an ask.
const ASK_BYTES_MAX: usize = 32 * 1024 * 1024;
const OPERATIONS_MAX: usize = 1_000;

impl NodeStore {
    /// What a worker serves beside its health.
    pub fn router(&self) -> Router {
        Router::new().route(STORE_PATH, post(ask)).layer(DefaultBodyLimit::max(ASK_BYTES_MAX)).with_state(self.clone())
    }
}

async fn ask(State(store): State<NodeStore>, headers: HeaderMap, body: Bytes) -> Response {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let Some(claims) = token.and_then(|token| store.0.tokens.check(token, store.0.clock.now())) else {
        return refused(Code::InvalidApiKey, "this is no task's token, or its attempt has ended".into());
    };
    let ops = match serde_json::from_slice::<StoreAsk>(&body) {
        Ok(StoreAsk { ops }) if ops.len() <= OPERATIONS_MAX => ops,
        Ok(StoreAsk { ops }) => {
            let says = format!("{} operations are asked for, and {OPERATIONS_MAX} are the most at once", ops.len());
            return refused(Code::InvalidValue, says);
        }
        Err(error) => return refused(Code::InvalidValue, format!("the operations can't be read: {error}")),
    };
    let mut results = Vec::with_capacity(ops.len());
    for (n, op) in ops.into_iter().enumerate() {
        match done(&store.0.store, &claims.tenant, op).await {
            Ok(result) => results.push(result),
            Err(error) => return failed(n, &error),
        }
    }
    axum::Json(StoreAnswer { results }).into_response()
}

async fn done(store: &LongTermStore, tenant: &str, op: StoreOp) -> Result<StoreResult, ItemsError> {
    let mut result = StoreResult::default();
    match op {
        StoreOp::Get(StoreGet { namespace, key, refresh_ttl }) => {
            let found = store.get(tenant, &namespace, &key, refresh_ttl.unwrap_or(true)).await?;
            result.item = found.map(shown);
        }
        StoreOp::Put(StorePut { namespace, key, value, index, ttl_ms }) => {
            let ttl_ms = ttl_ms.map(|ttl| Millis::try_from(ttl).unwrap_or(Millis::MAX));
            let index = index.and_then(StoreIndex::paths);
            store.put(tenant, Put { namespace, key, value, ttl_ms, index }).await?;
        }
        StoreOp::Delete(StoreDelete { namespace, key }) => store.delete(tenant, &namespace, &key).await?,
        StoreOp::Search(StoreSearch { prefix, query, filter, limit, offset, refresh_ttl }) => {
            let default = Search::default();
            let search = Search {
                prefix,
                filter: filter.unwrap_or_default(),
                query,
                limit: limit.map_or(default.limit, |limit| limit as usize),
                offset: offset.map_or(default.offset, |offset| offset as usize),
                refresh_ttl: refresh_ttl.unwrap_or(default.refresh_ttl),
            };
            result.items = Some(store.search(tenant, search).await?.into_iter().map(shown).collect());
        }
        StoreOp::ListNamespaces(StoreListNamespaces { prefix, suffix, max_depth, limit, offset }) => {
            let default = ListNamespaces::default();
            let list = ListNamespaces {
                prefix,
                suffix,
                max_depth: max_depth.map(|depth| depth as usize),
                limit: limit.map_or(default.limit, |limit| limit as usize),
                offset: offset.map_or(default.offset, |offset| offset as usize),
            };
            result.namespaces = Some(store.list_namespaces(tenant, list).await?);
        }
    }
    Ok(result)
}

fn shown(item: Item) -> StoreItem {
    let Item { namespace, key, value, created_at, updated_at, score } = item;
    let (created_at, updated_at) = (rfc3339(created_at), rfc3339(updated_at));
    StoreItem { namespace, key, value, created_at, updated_at, score }
}

/// Operations before the `n`-th were done.
fn failed(n: usize, error: &ItemsError) -> Response {
    let code = match error {
        ItemsError::Refused(_) => Code::InvalidValue,
        ItemsError::Store(StoreError::TooLarge { .. }) => Code::RequestTooLarge,
        ItemsError::Store(_) | ItemsError::Embedding(_) => {
            tracing::warn!(%error, "the store refused a node's call");
            Code::StoreUnavailable
        }
    };
    refused(code, format!("ops[{n}]: {error}"))
}

/// What is asked wrongly is 422 here.
fn refused(code: Code, says: String) -> Response {
    let status = match code {
        Code::InvalidValue => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::from_u16(code.status()).expect("codes have valid statuses"),
    };
    (status, axum::Json(ErrorBody::new(code, says))).into_response()
}
