//! What LangGraph's own store found by meaning (record_meaning.py), looked for in a store.

use std::sync::Arc;

use run_store::items::{Index, Item, LongTermStore, Put, Search, Words};
use serde::Deserialize;
use serde_json::{Map, Value};

/// As record_meaning.py.
pub const WORDS: Words = Words { dims: 24 };

/// Each case finds what it found. `name` keeps the tenants apart from those of other runs.
pub async fn play(plain: &LongTermStore, name: &str) {
    let cases: Vec<Recorded> = serde_json::from_str(include_str!("meaning.json")).unwrap();
    let mut scored = 0;
    for (n, Recorded { fields, puts, search, gives }) in cases.into_iter().enumerate() {
        let store = plain.clone().with_index(Some(Index::new(Arc::new(WORDS), WORDS.dims, fields)));
        let tenant = format!("{name}tenant-{n}");
        for Told { namespace, key, value, index } in puts {
            let index = match index {
                Value::Null => None,
                Value::Bool(_) => Some(Vec::new()),
                fields => Some(serde_json::from_value(fields).unwrap()),
            };
            store.put(&tenant, Put { namespace, key, value, index, ..Put::default() }).await.unwrap();
        }
        let Asked { prefix, query, filter, limit } = search;
        let search = Search { prefix, query: Some(query), filter, limit, ..Search::default() };
        let found = store.search(&tenant, search).await.unwrap();
        let key = |item: &Item| item.key.clone();
        let keys: Vec<&str> = gives.iter().map(|given| given.key.as_str()).collect();
        assert_eq!(found.iter().map(key).collect::<Vec<_>>(), keys, "case {n}: {gives:?}");
        for (item, given) in found.iter().zip(&gives) {
            let near = item.score.zip(given.score).is_some_and(|(got, expected)| (got - expected).abs() < 1e-5);
            assert!(near || (item.score.is_none() && given.score.is_none()), "case {n}: {item:?}, not {given:?}");
            scored += usize::from(near);
        }
    }
    assert!(scored > 200, "{scored} had a score");
}

#[derive(Deserialize)]
struct Recorded {
    fields: Vec<String>,
    puts: Vec<Told>,
    search: Asked,
    gives: Vec<Given>,
}

#[derive(Deserialize)]
struct Told {
    namespace: Vec<String>,
    key: String,
    value: Map<String, Value>,
    #[serde(default)]
    index: Value,
}

#[derive(Deserialize)]
struct Asked {
    prefix: Vec<String>,
    query: String,
    filter: Map<String, Value>,
    limit: usize,
}

#[derive(Debug, Deserialize)]
struct Given {
    key: String,
    score: Option<f64>,
}
