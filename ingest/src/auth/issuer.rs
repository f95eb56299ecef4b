//! The keys of an issuer, as they were read last. Issuers change them: a key that is not known has them read anew, once.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use bytes::Bytes;
use schemas::error::Code;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::jwt::{PublicKey, PublicKeys, read_keys, refused};
use crate::{ingest::Ingest, refusal::Refusal};

/// Reads the set of keys (a JWKS) from wherever it is.
#[async_trait]
pub trait KeySet: Send + Sync + 'static {
    /// Its bytes, or why there are none.
    async fn fetch(&self) -> Result<Bytes, String>;
}

/// An issuer takes a key back by leaving it out: so long it is taken still.
const REREAD_EVERY: Duration = Duration::from_secs(300);
/// Between two tries while nothing was ever read.
const RETRY_EVERY: Duration = Duration::from_secs(5);
/// However many tokens name keys that nobody knows, the issuer is asked this often.
const UNKNOWN_PAUSE: Duration = Duration::from_secs(10);
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that wait for one read of the keys.
const WAITING_MAX: usize = 1_000;

pub(crate) struct Issuer {
    set: Arc<dyn KeySet>,
    /// None before they were read once.
    keys: ArcSwapOption<PublicKeys>,
    /// When an unknown key had them read last. Whoever waits for it finds them read.
    asked: Mutex<Option<Instant>>,
    waiting: Semaphore,
}

impl Issuer {
    pub fn new(set: Arc<dyn KeySet>) -> Self {
        Issuer { set, keys: ArcSwapOption::empty(), asked: Mutex::default(), waiting: Semaphore::new(WAITING_MAX) }
    }

    /// The key of that name.
    pub async fn key(&self, kid: &str) -> Result<Arc<PublicKey>, Refusal> {
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        self.reread_for_unknown(kid).await?;
        match self.known(kid) {
            Some(key) => Ok(key),
            None if self.keys.load().is_some() => Err(refused("its issuer has no such key: `kid` is not known")),
            None => {
                Err(Refusal::new(Code::StoreUnavailable, "the keys of the tokens' issuer can't be read; try again"))
            }
        }
    }

    fn known(&self, kid: &str) -> Option<Arc<PublicKey>> {
        self.keys.load().as_ref()?.get(kid).cloned()
    }

    async fn reread_for_unknown(&self, kid: &str) -> Result<(), Refusal> {
        let too_many = |_| Refusal::new(Code::QueueFull, "too many tokens name keys that are not known; try again");
        let _place = self.waiting.try_acquire().map_err(too_many)?;
        let mut asked = self.asked.lock().await;
        if self.known(kid).is_some() || asked.is_some_and(|asked| asked.elapsed() < UNKNOWN_PAUSE) {
            return Ok(());
        }
        let were_read = self.keys.load().is_some();
        self.reread().await;
        // The first read says nothing of keys that come later.
        if were_read || self.keys.load().is_none() {
            *asked = Some(Instant::now());
        }
        Ok(())
    }

    /// What was known stays where nothing can be read: an issuer that is away locks nobody out.
    async fn reread(&self) {
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, self.set.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err("it did not answer in time".to_owned()));
        match fetched.and_then(|bytes| read_keys(&bytes)) {
            Ok(keys) => self.keys.store(Some(Arc::new(keys))),
            Err(reason) => {
                tracing::warn!(reason, "the keys of the tokens' issuer can't be read; those that are known hold")
            }
        }
    }
}

/// Keeps the keys as the issuer has them until shutdown.
pub(crate) async fn follow(ingest: &Ingest, shutdown: CancellationToken) {
    let Some(issuer) = ingest.keys.issuer() else { return };
    let followed = async {
        while issuer.keys.load().is_none() {
            issuer.reread().await;
            if issuer.keys.load().is_none() {
                tokio::time::sleep(RETRY_EVERY).await;
            }
        }
        let mut again = tokio::time::interval(REREAD_EVERY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        again.tick().await;
        loop {
            again.tick().await;
            issuer.reread().await;
        }
    };
    shutdown.run_until_cancelled(followed).await;
}
