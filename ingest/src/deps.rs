//! What ingest takes from outside.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use event_log::EventLog;
use graph::world::{Clock, Random};
use quota::Rates;
use run_store::{Blobs, Claims, Keys, LongTermStore, Specs};

use crate::auth::issuer::KeySet;

pub struct Deps {
    pub log: Arc<dyn EventLog>,
    pub claims: Arc<dyn Claims>,
    pub keys: Arc<dyn Keys>,
    /// The keys of whoever issues tokens; None where none are taken.
    pub key_set: Option<Arc<dyn KeySet>>,
    pub specs: Arc<dyn Specs>,
    /// Keeps what a client says of a thread before its first run.
    pub blobs: Arc<dyn Blobs>,
    /// What clients and nodes keep, apart from runs.
    pub store: LongTermStore,
    pub sinks: Arc<dyn Sinks>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// What keys and users may have in a minute; None where nothing is limited.
    pub rates: Option<Arc<dyn Rates>>,
    /// What `/ready` answers.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// What `/metrics` answers: Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

/// The sinks, wherever they run: in process by the sink's router, apart over one HTTP/2 connection each.
///
/// Paths are those of [`schemas::stream`]. The future resolves with the response's head; the body streams.
#[async_trait]
pub trait Sinks: Send + Sync + 'static {
    /// Calls the sink that serves `partition` of `updates`; None: any sink (lists).
    async fn call(
        &self,
        partition: Option<u32>,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, SinkUnavailable>;
}

/// No sink could be asked: its address is not known yet, or it does not answer. Asking again may help.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no sink can be reached: {reason}")]
pub struct SinkUnavailable {
    pub reason: String,
}

/// Whether the process can do its work, and why not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    pub ready: bool,
    /// Name of a check and what it says, such as `log`, `ok`.
    pub checks: Vec<(String, String)>,
}

impl Readiness {
    pub fn ok() -> Self {
        Readiness { ready: true, checks: Vec::new() }
    }
}
