//! What `/ready` answers: each thing that this process needs, and why it can't be used.
//!
//! A model's server is known by the last call; it is asked itself only when `/ready` is, and then once in half a minute
//! at most.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use event_log::ProgressBoard;
use ingest::Readiness;
use node_workers::{ModelRegistry, models::Reached};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{config::OnModel, quotas::Quotas, reach::Reach};

/// A consumer that has work and does not move for this long makes `/ready` red.
const STALLED_AFTER: Duration = Duration::from_secs(30);
/// Between two probes of a model's server.
const PROBE_EVERY: Duration = Duration::from_secs(30);

/// Shared by the process and by who answers `/ready`.
#[derive(Clone)]
pub struct Dependencies(Arc<Inner>);

struct Inner {
    board: ProgressBoard,
    shutdown: CancellationToken,
    /// Log, store and Redis.
    reach: Reach,
    models: OnceLock<Models>,
    /// Somebody looks at `/ready`.
    looked: Notify,
}

struct Models {
    registry: Arc<ModelRegistry>,
    /// Providers that the configuration's aliases name.
    named: Vec<String>,
    on_failure: OnModel,
}

impl Dependencies {
    pub fn new(board: ProgressBoard, reach: Reach, shutdown: CancellationToken) -> Self {
        Dependencies(Arc::new(Inner { board, shutdown, reach, models: OnceLock::new(), looked: Notify::new() }))
    }

    /// This process calls models.
    pub fn add_models(&self, registry: Arc<ModelRegistry>, named: Vec<String>, on_failure: OnModel) {
        let _ = self.0.models.set(Models { registry, named, on_failure });
    }

    /// This process looks up what limits it.
    pub fn add_quotas(&self, quotas: Arc<Quotas>) {
        self.0.reach.add_quotas(quotas);
    }

    /// Probes models' servers that no call has asked lately, when somebody wants to know.
    pub async fn follow_models(self) {
        let probing = async {
            loop {
                self.0.looked.notified().await;
                let Some(models) = self.0.models.get() else { continue };
                models.registry.probe(&models.named, PROBE_EVERY).await;
            }
        };
        self.0.shutdown.run_until_cancelled(probing).await;
    }

    pub fn look(&self) -> Readiness {
        self.0.looked.notify_one();
        let missing = self.0.reach.missing();
        let part = |name: &str| match missing.iter().find(|(part, _)| part == name) {
            Some((_, reason)) => Check::fail(name, reason.clone()),
            None => Check::ok(name),
        };
        let mut checks = vec![part("log"), part("store")];
        checks.extend(self.0.reach.asks_quotas().then(|| part("quotas")));
        checks.extend(self.0.models.get().map(Models::check));
        checks.push(progress(&self.0.board.stalled(STALLED_AFTER)));
        if self.0.shutdown.is_cancelled() {
            checks.push(Check::fail("shutdown", "this process is stopping".to_owned()));
        }
        let ready = checks.iter().all(|check| check.ready);
        Readiness { ready, checks: checks.into_iter().map(|check| (check.name, check.says)).collect() }
    }
}

fn progress(stalls: &[String]) -> Check {
    match stalls {
        [] => Check::ok("progress"),
        stalls => Check::fail("progress", stalls.join("; ")),
    }
}

impl Models {
    fn check(&self) -> Check {
        let known = self.registry.reached();
        let mut away = Vec::new();
        for (provider, reached) in &known {
            match reached {
                Reached::No(reason) => away.push(format!("{provider} can't be used ({reason})")),
                Reached::NotAsked if self.named.contains(provider) => {
                    away.push(format!("{provider} was not asked yet"))
                }
                Reached::NotAsked | Reached::Yes => {}
            }
        }
        match (away.is_empty(), self.on_failure) {
            (true, _) => Check::ok("models"),
            (false, OnModel::Fail) => Check::fail("models", away.join("; ")),
            (false, OnModel::Warn) => Check { ready: true, ..Check::said("models", "warn", away.join("; ")) },
        }
    }
}

struct Check {
    name: String,
    ready: bool,
    says: String,
}

impl Check {
    fn ok(name: &str) -> Self {
        Check { name: name.to_owned(), ready: true, says: "ok".to_owned() }
    }

    fn fail(name: &str, reason: String) -> Self {
        Check::said(name, "fail", reason)
    }

    fn said(name: &str, state: &str, reason: String) -> Self {
        Check { name: name.to_owned(), ready: false, says: format!("{state}: {reason}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(dependencies: &Dependencies) -> (bool, Vec<(String, String)>) {
        let Readiness { ready, checks } = dependencies.look();
        (ready, checks)
    }

    fn check(name: &str, says: &str) -> (String, String) {
        (name.to_owned(), says.to_owned())
    }

    #[test]
    fn each_dependency_is_named_with_its_reason() {
        let shutdown = CancellationToken::new();
        let dependencies = Dependencies::new(ProgressBoard::default(), Reach::default(), shutdown.clone());
        assert_eq!(says(&dependencies), (true, ["log", "store", "progress"].map(|name| check(name, "ok")).to_vec()));
        let stalled = progress(&["partition 0 stands".to_owned(), "partition 1 stands".to_owned()]);
        assert_eq!((stalled.ready, stalled.says.as_str()), (false, "fail: partition 0 stands; partition 1 stands"));
        shutdown.cancel();
        let (ready, checks) = says(&dependencies);
        assert!(!ready);
        assert_eq!(checks.last(), Some(&check("shutdown", "fail: this process is stopping")));
    }
}
