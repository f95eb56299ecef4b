//! A reader outside of any group.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{
    config::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX},
    feed::{Feed, Quota, Source},
    partition::PartitionLog,
};
use crate::{
    contract::{Reader, Start},
    error::LogError,
    record::Fetched,
};

pub(super) struct PartitionReader {
    feed: Feed,
    source: Source,
    wake: Arc<Notify>,
}

impl PartitionReader {
    pub(super) fn open(log: Arc<PartitionLog>, start: Start, source: Source) -> Result<Self, LogError> {
        let (oldest, end) = log.bounds();
        let position = match start {
            Start::Earliest => oldest,
            Start::Tail => end,
            Start::At(offset) if (oldest..=end).contains(&offset) => offset,
            Start::At(offset) => return Err(log.out_of_range(offset)),
        };
        let wake = source.status.waker();
        Ok(PartitionReader { feed: Feed::new(log, position, &wake), source, wake })
    }
}

#[async_trait]
impl Reader for PartitionReader {
    async fn next(&mut self) -> Result<Vec<Fetched>, LogError> {
        const QUOTA: Quota = Quota { records: BATCH_RECORDS_MAX, bytes: BATCH_BYTES_MAX, fetch: true };
        loop {
            self.source.status.check()?;
            let mut records = Vec::new();
            self.feed.take(&self.source, QUOTA, &mut records)?;
            if !records.is_empty() {
                return Ok(records);
            }
            self.wake.notified().await;
        }
    }
}
