//! The stage as a value: what its handlers share, its router, and its life.

use std::{ops::Deref, sync::Arc};

use axum::{Router, middleware::from_fn_with_state};
use schemas::error::Code;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::Admission,
    auth::{self, Keys},
    bound,
    config::Config,
    control, cors,
    deps::Deps,
    error::Error,
    layers, metrics,
    models::{self, Aliases},
    published::Published,
    refusal::Refusal,
    route, serve,
};

/// Cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Parts>);

pub struct Parts {
    pub(crate) config: Config,
    pub(crate) deps: Deps,
    pub(crate) keys: Keys,
    pub(crate) published: Published,
    pub(crate) aliases: Aliases,
    pub(crate) admission: Admission,
    pub(crate) in_flight: Semaphore,
    /// What goes on behind an answer.
    pub(crate) background: TaskTracker,
}

impl Deref for Ingest {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Ingest {
    pub fn new(config: Config, deps: Deps) -> Result<Self, Error> {
        metrics::describe();
        cors::check(&config.cors)?;
        Ok(Ingest(Arc::new(Parts {
            keys: Keys::new(&config.auth, config.jwt.clone(), deps.key_set.clone())?,
            published: Published::default(),
            aliases: Aliases::default(),
            admission: Admission::new(config.admission.clone()),
            in_flight: Semaphore::new(config.requests_in_flight_max),
            background: TaskTracker::new(),
            config,
            deps,
        })))
    }

    /// Everything that clients meet. It answers for graphs once [`Ingest::follow`] runs.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        for route in route::all() {
            router = router.route(route.path, route.handler(self));
        }
        router
            .fallback(bound::serve)
            .method_not_allowed_fallback(async || Refusal::new(Code::MethodNotAllowed, "this path has no such method"))
            .layer(from_fn_with_state(self.clone(), layers::observe))
            .layer(cors::layer(&self.config.cors))
            .with_state(self.clone())
    }

    /// Keeps the tables of published graphs, keys (ours and an issuer's) and models' aliases fresh, and listens to the
    /// owners' progress, until shutdown.
    pub async fn follow(&self, shutdown: CancellationToken) {
        tokio::join!(
            control::follow(self, shutdown.clone()),
            auth::made::follow(self, shutdown.clone()),
            auth::issuer::follow(self, shutdown.clone()),
            shutdown.run_until_cancelled(models::follow(self)),
        );
    }
}

/// Serves `listener` until shutdown, then lets requests under way end within `drain_timeout`. `beside` is what another
/// stage of the process serves there.
pub async fn run(
    ingest: Ingest,
    beside: Router,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let tasks = TaskTracker::new();
    let follower = ingest.clone();
    let until = shutdown.clone();
    tasks.spawn(async move { follower.follow(until).await });
    serve::serve(ingest.router().merge(beside), listener, &ingest.config, &tasks, shutdown).await;
    tasks.close();
    tasks.wait().await;
    ingest.background.close();
    ingest.background.wait().await;
    Ok(())
}
