//! The long-term store as nodes reach it: Rust nodes by method, services by an address and a token that is good for the
//! task's tenant until its attempt ends (docs/adr/0011).

mod serve;
mod token;

use std::sync::Arc;

use graph::{
    envelope::Millis,
    task::{TaskError, TaskId},
    world::Clock,
};
use run_store::{
    LongTermStore,
    items::{Item, ItemsError, ListNamespaces, Put, Search},
    rows::Namespace,
};
use schemas::node_api::StoreAccess;
use serde_json::{Map, Value};

use self::token::{Claims, Tokens};
use crate::failure;

/// Where a worker serves services' asks.
pub const STORE_PATH: &str = "/internal/nodes/store";

/// Cheap to clone.
#[derive(Clone)]
pub struct NodeStore(Arc<Inner>);

struct Inner {
    store: LongTermStore,
    clock: Arc<dyn Clock>,
    tokens: Tokens,
    url: Option<String>,
}

impl NodeStore {
    /// `secret` is shared by all workers, any of which may be asked; `address` is how services reach this one, such as
    /// `http://10.0.0.7:8080`. Without it they are offered no store.
    pub fn new(store: LongTermStore, clock: Arc<dyn Clock>, secret: &[u8], address: Option<&str>) -> Self {
        let url = address.map(|address| format!("{}{STORE_PATH}", address.trim_end_matches('/')));
        NodeStore(Arc::new(Inner { store, clock, tokens: Tokens::new(secret), url }))
    }

    /// What an ask of a task says, for as long as `left`.
    pub(crate) fn access(&self, tenant: &str, task_id: TaskId, issue: u32, left: Millis) -> Option<StoreAccess> {
        let url = self.0.url.clone()?;
        let until = self.0.clock.now().saturating_add(left);
        let token = self.0.tokens.make(&Claims { tenant: tenant.to_owned(), task_id, issue, until });
        Some(StoreAccess { url, token })
    }
}

/// The long-term store of a task's tenant. What is written is seen at once, whatever becomes of the task.
#[derive(Clone, Copy)]
pub struct TaskStore<'a> {
    pub(crate) store: &'a NodeStore,
    pub(crate) tenant: &'a str,
}

impl TaskStore<'_> {
    pub async fn get(&self, namespace: &[&str], key: &str) -> Result<Option<Item>, TaskError> {
        self.inner().get(self.tenant, &owned(namespace), key, true).await.map_err(failed)
    }

    pub async fn put(&self, namespace: &[&str], key: &str, value: Map<String, Value>) -> Result<(), TaskError> {
        self.put_with(Put { namespace: owned(namespace), key: key.to_owned(), value, ..Put::default() }).await
    }

    /// As [`TaskStore::put`], with a time to live, and with what a search by meaning looks at.
    pub async fn put_with(&self, put: Put) -> Result<(), TaskError> {
        self.inner().put(self.tenant, put).await.map_err(failed)
    }

    pub async fn delete(&self, namespace: &[&str], key: &str) -> Result<(), TaskError> {
        self.inner().delete(self.tenant, &owned(namespace), key).await.map_err(failed)
    }

    pub async fn search(&self, search: Search) -> Result<Vec<Item>, TaskError> {
        self.inner().search(self.tenant, search).await.map_err(failed)
    }

    pub async fn list_namespaces(&self, list: ListNamespaces) -> Result<Vec<Namespace>, TaskError> {
        self.inner().list_namespaces(self.tenant, list).await.map_err(failed)
    }

    fn inner(&self) -> &LongTermStore {
        &self.store.0.store
    }
}

fn owned(labels: &[&str]) -> Namespace {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

/// What is asked wrongly stays wrong; a store that is away may come back.
fn failed(error: ItemsError) -> TaskError {
    match &error {
        // LangGraph's stores raise it.
        ItemsError::Refused(says) => failure::of_kind(failure::node_failed(says.as_str()), "ValueError"),
        ItemsError::Store(error) => failure::retryable(format!("the long-term store: {error}")),
        ItemsError::Embedding(why) => {
            let error = failure::retryable(format!("the long-term store: {error}"));
            TaskError { retryable: why.retryable, ..error }
        }
    }
}
