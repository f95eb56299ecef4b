//! What LangGraph's own store did with operations (record.py), played on a store.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, stream};
use run_store::items::{Item, ItemsError, ListNamespaces, LongTermStore, Put, Search};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Cases that are played at the same time, each for a tenant of its own.
const AT_ONCE: usize = 16;

/// Each case gives what it gave. `name` keeps the tenants apart from those of other runs.
pub async fn play(store: &LongTermStore, name: &str) {
    let cases: Vec<Vec<Value>> = serde_json::from_str(include_str!("store.json")).unwrap();
    let (gave, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let played = async |(n, case): (usize, Vec<Value>)| {
        for told in case {
            let Recorded { op, gives, refused: wrong } = serde_json::from_value(told.clone()).unwrap();
            match (done(store, &format!("{name}tenant-{n}"), op).await, wrong) {
                (Ok(found), None) => {
                    assert_eq!(found, gives, "case {n}: {told}");
                    gave.fetch_add(1, Ordering::Relaxed);
                }
                (Err(ItemsError::Refused(_)), Some(_)) => {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                (found, _) => panic!("case {n}: {told}: {found:?}"),
            }
        }
    };
    stream::iter(cases.into_iter().enumerate()).for_each_concurrent(AT_ONCE, played).await;
    let (gave, refused) = (gave.into_inner(), refused.into_inner());
    assert!(gave > 2_000 && refused > 50, "{gave} gave something and {refused} were refused");
}

#[derive(Deserialize)]
struct Recorded {
    #[serde(flatten)]
    op: Op,
    #[serde(default)]
    gives: Value,
    refused: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Op {
    Put { namespace: Vec<String>, key: String, value: Map<String, Value> },
    Get { namespace: Vec<String>, key: String },
    Delete { namespace: Vec<String>, key: String },
    Search(SearchOp),
    Namespaces(NamespacesOp),
}

#[derive(Deserialize)]
struct SearchOp {
    prefix: Vec<String>,
    filter: Map<String, Value>,
    limit: Option<usize>,
    offset: Option<usize>,
}

#[derive(Deserialize)]
struct NamespacesOp {
    #[serde(default)]
    prefix: Vec<String>,
    #[serde(default)]
    suffix: Vec<String>,
    max_depth: Option<usize>,
    limit: Option<usize>,
    offset: Option<usize>,
}

async fn done(store: &LongTermStore, tenant: &str, op: Op) -> Result<Value, ItemsError> {
    let shown = |item: Item| json!({"namespace": item.namespace, "key": item.key, "value": item.value});
    Ok(match op {
        Op::Put { namespace, key, value } => {
            store.put(tenant, Put { namespace, key, value, ..Put::default() }).await?;
            Value::Null
        }
        Op::Get { namespace, key } => store.get(tenant, &namespace, &key, true).await?.map_or(Value::Null, shown),
        Op::Delete { namespace, key } => {
            store.delete(tenant, &namespace, &key).await?;
            Value::Null
        }
        Op::Search(SearchOp { prefix, filter, limit, offset }) => {
            let default = Search::default();
            let (limit, offset) = (limit.unwrap_or(default.limit), offset.unwrap_or_default());
            let search = Search { prefix, filter, limit, offset, ..default };
            store.search(tenant, search).await?.into_iter().map(shown).collect()
        }
        Op::Namespaces(NamespacesOp { prefix, suffix, max_depth, limit, offset }) => {
            let limit = limit.unwrap_or(ListNamespaces::default().limit);
            let list = ListNamespaces { prefix, suffix, max_depth, limit, offset: offset.unwrap_or_default() };
            json!(store.list_namespaces(tenant, list).await?)
        }
    })
}
