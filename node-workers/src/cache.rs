//! What came of an input, to be taken again for the same one, kept by each worker: LangGraph's cache of nodes, and answers
//! of models.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::time::Instant;

/// Entries of one worker, and their bytes: beyond either the oldest go.
const ENTRIES_MAX: usize = 10_000;
const BYTES_MAX: usize = 64 * 1024 * 1024;

pub struct Cache<T>(Mutex<Entries<T>>);

struct Entries<T> {
    by_key: BTreeMap<Key, Entry<T>>,
    /// In the order in which they were put.
    order: VecDeque<(Key, Instant)>,
    bytes: usize,
}

/// Whose entry it is (tenant, the graph's version, node) and of which input. A hash of both that nobody can aim at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 32]);

struct Entry<T> {
    value: T,
    bytes: usize,
    put_at: Instant,
    until: Option<Instant>,
}

impl Key {
    pub fn of(tenant: &str, graph_hash: &str, node: &str, input: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [tenant, graph_hash, node, input] {
            add_text(&mut hasher, part);
        }
        Key::new(hasher)
    }

    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    pub fn new(hasher: blake3::Hasher) -> Self {
        Key(*hasher.finalize().as_bytes())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Key(bytes)
    }
}

/// With its length, so that no two lists of texts are the same bytes.
pub fn add_text(hasher: &mut blake3::Hasher, text: &str) {
    add_length(hasher, text.len());
    hasher.update(text.as_bytes());
}

pub fn add_length(hasher: &mut blake3::Hasher, length: usize) {
    hasher.update(&(length as u64).to_be_bytes());
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Cache(Mutex::new(Entries { by_key: BTreeMap::new(), order: VecDeque::new(), bytes: 0 }))
    }
}

impl<T: Clone + Serialize> Cache<T> {
    pub fn get(&self, key: Key) -> Option<T> {
        let entries = self.lock();
        let entry = entries.by_key.get(&key)?;
        entry.until.is_none_or(|until| Instant::now() < until).then(|| entry.value.clone())
    }

    pub fn put(&self, key: Key, value: &T, ttl: Option<Duration>) {
        let bytes = serde_json::to_vec(value).map_or(usize::MAX, |json| json.len());
        if bytes > BYTES_MAX / 4 {
            return;
        }
        let now = Instant::now();
        let entry = Entry { value: value.clone(), bytes, put_at: now, until: ttl.map(|ttl| now + ttl) };
        let mut entries = self.lock();
        entries.bytes += bytes;
        if let Some(before) = entries.by_key.insert(key, entry) {
            entries.bytes -= before.bytes;
        }
        entries.order.push_back((key, now));
        entries.make_room();
    }

    fn lock(&self) -> MutexGuard<'_, Entries<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Entries<T> {
    fn make_room(&mut self) {
        while self.order.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some((key, put_at)) = self.order.pop_front() else { return };
            // What was put anew since stands further behind too.
            if self.by_key.get(&key).is_some_and(|entry| entry.put_at == put_at)
                && let Some(entry) = self.by_key.remove(&key)
            {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use graph::task::TaskResult;
    use serde_json::Value;

    use super::*;

    fn wrote(text: &str) -> TaskResult {
        TaskResult { writes: Arc::new(vec![("a".into(), Arc::new(Value::from(text)))]), ..TaskResult::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_lives_for_its_time() {
        let cache = Cache::default();
        let (short, long) = (Key::of("t", "g", "n", "1"), Key::of("t", "g", "n", "2"));
        cache.put(short, &wrote("x"), Some(Duration::from_secs(60)));
        cache.put(long, &wrote("y"), None);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(cache.get(short), Some(wrote("x")));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(cache.get(short), None);
        assert_eq!(cache.get(long), Some(wrote("y")));
    }

    #[tokio::test]
    async fn tenants_graphs_and_nodes_are_apart() {
        let keys = [
            Key::of("t", "g", "n", "1"),
            Key::of("u", "g", "n", "1"),
            Key::of("t", "h", "n", "1"),
            Key::of("t", "g", "m", "1"),
            Key::of("tg", "", "n", "1"),
        ];
        let different: std::collections::BTreeSet<Key> = keys.into_iter().collect();
        assert_eq!(different.len(), keys.len());
    }

    #[tokio::test]
    async fn the_oldest_go_first() {
        let cache = Cache::default();
        let text = "x".repeat(BYTES_MAX / 8);
        let keys: Vec<Key> = (0..12).map(|n| Key::of("t", "g", "n", &n.to_string())).collect();
        for key in &keys {
            cache.put(*key, &wrote(&text), None);
        }
        assert_eq!(cache.get(keys[0]), None);
        assert!(cache.get(keys[11]).is_some());
        assert!(cache.lock().bytes <= BYTES_MAX);
        cache.put(keys[0], &wrote(&"x".repeat(BYTES_MAX)), None);
        assert_eq!(cache.get(keys[0]), None, "what is too large for it isn't kept");
    }
}
