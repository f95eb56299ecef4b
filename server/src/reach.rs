//! Asks log, store and Redis, where they are other processes, whether they still answer: readiness says when they don't.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use schemas::topic::CONTROL;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, LogKind, StoreKind},
    parts::Parts,
    quotas::Quotas,
};

const ASK_EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// One lost answer is no outage.
const AWAY_AFTER: Duration = Duration::from_secs(3);

/// What is away, as of the last question. Clones share it.
#[derive(Clone, Default)]
pub struct Reach(Arc<Known>);

#[derive(Default)]
struct Known {
    away: Mutex<Away>,
    /// Where this process asks them before it acts.
    quotas: OnceLock<Arc<Quotas>>,
}

#[derive(Default)]
struct Away {
    log: Option<(Instant, String)>,
    store: Option<(Instant, String)>,
    quotas: Option<(Instant, String)>,
}

impl Reach {
    /// Each part that has been away for a while, in words.
    pub fn missing(&self) -> Vec<(String, String)> {
        let away = self.0.away.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = [("log", &away.log), ("store", &away.store), ("quotas", &away.quotas)];
        let long = parts.into_iter().filter_map(|(name, since)| Some((name, since.as_ref()?)));
        long.filter(|(_, (since, _))| since.elapsed() >= AWAY_AFTER)
            .map(|(name, (since, reason))| {
                (name.to_owned(), format!("has not answered for {} s: {reason}", since.elapsed().as_secs()))
            })
            .collect()
    }

    /// This process needs them too.
    pub fn add_quotas(&self, quotas: Arc<Quotas>) {
        let _ = self.0.quotas.set(quotas);
    }

    /// Whether others keep what limits this process.
    pub fn asks_quotas(&self) -> bool {
        self.0.quotas.get().is_some_and(|quotas| quotas.are_shared())
    }

    /// Asks until shutdown.
    pub async fn ask(self, config: Config, parts: Parts, shutdown: CancellationToken) {
        let asking = async {
            loop {
                let asked = Instant::now();
                let (log, store, quotas) = tokio::join!(
                    in_time(&config.log.brokers, log(&config, &parts)),
                    in_time(&config.store.nodes, store(&config, &parts)),
                    self.quotas()
                );
                self.note(asked, [log, store, quotas]);
                tokio::time::sleep(ASK_EVERY).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = asking => {}
        }
    }

    /// They are answered in time, or fail.
    async fn quotas(&self) -> Result<(), String> {
        match self.0.quotas.get() {
            Some(quotas) => quotas.reach().await.map_err(|error| error.to_string()),
            None => Ok(()),
        }
    }

    fn note(&self, asked: Instant, answers: [Result<(), String>; 3]) {
        let mut away = self.0.away.lock().unwrap_or_else(PoisonError::into_inner);
        let Away { log, store, quotas } = &mut *away;
        for (known, answer) in [log, store, quotas].into_iter().zip(answers) {
            *known = answer.err().map(|reason| (known.as_ref().map_or(asked, |(since, _)| *since), reason));
        }
    }
}

async fn log(config: &Config, parts: &Parts) -> Result<(), String> {
    if config.log.kind == LogKind::Embedded {
        return Ok(());
    }
    let answer = parts.log.bounds(&parts.names.of(CONTROL), 0).await;
    answer.map(drop).map_err(|error| error.to_string())
}

async fn store(config: &Config, parts: &Parts) -> Result<(), String> {
    if config.store.kind == StoreKind::Embedded {
        return Ok(());
    }
    let answer = parts.store.current_of("").await;
    answer.map(drop).map_err(|error| error.to_string())
}

/// The answer, or what is wrong at the address.
async fn in_time(at: &Option<String>, answer: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, answer).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())));
    answer.map_err(|reason| format!("{}: {reason}", at.as_deref().unwrap_or_default()))
}
