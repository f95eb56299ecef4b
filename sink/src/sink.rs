//! The sink as `server` holds it: a router to serve, and a loop to run.

use std::{sync::Arc, time::Duration};

use axum::Router;
use metrics::gauge;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Deps},
    error::Error,
    intake::Intake,
    live::lock,
    metrics::{LIVE_BYTES, LIVE_RUNS, describe},
    routes,
    shared::Shared,
    write,
};

/// How often it is looked whether something was held back for too long.
const HOLD_TICK: Duration = Duration::from_millis(20);
/// How often what is old leaves memory.
const SWEEP_TICK: Duration = Duration::from_millis(500);

/// Cheap to clone; all clones are one sink.
#[derive(Clone)]
pub struct Sink {
    shared: Arc<Shared>,
    router: Router,
}

impl Sink {
    pub fn new(config: Config, deps: Deps) -> Self {
        describe();
        let shared = Shared::new(config, deps);
        let router = routes::router(Arc::clone(&shared));
        Sink { shared, router }
    }

    /// Everything of [`schemas::stream`]'s table, under `/internal`. Cheap to clone and to call in process.
    ///
    /// Runs and threads are [`schemas::stream::MOVED_STATUS`] until [`Sink::run`] has been given their partition.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Consumes `updates` and `tokens` until `shutdown`, then writes what it has read, ends streams as moved and leaves
    /// the group. Runs once.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let shared = self.shared;
        let (batches, to_write) = mpsc::unbounded_channel();
        let (written, marks) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let writer = write::run(Arc::clone(&shared), to_write, written);
        shared.tasks.spawn(stop.clone().run_until_cancelled_owned(writer));
        shared.tasks.spawn(stop.clone().run_until_cancelled_owned(keep_house(Arc::clone(&shared))));
        let result = Intake::new(Arc::clone(&shared), batches, marks).run(shutdown).await;
        stop.cancel();
        shared.tasks.close();
        // What is left says facts on the log, which answers or is closed.
        let _ = tokio::time::timeout(shared.config.release_within, shared.tasks.wait()).await;
        result
    }
}

/// [`Sink::new`] and [`Sink::run`] in one, for who needs no router.
pub async fn run(config: Config, deps: Deps, shutdown: CancellationToken) -> Result<(), Error> {
    Sink::new(config, deps).run(shutdown).await
}

async fn keep_house(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(HOLD_TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        let sweeps = now.duration_since(swept) >= SWEEP_TICK;
        if sweeps {
            swept = now;
        }
        let shards = shared.live.shards();
        let bytes_max = shared.config.live_bytes_max / shards.len().max(1);
        let (mut bytes, mut runs) = (0, 0);
        for shard in &shards {
            let mut shard = lock(shard);
            shard.expire_held(now);
            if sweeps {
                shard.sweep(now, bytes_max);
                bytes += shard.bytes();
                runs += shard.runs_in_memory();
            }
        }
        if sweeps {
            gauge!(LIVE_BYTES).set(bytes as f64);
            gauge!(LIVE_RUNS).set(runs as f64);
        }
    }
}
