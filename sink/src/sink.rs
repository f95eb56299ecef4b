//! The sink as `server` holds it: a router to serve, and a loop to run.

use axum::{Router, http::StatusCode};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Deps},
    error::Error,
};

/// Cheap to clone; all clones are one sink.
#[derive(Clone)]
pub struct Sink;

impl Sink {
    pub fn new(_config: Config, _deps: Deps) -> Self {
        Sink
    }

    /// Everything of [`schemas::stream`]'s table, under `/internal`.
    ///
    /// Not built yet: every request is 501.
    pub fn router(&self) -> Router {
        Router::new().fallback(|| async { StatusCode::NOT_IMPLEMENTED })
    }

    /// Consumes `updates` and `tokens` until `shutdown`, then writes what it has read and leaves the group.
    ///
    /// Not built yet: consumes nothing.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        shutdown.cancelled().await;
        Ok(())
    }
}

/// [`Sink::new`] and [`Sink::run`] in one, for who needs no router.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    Sink::new(config, deps).run(shutdown).await
}
