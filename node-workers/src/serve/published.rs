//! What `control` says to workers: which graphs are published, and whom models' aliases ask.

use std::sync::Arc;

use schemas::record::{ControlFact, ControlRecord};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::HINTS_MAX;
use crate::{ModelRegistry, consumer::Worker};

/// Names of graphs as they are published: one that doesn't fit is found by the regular look. The second part resolves when
/// all is known that was said before.
pub fn follow(
    worker: &Worker,
    models: Arc<ModelRegistry>,
    topic: String,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> (mpsc::Receiver<String>, impl Future<Output = ()> + use<>) {
    let (heard, published) = mpsc::channel(HINTS_MAX);
    let log = Arc::clone(&worker.outbox.log);
    let (following, mut known) = event_log::follow(log, topic, move |record: &ControlRecord| match &record.fact {
        ControlFact::GraphPublished { graph, .. } => drop(heard.try_send(graph.clone())),
        ControlFact::ModelAlias { name, alias } => models.say(name, alias.as_ref()),
        ControlFact::Serves { .. }
        | ControlFact::Progress(_)
        | ControlFact::KeyChanged { .. }
        | ControlFact::KeyRevoked { .. } => {}
    });
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        shutdown.run_until_cancelled(following).await;
    });
    (published, async move { drop(known.wait_for(|known| *known).await) })
}
