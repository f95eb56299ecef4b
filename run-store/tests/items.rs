//! The long-term store against what LangGraph's own does (recorded/record.py), and its times.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use graph::{envelope::Millis, world::Clock};
use run_store::{
    EmbeddedStore,
    items::{Item, ListNamespaces, LongTermStore, Put, Search},
};
use serde_json::{Map, Value, json};

#[path = "recorded/operations.rs"]
mod operations;

const MINUTE_MS: Millis = 60 * 1000;

struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Millis {
        self.0.load(Ordering::Relaxed)
    }
}

struct Stage {
    store: LongTermStore,
    backend: Arc<EmbeddedStore>,
    clock: Arc<TestClock>,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let backend = EmbeddedStore::open(folder.path(), Default::default()).await.unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(1_763_721_600_000)));
        Stage { store: LongTermStore::new(backend.clone(), clock.clone()), backend, clock, _folder: folder }
    }

    fn pass(&self, millis: Millis) {
        self.clock.0.fetch_add(millis, Ordering::Relaxed);
    }

    async fn put(&self, key: &str, ttl_ms: Option<Millis>) {
        let put = Put {
            namespace: names(&["users"]),
            key: key.into(),
            value: object(json!({"n": 1})),
            ttl_ms,
            ..Put::default()
        };
        self.store.put("acme", put).await.unwrap();
    }

    async fn get(&self, key: &str, refresh_ttl: bool) -> Option<Item> {
        self.store.get("acme", &names(&["users"]), key, refresh_ttl).await.unwrap()
    }

    async fn found(&self, refresh_ttl: bool) -> Vec<String> {
        let found = self.store.search("acme", Search { refresh_ttl, ..Search::default() }).await.unwrap();
        found.into_iter().map(|item| item.key).collect()
    }
}

fn names(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap()
}

#[tokio::test]
async fn it_does_what_langgraphs_own_store_does() {
    let stage = Stage::new().await;
    operations::play(&stage.store, "").await;
}

#[tokio::test]
async fn an_item_ends_when_its_time_is_up_unless_it_is_read() {
    let stage = Stage::new().await;
    stage.put("read", Some(10 * MINUTE_MS)).await;
    stage.put("looked at", Some(10 * MINUTE_MS)).await;
    stage.put("kept", None).await;
    stage.pass(9 * MINUTE_MS);
    assert_eq!(stage.found(false).await, ["read", "looked at", "kept"]);
    assert!(stage.get("read", true).await.is_some() && stage.get("looked at", false).await.is_some());
    stage.pass(2 * MINUTE_MS);
    assert!(stage.get("looked at", true).await.is_none());
    // What a search finds is read, too.
    assert_eq!(stage.found(true).await, ["read", "kept"]);
    stage.pass(9 * MINUTE_MS);
    assert_eq!(stage.backend.sweep(stage.clock.now()).await.unwrap().items, 1, "what nobody read is forgotten");
    assert_eq!(stage.found(false).await, ["read", "kept"]);
    // Put without an end, it has none.
    stage.put("read", None).await;
    stage.pass(60 * MINUTE_MS);
    assert_eq!(stage.backend.sweep(stage.clock.now()).await.unwrap().items, 0);
    assert_eq!(stage.found(true).await, ["read", "kept"]);
}

#[tokio::test]
async fn a_put_keeps_when_an_item_was_made_and_items_of_one_moment_their_order() {
    let stage = Stage::new().await;
    for key in ["c", "a", "b", "c"] {
        stage.put(key, None).await;
    }
    assert_eq!(stage.found(true).await, ["c", "a", "b"]);
    let again = stage.get("c", true).await.unwrap();
    assert_eq!(again.updated_at - again.created_at, 3);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told() {
    let stage = Stage::new().await;
    stage.put("x", None).await;
    let search = async |filter: Value| {
        let search = Search { filter: object(filter), ..Search::default() };
        stage.store.search("acme", search).await.map(|found| found.len()).map_err(|error| error.to_string())
    };
    for (filter, says) in [
        (json!({"n": {"$in": [1]}}), "Unsupported operator: $in; there are $eq"),
        (json!({"n": {"$gt": "soon"}}), "$gt compares numbers, and \"soon\" is none"),
        (json!({"n": {"$gt": null}}), "and null is none"),
    ] {
        let told = search(filter.clone()).await.unwrap_err();
        assert!(told.contains(says), "{filter}: {told}");
    }
    // What isn't there is no number and no mistake.
    assert_eq!(search(json!({"age": {"$gt": 1}})).await, Ok(0));
    let text =
        Put { namespace: names(&["users"]), key: "y".into(), value: object(json!({"n": "soon"})), ..Put::default() };
    stage.store.put("acme", text).await.unwrap();
    let told = search(json!({"n": {"$gt": 0}})).await.unwrap_err();
    assert!(told.contains("\"soon\" of the item `y` in [\"users\"] is not a number"), "{told}");
    for (put, says) in [
        (Put { namespace: names(&["a.b"]), key: "k".into(), value: Map::new(), ..Put::default() }, "can't contain '.'"),
        (Put { namespace: names(&[]), key: "k".into(), value: Map::new(), ..Put::default() }, "can't be empty"),
        (
            Put { namespace: names(&["langgraph"]), key: "k".into(), value: Map::new(), ..Put::default() },
            "can't be `langgraph`",
        ),
        (
            Put { namespace: names(&["a"]), key: "k".repeat(9_000), value: Map::new(), ..Put::default() },
            "8192 are the most",
        ),
        (
            Put { namespace: names(&["a"]), key: "k".into(), value: Map::new(), ttl_ms: Some(0), ..Put::default() },
            "must be above 0",
        ),
    ] {
        let told = stage.store.put("acme", put).await.unwrap_err().to_string();
        assert!(told.contains(says), "{told}");
    }
}

#[tokio::test]
async fn a_long_list_is_read_to_its_end() {
    let stage = Stage::new().await;
    for n in 0..700 {
        let namespace = names(&["users", &format!("{}", n % 300)]);
        let put = Put { namespace, key: format!("{n}"), value: object(json!({"n": n})), ..Put::default() };
        stage.store.put("acme", put).await.unwrap();
    }
    let search = Search { filter: object(json!({"n": {"$gte": 690}})), ..Search::default() };
    let found = stage.store.search("acme", search).await.unwrap();
    assert_eq!(
        found.iter().map(|item| item.key.as_str()).collect::<Vec<_>>(),
        (690..700).map(|n| n.to_string()).collect::<Vec<_>>()
    );
    let list = ListNamespaces { limit: 1_000, ..ListNamespaces::default() };
    assert_eq!(stage.store.list_namespaces("acme", list).await.unwrap().len(), 300);
    let last = ListNamespaces { limit: 2, offset: 298, ..ListNamespaces::default() };
    assert_eq!(
        stage.store.list_namespaces("acme", last).await.unwrap(),
        [names(&["users", "98"]), names(&["users", "99"])]
    );
}
