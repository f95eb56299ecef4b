//! The tail of `signals`: tasks that nobody wants any more.

use std::sync::Arc;

use event_log::{LogError, Start};
use graph::task::TaskId;
use schemas::record::SignalRecord;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{AGAIN, HINTS_MAX};
use crate::consumer::Worker;

pub struct Cancelled {
    pub graph: String,
    pub node: String,
    pub tasks: Vec<TaskId>,
}

/// Reads every partition of the topic from now on.
pub async fn watch(
    worker: &Arc<Worker>,
    topic: &str,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<mpsc::Receiver<Cancelled>, LogError> {
    let (heard, hints) = mpsc::channel(HINTS_MAX);
    for partition in 0..worker.outbox.log.partitions(topic).await? {
        let (worker, topic, heard, shutdown) = (Arc::clone(worker), topic.to_owned(), heard.clone(), shutdown.clone());
        tasks.spawn(async move {
            while !shutdown.is_cancelled() {
                let ended = tokio::select! {
                    () = shutdown.cancelled() => return,
                    ended = follow(&worker, &topic, partition, &heard) => ended,
                };
                if let Err(error) = ended {
                    tracing::warn!(error = %error, topic, partition, "signals can't be read for now");
                }
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(AGAIN) => {}
                }
            }
        });
    }
    Ok(hints)
}

async fn follow(worker: &Worker, topic: &str, partition: u32, heard: &mpsc::Sender<Cancelled>) -> Result<(), LogError> {
    let mut reader = worker.outbox.log.read(topic, partition, Start::Tail).await?;
    loop {
        for fetched in reader.next().await? {
            // What can't be read is only a hint less.
            let Ok(signal) = fetched.json::<SignalRecord>() else { continue };
            let graph = signal.graph.as_ref().unwrap_or(&signal.envelope.graph).name.clone();
            let cancelled = Cancelled { graph, node: signal.node.clone(), tasks: signal.cancelled.clone() };
            if heard.send(cancelled).await.is_err() {
                return Ok(());
            }
        }
    }
}
