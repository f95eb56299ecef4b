//! Search by meaning against what LangGraph's own store does (recorded/record_meaning.py), and what may go wrong with it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use graph::{envelope::Millis, world::Clock};
use run_store::{
    EmbeddedStore,
    items::{EmbedError, Embedder, Index, Item, ItemsError, LongTermStore, Put, Search},
};
use serde_json::{Value, json};

#[path = "recorded/meaning.rs"]
mod recorded;

use recorded::WORDS;

struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Millis {
        1_763_721_600_000
    }
}

struct Stage {
    backend: Arc<EmbeddedStore>,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Stage { backend: EmbeddedStore::open(folder.path(), Default::default()).await.unwrap(), _folder: folder }
    }

    fn store(&self, embedder: impl Embedder, fields: &[&str]) -> LongTermStore {
        let fields = fields.iter().map(|field| (*field).to_owned()).collect();
        let index = Index::new(Arc::new(embedder), WORDS.dims, fields);
        self.plain().with_index(Some(index))
    }

    fn plain(&self) -> LongTermStore {
        LongTermStore::new(self.backend.clone(), Arc::new(StoppedClock))
    }
}

fn put(key: &str, value: Value) -> Put {
    let Value::Object(value) = value else { panic!("an item is an object") };
    Put { namespace: vec!["a".into()], key: key.into(), value, ..Put::default() }
}

fn asked(query: &str) -> Search {
    Search { query: Some(query.into()), ..Search::default() }
}

fn keys(found: &[Item]) -> Vec<&str> {
    found.iter().map(|item| item.key.as_str()).collect()
}

#[tokio::test]
async fn it_finds_what_langgraphs_own_store_finds() {
    let stage = Stage::new().await;
    recorded::play(&stage.plain(), "").await;
}

#[tokio::test]
async fn pages_follow_each_other_from_the_nearest_to_what_has_no_vector() {
    let stage = Stage::new().await;
    let store = stage.store(WORDS, &["text"]);
    for (key, text) in [("far", "blue plum"), ("near", "red apple"), ("half", "red pear")] {
        store.put("acme", put(key, json!({"text": text}))).await.unwrap();
    }
    for key in ["x", "y"] {
        store.put("acme", put(key, json!({"n": 1}))).await.unwrap();
    }
    let all = ["near", "half", "far", "x", "y"];
    assert_eq!(keys(&store.search("acme", asked("a red apple")).await.unwrap()), all);
    for offset in 0..6 {
        let page = Search { offset, limit: 2, ..asked("a red apple") };
        let found = store.search("acme", page).await.unwrap();
        assert_eq!(keys(&found), all[offset.min(5)..(offset + 2).min(5)]);
    }
    // What is put anew is looked at anew.
    store.put("acme", put("far", json!({"text": "a red apple"}))).await.unwrap();
    assert_eq!(keys(&store.search("acme", asked("a red apple")).await.unwrap())[0], "far");
    let unseen = Put { index: Some(Vec::new()), ..put("far", json!({"text": "a red apple"})) };
    store.put("acme", unseen).await.unwrap();
    assert_eq!(store.search("acme", asked("a red apple")).await.unwrap()[2].score, None);
}

#[tokio::test]
async fn an_item_is_the_same_with_and_without_an_index() {
    let stage = Stage::new().await;
    let (with, without) = (stage.store(WORDS, &["$"]), stage.plain());
    with.put("acme", put("k", json!({"text": "red"}))).await.unwrap();
    let item = without.get("acme", &["a".into()], "k", true).await.unwrap().unwrap();
    assert_eq!(Value::Object(item.value), json!({"text": "red"}));
    without.put("acme", put("l", json!({"text": "red"}))).await.unwrap();
    let found = without.search("acme", asked("red")).await.unwrap();
    assert!(found.iter().all(|item| item.score.is_none()) && keys(&found) == ["k", "l"], "{found:?}");
    let found = with.search("acme", asked("red")).await.unwrap();
    assert_eq!(found.iter().map(|item| item.score.is_some()).collect::<Vec<_>>(), [true, false]);
    // An empty query asks nothing.
    assert_eq!(with.search("acme", asked("")).await.unwrap()[0].score, None);
}

#[tokio::test]
async fn what_is_asked_for_counts_and_not_what_is_met() {
    let stage = Stage::new().await;
    let store = stage.store(WORDS, &["text"]);
    let megabyte = "x".repeat(1 << 20);
    for n in 0..70 {
        let text = if n == 40 { "a red apple" } else { "a car" };
        store.put("acme", put(&format!("k{n}"), json!({"text": text, "more": megabyte}))).await.unwrap();
    }
    let nearest = Search { limit: 1, ..asked("a red apple") };
    assert_eq!(keys(&store.search("acme", nearest).await.unwrap()), ["k40"]);
    let all = Search { limit: usize::MAX, offset: 1, ..asked("a red apple") };
    let told = store.search("acme", all).await.unwrap_err().to_string();
    assert!(told.contains("ask for fewer items with `limit`"), "{told}");
}

/// Gives what it is told to, and counts how often it is asked.
struct Odd(Result<Vec<Vec<f32>>, EmbedError>, Arc<AtomicUsize>);

#[async_trait]
impl Embedder for Odd {
    async fn embed(&self, _texts: &[String]) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.clone()
    }
}

#[tokio::test]
async fn without_a_vector_nothing_is_stored_and_the_reason_is_told() {
    let stage = Stage::new().await;
    let away = EmbedError { message: "can't be reached".into(), retryable: true };
    for (gives, says) in [
        (Err(away.clone()), "can't be reached"),
        (Ok(vec![]), "0 vectors of 1 texts"),
        (Ok(vec![vec![1.0; 3]]), "have 3 numbers, and embedding.dims says 24"),
    ] {
        let store = stage.store(Odd(gives, Arc::default()), &["text"]);
        let told = store.put("acme", put("k", json!({"text": "red"}))).await.unwrap_err();
        assert!(matches!(&told, ItemsError::Embedding(error) if error.message.contains(says)), "{told}");
        assert!(store.search("acme", asked("red")).await.is_err());
        assert_eq!(store.get("acme", &["a".into()], "k", true).await.unwrap(), None);
    }
    let many: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let asks = Arc::new(AtomicUsize::new(0));
    let store = stage.store(Odd(Err(away), asks.clone()), &["texts[*]"]);
    let told = store.put("acme", put("k", json!({"texts": many}))).await.unwrap_err().to_string();
    assert!(told.contains("more than 256 texts"), "{told}");
    for (index, says) in [
        ((0..300).map(|n| format!("f{n}")).collect(), "300 fields, and 256 are the most"),
        (vec!["x".repeat(2_000)], "a field has 2000 bytes"),
    ] {
        let told = store.put("acme", Put { index: Some(index), ..put("k", json!({"n": 1})) }).await.unwrap_err();
        assert!(told.to_string().contains(says), "{told}");
    }
    store.put("acme", put("k", json!({"n": 1}))).await.unwrap();
    assert_eq!(asks.load(Ordering::Relaxed), 0, "without a text nobody is asked");
}
