//! What `control` says to workers, and what they say there: which graphs are published, whom models' aliases ask, and which
//! models fail too often.

use std::sync::Arc;

use event_log::Record;
use schemas::record::{BreakerState, ControlFact, ControlRecord, Wire};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::HINTS_MAX;
use crate::{ModelRegistry, consumer::Worker, models::Change, outbox::Outbox};

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
    let by = worker.executor.random.uuid();
    models.breakers().tell_by(teller(worker, topic.clone(), by));
    let (following, mut known) = event_log::follow(log, topic, move |record: &ControlRecord| match &record.fact {
        ControlFact::GraphPublished { graph, .. } => drop(heard.try_send(graph.clone())),
        ControlFact::ModelAlias { name, alias } => models.say(name, alias.as_ref()),
        ControlFact::Breaker(state) if state.by != by => {
            let BreakerState { target, open_until, times, by: _ } = state;
            let opened = |until| Change::Opened { until, times: *times };
            models.breakers().hear(target, open_until.map_or(Change::Closed, opened));
        }
        ControlFact::Breaker(_)
        | ControlFact::Serves { .. }
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

/// The next saying replaces it: a lost one is no loss.
fn teller(worker: &Worker, topic: String, by: Uuid) -> impl Fn(&str, Change) + Send + Sync + use<> {
    let Outbox { log, clock, source, .. } = &worker.outbox;
    let (log, clock, source) = (Arc::clone(log), Arc::clone(clock), Arc::clone(source));
    move |target, change| {
        let (open_until, times) = match change {
            Change::Opened { until, times } => (Some(until), times),
            Change::Closed => (None, 0),
        };
        let state = BreakerState { target: target.to_owned(), open_until, times, by };
        let record = ControlRecord { at: clock.now(), fact: ControlFact::Breaker(state) };
        let wire = Record::json(record.key(), record.headers(&source, None), Arc::new(record));
        drop(log.append(&topic, 0, wire));
    }
}
