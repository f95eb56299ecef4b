//! The stages of this process, started in the order that data flows, and stopped in it.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Tasks that run until the process stops. The first that ends by itself stops the others.
pub struct Stages {
    tracker: TaskTracker,
    shutdown: CancellationToken,
    failed: std::sync::Arc<std::sync::Mutex<Option<anyhow::Error>>>,
}

impl Stages {
    pub fn new() -> Self {
        Stages { tracker: TaskTracker::new(), shutdown: CancellationToken::new(), failed: std::sync::Arc::default() }
    }

    pub fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Runs a stage. Its failure stops the process: a half that looks alive is worse than a restart.
    pub fn start<F, E>(&self, name: &'static str, stage: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + Send + 'static,
    {
        let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
        self.tracker.spawn(async move {
            let result = stage.await.map_err(Into::into);
            let unexpected = !shutdown.is_cancelled();
            match result {
                Ok(()) if unexpected => tracing::error!(stage = name, "a stage ended though nobody asked it to"),
                Ok(()) => tracing::debug!(stage = name, "a stage ended"),
                Err(error) => {
                    tracing::error!(stage = name, error = format!("{error:#}"), "a stage failed");
                    let mut first = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    first.get_or_insert(error.context(format!("the stage {name} failed")));
                }
            }
            shutdown.cancel();
        });
    }

    /// Waits for SIGTERM, Ctrl-C or the first stage to end; then for all, no longer than `drain`.
    pub async fn run_until_stopped(self, drain: Duration) -> anyhow::Result<()> {
        tokio::select! {
            () = stop_signal() => tracing::info!("stopping"),
            () = self.shutdown.cancelled() => {}
        }
        self.shutdown.cancel();
        self.tracker.close();
        if tokio::time::timeout(drain, self.tracker.wait()).await.is_err() {
            tracing::warn!(
                seconds = drain.as_secs(),
                "not everything ended in time; what is left recovers at the next start"
            );
        }
        let mut failed = self.failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.take().map_or(Ok(()), Err)
    }
}

/// Resolves at SIGTERM or Ctrl-C.
pub async fn stop_signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        let terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        match terminate {
            Ok(mut terminate) => {
                tokio::select! {
                    _ = interrupt => {}
                    _ = terminate.recv() => {}
                }
            }
            Err(_) => drop(interrupt.await),
        }
    }
    #[cfg(not(unix))]
    drop(interrupt.await);
}
