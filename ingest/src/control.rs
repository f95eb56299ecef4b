//! Follows `control`: published graphs, changed keys, owners' progress. The store is read after the tail is taken, so that
//! no publication falls between the two.

use std::{sync::Arc, time::Duration};

use event_log::{LogError, Reader, Record, Start};
use run_store::StoreError;
use schemas::{
    record::{ControlFact, ControlRecord, Wire},
    topic::CONTROL,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{ingest::Ingest, published::Graph, refusal::Refusal};

/// Between two tries to read the log or the store.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The table is read anew this often, so that a lost record can't keep it stale for ever.
const RELOAD_EVERY: Duration = Duration::from_secs(60);

pub(crate) async fn follow(ingest: &Ingest, shutdown: CancellationToken) {
    let topic = ingest.config.names.of(CONTROL);
    let followed = async {
        let partitions = partitions(ingest, &topic).await;
        let tails = (0..partitions).map(|partition| tail_for_ever(ingest, &topic, partition));
        futures_util::future::join_all(tails).await;
    };
    shutdown.run_until_cancelled(followed).await;
}

async fn partitions(ingest: &Ingest, topic: &str) -> u32 {
    loop {
        match ingest.deps.log.partitions(topic).await {
            Ok(partitions) => return partitions,
            Err(error) => tracing::warn!(%error, "the topic of control facts can't be read yet"),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

async fn tail_for_ever(ingest: &Ingest, topic: &str, partition: u32) {
    loop {
        let Err(error) = tail(ingest, topic, partition).await;
        tracing::warn!(%error, "control facts are read anew");
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum TailError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

enum Never {}

async fn tail(ingest: &Ingest, topic: &str, partition: u32) -> Result<Never, TailError> {
    let mut reader = ingest.deps.log.read(topic, partition, Start::Tail).await?;
    let mut reload = tokio::time::interval(RELOAD_EVERY);
    reload.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = reload.tick() => ingest.published.load(&ingest.deps.specs.current().await?),
            facts = next(&mut *reader) => for fact in facts? {
                apply(ingest, &fact.fact).await?;
            },
        }
    }
}

async fn next(reader: &mut dyn Reader) -> Result<Vec<Arc<ControlRecord>>, LogError> {
    let fetched = reader.next().await?;
    let parsed = fetched.iter().filter_map(|fetched| {
        let offset = fetched.offset;
        fetched
            .json::<ControlRecord>()
            .inspect_err(|error| tracing::warn!(offset, %error, "a control fact is skipped"))
            .ok()
    });
    Ok(parsed.collect())
}

async fn apply(ingest: &Ingest, fact: &ControlFact) -> Result<(), StoreError> {
    match fact {
        ControlFact::Progress(progress) => ingest.admission.hear(progress.clone(), Instant::now()),
        ControlFact::GraphPublished { graph, hash } => {
            if ingest.published.get(graph).is_some_and(|known| known.hash == *hash) {
                return Ok(());
            }
            // What the store calls current is asked for, and not the fact's hash: two publications may have raced.
            if let Some(graph) = ingest.deps.specs.current_of(graph).await?.as_ref().and_then(Graph::read) {
                ingest.published.put(Arc::new(graph));
            }
        }
        ControlFact::KeyChanged { .. } => ingest.keys.made.changed(),
        ControlFact::KeyRevoked { key } => {
            ingest.keys.made.forget(key);
            ingest.keys.made.changed();
        }
        ControlFact::Serves { .. } | ControlFact::ModelAlias { .. } | ControlFact::Breaker(_) => {}
    }
    Ok(())
}

impl Ingest {
    pub(crate) async fn tell(&self, fact: ControlFact) -> Result<(), Refusal> {
        let topic = self.config.names.of(CONTROL);
        let record = ControlRecord { at: self.deps.clock.now(), fact };
        let key = record.key();
        let partition = event_log::partition_for(key.as_bytes(), self.deps.log.partitions(&topic).await?);
        let record = Record::json(key, record.headers(&self.config.source, None), Arc::new(record));
        self.deps.log.append(&topic, partition, record).await?;
        Ok(())
    }
}
