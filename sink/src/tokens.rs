//! Reads the tokens of one partition into memory, for as long as the partition is ours.

use std::sync::{Arc, Mutex};

use event_log::{LogError, Reader, Start};
use metrics::counter;
use schemas::{record::TokenRecord, topic::TOKENS};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    live::{Shard, lock},
    metrics::TOKENS_DROPPED,
    shared::{Backoff, Shared},
};

/// Where a new owner begins: a little before the tail, since streams that it takes over were fed from there.
pub async fn beginning(shared: &Shared, partition: u32) -> Result<u64, LogError> {
    let (start, tail) = shared.deps.log.bounds(&shared.deps.names.of(TOKENS), partition).await?;
    Ok(tail.saturating_sub(shared.config.token_lookback_records).max(start))
}

pub async fn read(shared: Arc<Shared>, partition: u32, shard: Arc<Mutex<Shard>>, stop: CancellationToken) {
    let mut backoff = Backoff::new(shared.config.retry_pause);
    let Some(()) = stop.run_until_cancelled(read_on(&shared, partition, &shard, &mut backoff)).await else { return };
}

async fn read_on(shared: &Shared, partition: u32, shard: &Mutex<Shard>, backoff: &mut Backoff) {
    let topic = shared.deps.names.of(TOKENS);
    loop {
        let next = lock(shard).tokens_next;
        let failed = match shared.deps.log.read(&topic, partition, Start::At(next)).await {
            Ok(reader) => take(reader, shard, backoff).await,
            Err(failed) => failed,
        };
        match failed {
            LogError::Closed => return,
            LogError::OutOfRange { start, .. } => {
                // They were minutes old; streams that needed them are told when they come back.
                lock(shard).lose_tokens(start);
            }
            failed => {
                warn!(error = %failed, partition, "tokens can't be read; streams go without, and this is tried again")
            }
        }
        backoff.pause().await;
    }
}

/// Returns when reading fails.
async fn take(mut reader: Box<dyn Reader>, shard: &Mutex<Shard>, backoff: &mut Backoff) -> LogError {
    loop {
        let fetched = match reader.next().await {
            Ok(fetched) => fetched,
            Err(failed) => return failed,
        };
        backoff.reset();
        let now = Instant::now();
        let mut shard = lock(shard);
        for fetched in fetched {
            match fetched.json::<TokenRecord>() {
                Ok(record) => shard.token(fetched.offset, record, now),
                Err(_) => {
                    shard.tokens_next = fetched.offset + 1;
                    counter!(TOKENS_DROPPED, "reason" => "garbage").increment(1);
                }
            }
        }
    }
}
