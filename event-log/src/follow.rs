//! What a compacted topic says: all that it holds, then what comes.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{
    contract::{EventLog, Start},
    error::LogError,
    record::Partition,
};

/// Between two tries to read.
const AGAIN: Duration = Duration::from_secs(1);

/// Gives `each` every value of the topic, from the oldest on, and for ever what comes. Where reading fails it begins
/// anew, so that a value may be given again. Records that are no `T` are skipped.
///
/// The second part turns true when everything has been given that was there at the beginning.
pub fn follow<T>(
    log: Arc<dyn EventLog>,
    topic: String,
    each: impl Fn(&T) + Send + Sync + 'static,
) -> (impl Future<Output = ()> + Send, watch::Receiver<bool>)
where
    T: DeserializeOwned + Send + Sync + 'static,
{
    let (said, has_caught_up) = watch::channel(false);
    let following = async move {
        let partitions = loop {
            match log.partitions(&topic).await {
                Ok(partitions) => break partitions,
                Err(error) => again(&topic, &error).await,
            }
        };
        let behind = AtomicU32::new(partitions);
        let caught_up = || {
            if behind.fetch_sub(1, Ordering::Relaxed) == 1 {
                said.send_replace(true);
            }
        };
        let all = (0..partitions).map(|partition| one(&*log, &topic, partition, &each, &caught_up));
        futures_util::future::join_all(all).await;
    };
    (following, has_caught_up)
}

async fn one<T>(
    log: &dyn EventLog,
    topic: &str,
    partition: Partition,
    each: &(impl Fn(&T) + Sync),
    caught_up: &(impl Fn() + Sync),
) where
    T: DeserializeOwned + Send + Sync + 'static,
{
    let mut said = false;
    loop {
        let read = async {
            let (oldest, end) = log.bounds(topic, partition).await?;
            let mut reader = log.read(topic, partition, Start::Earliest).await?;
            let mut next = oldest;
            loop {
                if next >= end && !std::mem::replace(&mut said, true) {
                    caught_up();
                }
                for fetched in reader.next().await? {
                    next = fetched.offset + 1;
                    if let Ok(value) = fetched.json::<T>() {
                        each(&value);
                    }
                }
            }
        };
        let read: Result<Infallible, LogError> = read.await;
        let Err(error) = read;
        again(topic, &error).await;
    }
}

async fn again(topic: &str, error: &LogError) {
    tracing::warn!(topic, %error, "can't be followed, trying again");
    tokio::time::sleep(AGAIN).await;
}
