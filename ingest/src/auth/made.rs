//! Keys that were made over HTTP, as the store holds them. Looked up on every request, so without a lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use graph::envelope::Millis;
use run_store::rows::{KeyRow, SecretHash};
use schemas::keys::StoredKey;
use tokio::{sync::Notify, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Key;
use crate::ingest::Ingest;

/// The store is read anew this often, and given this long: a revocation whose record is lost holds within two seconds.
const REREAD_EVERY: Duration = Duration::from_secs(1);
const REREAD_TIMEOUT: Duration = Duration::from_millis(900);

/// None before the store was read.
#[derive(Default)]
pub(crate) struct Made {
    table: ArcSwapOption<Table>,
    changed: Notify,
}

#[derive(Clone, Default)]
struct Table {
    rows: Vec<KeyRow>,
    by_hash: BTreeMap<SecretHash, Taken>,
}

/// A key behind one of its secrets.
#[derive(Clone)]
struct Taken {
    key: Arc<Key>,
    /// Where the secret was rotated away.
    until: Option<Millis>,
}

impl Made {
    pub fn is_loaded(&self) -> bool {
        self.table.load().is_some()
    }

    pub fn find(&self, hash: &SecretHash, now: Millis) -> Option<Arc<Key>> {
        let table = self.table.load();
        let taken = table.as_ref()?.by_hash.get(hash)?;
        taken.until.is_none_or(|until| now < until).then(|| Arc::clone(&taken.key))
    }

    /// Takes what the store holds, but for names that the configuration has.
    pub fn load(&self, mut rows: Vec<KeyRow>, configured: &BTreeSet<String>) {
        rows.retain(|row| !configured.contains(&row.name));
        if self.table.load().as_ref().is_some_and(|table| table.rows == rows) {
            return;
        }
        let mut table = Table::default();
        for row in &rows {
            table.put(row);
        }
        table.rows = rows;
        self.table.store(Some(Arc::new(table)));
    }

    /// Takes a key out before the store is read.
    pub fn forget(&self, name: &str) {
        self.table.rcu(|table| {
            let mut table = Table::clone(table.as_ref()?);
            table.rows.retain(|row| row.name != name);
            table.by_hash.retain(|_, taken| &*taken.key.name != name);
            Some(Arc::new(table))
        });
    }

    /// Has the store read anew.
    pub fn changed(&self) {
        self.changed.notify_one();
    }
}

impl Table {
    fn put(&mut self, row: &KeyRow) {
        let stored = match read(row) {
            Ok(stored) => stored,
            Err(error) => {
                tracing::error!(key = row.name, %error, "a stored key can't be read and lets nobody in");
                return;
            }
        };
        let StoredKey { tenant, scopes, graphs, former, created_at: _, rotated_at: _ } = stored;
        let key = Arc::new(Key {
            name: row.name.as_str().into(),
            tenant: tenant.as_str().into(),
            scopes,
            graphs: graphs.into(),
        });
        let former =
            former.and_then(|former| Some((*blake3::Hash::from_hex(&former.hash).ok()?.as_bytes(), former.until)));
        if let Some((hash, until)) = former {
            self.by_hash.insert(hash, Taken { key: Arc::clone(&key), until: Some(until) });
        }
        self.by_hash.insert(row.hash, Taken { key, until: None });
    }
}

pub(crate) fn read(row: &KeyRow) -> serde_json::Result<StoredKey> {
    serde_json::from_slice(&row.key)
}

/// Keeps the table as the store is until shutdown. While the store can't be read, what was known holds; a revocation that
/// the log tells is heeded all the same.
pub(crate) async fn follow(ingest: &Ingest, shutdown: CancellationToken) {
    if ingest.keys.is_open() {
        return;
    }
    let mut again = tokio::time::interval(REREAD_EVERY);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_known = true;
    let followed = async {
        loop {
            tokio::select! {
                _ = again.tick() => {}
                () = ingest.keys.made.changed.notified() => {}
            }
            let read = tokio::time::timeout(REREAD_TIMEOUT, ingest.reread_keys()).await;
            let reason = match read {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("the store did not answer in time".to_owned()),
            };
            match &reason {
                Some(reason) if is_known => tracing::warn!(reason, "api keys can't be read; those that are known hold"),
                None if !is_known => tracing::info!("api keys are read again"),
                Some(_) | None => {}
            }
            is_known = reason.is_none();
        }
    };
    shutdown.run_until_cancelled(followed).await;
}

#[cfg(test)]
mod tests {
    use schemas::keys::FormerSecret;

    use super::*;

    fn row(name: &str, secret: &str, former: Option<FormerSecret>) -> KeyRow {
        let stored = StoredKey {
            tenant: "acme".into(),
            scopes: vec![],
            graphs: vec![],
            created_at: 1,
            rotated_at: None,
            former,
        };
        KeyRow { name: name.into(), hash: hash(secret), key: serde_json::to_vec(&stored).unwrap().into() }
    }

    fn hash(secret: &str) -> SecretHash {
        *blake3::hash(secret.as_bytes()).as_bytes()
    }

    #[test]
    fn a_former_secret_holds_until_its_time() {
        let made = Made::default();
        assert!(!made.is_loaded());
        let former = FormerSecret { hash: blake3::hash(b"old").to_hex().to_string(), until: 100 };
        made.load(vec![row("web", "new", Some(former))], &BTreeSet::new());
        let name = |secret: &str, now: Millis| Some(made.find(&hash(secret), now)?.name.to_string());
        assert_eq!(name("old", 99).as_deref(), Some("web"));
        assert_eq!(name("old", 100), None);
        assert_eq!(name("new", 100).as_deref(), Some("web"));
    }

    #[test]
    fn a_key_that_is_forgotten_lets_nobody_in_by_any_of_its_secrets() {
        let made = Made::default();
        let former = FormerSecret { hash: blake3::hash(b"old").to_hex().to_string(), until: 100 };
        let rows = vec![row("web", "new", Some(former)), row("app", "other", None)];
        made.load(rows.clone(), &BTreeSet::new());
        made.forget("web");
        assert!(made.find(&hash("new"), 1).is_none() && made.find(&hash("old"), 1).is_none());
        assert!(made.find(&hash("other"), 1).is_some());
        // A read that began before the revocation is put right by the next.
        made.load(rows, &BTreeSet::new());
        assert!(made.find(&hash("new"), 1).is_some());
    }

    #[test]
    fn the_configurations_keys_win_and_unreadable_ones_let_nobody_in() {
        let made = Made::default();
        let unreadable = KeyRow { key: "{\"scopes\":[\"of-tomorrow\"]}".into(), ..row("next", "secret", None) };
        made.load(vec![row("web", "new", None), unreadable], &BTreeSet::from(["web".to_owned()]));
        assert!(made.find(&hash("new"), 1).is_none() && made.find(&hash("secret"), 1).is_none());
    }
}
