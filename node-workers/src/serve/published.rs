//! The tail of `control`: graphs published while the worker runs.

use std::sync::Arc;

use event_log::{LogError, Reader, Start};
use schemas::record::{ControlFact, ControlRecord};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::HINTS_MAX;
use crate::consumer::Worker;

/// Names of graphs as they are published, from now on. Where a reader ends, the regular look finds them.
pub async fn watch(
    worker: &Arc<Worker>,
    topic: &str,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<mpsc::Receiver<String>, LogError> {
    let (heard, published) = mpsc::channel(HINTS_MAX);
    for partition in 0..worker.outbox.log.partitions(topic).await? {
        let reader = worker.outbox.log.read(topic, partition, Start::Tail).await?;
        let (topic, heard, shutdown) = (topic.to_owned(), heard.clone(), shutdown.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                ended = follow(reader, &heard) => {
                    if let Err(error) = ended {
                        tracing::warn!(error = %error, topic, partition, "published graphs are only looked up from now on");
                    }
                }
            }
        });
    }
    Ok(published)
}

async fn follow(mut reader: Box<dyn Reader>, heard: &mpsc::Sender<String>) -> Result<(), LogError> {
    loop {
        for fetched in reader.next().await? {
            let Ok(record) = fetched.json::<ControlRecord>() else { continue };
            if let ControlFact::GraphPublished { graph, .. } = &record.fact
                && heard.send(graph.clone()).await.is_err()
            {
                return Ok(());
            }
        }
    }
}
