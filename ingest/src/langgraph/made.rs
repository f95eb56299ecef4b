//! What is kept beside a thread: what was said of it when it was made, and by which request.

use std::{collections::BTreeMap, time::Duration};

use graph::{
    envelope::{Key, Millis},
    event::TimeToLive,
};
use run_store::values::THREAD_BLOB;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    ingest::Ingest,
    layers::Asked,
    refusal::Refusal,
    submit::{ClaimedKey, mismatch},
};

/// What is kept of a thread beside its runs.
#[derive(Serialize, Deserialize)]
pub(super) struct Made {
    pub created_at: i64,
    pub metadata: BTreeMap<String, Value>,
    /// The idempotency key of the request that made it, and what it was sent with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_by: Option<MadeBy>,
    /// How long it lives, as the log was told last. Whoever copies a thread leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Timed>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Timed {
    pub ttl: TimeToLive,
    /// When that was said.
    pub at: Millis,
}

#[derive(PartialEq, Serialize, Deserialize)]
pub(super) struct MadeBy {
    key: String,
    body: String,
}

impl MadeBy {
    pub fn of(claim: &ClaimedKey) -> Self {
        MadeBy { key: claim.key.clone(), body: claim.body() }
    }
}

impl Made {
    /// Whether this request made the thread, and comes again while its key is held.
    pub fn is_repeated_by(&self, claim: &ClaimedKey, now: i64, held: Duration) -> Result<bool, Refusal> {
        let made_by = self.made_by.as_ref().filter(|_| now - self.created_at < held.as_millis() as i64);
        match made_by.filter(|made_by| made_by.key == claim.key) {
            Some(made_by) if *made_by == MadeBy::of(claim) => Ok(true),
            Some(_) => Err(mismatch()),
            None => Ok(false),
        }
    }
}

impl Ingest {
    pub(super) async fn make_thread(
        &self,
        asked: &Asked,
        thread: &str,
        metadata: BTreeMap<String, Value>,
        made_by: Option<MadeBy>,
        ttl: Option<Timed>,
    ) -> Result<(), Refusal> {
        let made = Made { created_at: self.deps.clock.now(), metadata, made_by, ttl };
        self.keep(asked, thread, &made).await
    }

    pub(super) async fn keep(&self, asked: &Asked, thread: &str, made: &Made) -> Result<(), Refusal> {
        let bytes = serde_json::to_vec(made).expect("metadata has a JSON form");
        let key = Key::thread(&asked.caller.tenant, thread);
        let put = self.deps.blobs.put_blob(&key, THREAD_BLOB, bytes.into());
        tokio::time::timeout(self.config.store_timeout, put).await.map_err(|_| Refusal::store_slow())??;
        Ok(())
    }

    /// What was kept of a thread when it was made.
    pub(super) async fn made(&self, asked: &Asked, thread: &str) -> Result<Option<Made>, Refusal> {
        let key = Key::thread(&asked.caller.tenant, thread);
        let blob = tokio::time::timeout(self.config.store_timeout, self.deps.blobs.blob(&key, THREAD_BLOB));
        let blob = blob.await.map_err(|_| Refusal::store_slow())??;
        Ok(blob.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Keeps other metadata of a thread that exists, and how long it lives where that was said.
    pub(super) async fn remake_thread(
        &self,
        asked: &Asked,
        thread: &str,
        metadata: BTreeMap<String, Value>,
        ttl: Option<Timed>,
    ) -> Result<(), Refusal> {
        let made = self.made(asked, thread).await?;
        let created_at = made.as_ref().map_or_else(|| self.deps.clock.now(), |made| made.created_at);
        let (made_by, before) = made.map(|made| (made.made_by, made.ttl)).unwrap_or_default();
        self.keep(asked, thread, &Made { created_at, metadata, made_by, ttl: ttl.or(before) }).await
    }
}
