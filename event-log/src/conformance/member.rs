//! A member of a group that keeps book of what it owns and saw.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, timeout};

use super::{Stop, broken, ensure, ground::soon};
use crate::{
    contract::{Assigned, Consumer, GroupEvent},
    error::LogError,
    record::{Fetched, Offset, Partition},
};

pub(super) type Key = (Arc<str>, Partition);

pub(super) struct Member {
    pub(super) consumer: Box<dyn Consumer>,
    pub(super) owned: BTreeMap<Key, Assigned>,
    /// Revoked and not yet released.
    pub(super) revoked: Vec<Key>,
    /// Everything handed over, in that order.
    pub(super) seen: Vec<Fetched>,
    /// By partition, what to read next.
    pub(super) positions: BTreeMap<Key, Offset>,
    patience: Duration,
}

impl Member {
    pub(super) fn new(consumer: Box<dyn Consumer>, patience: Duration) -> Self {
        Member {
            consumer,
            owned: BTreeMap::new(),
            revoked: Vec::new(),
            seen: Vec::new(),
            positions: BTreeMap::new(),
            patience,
        }
    }

    /// Takes in one event.
    pub(super) async fn step(&mut self) -> Result<(), Stop> {
        let event = soon(self.patience, "an event of the group", self.consumer.next()).await??;
        self.note(event)
    }

    /// Takes in what comes for that long; false where nothing came.
    pub(super) async fn listen(&mut self, time: Duration) -> Result<bool, Stop> {
        let until = Instant::now() + time;
        let mut came = false;
        while let Ok(event) = timeout(until.saturating_duration_since(Instant::now()), self.consumer.next()).await {
            self.note(event?)?;
            came = true;
        }
        Ok(came)
    }

    pub(super) async fn until_owns(&mut self, count: usize) -> Result<(), Stop> {
        let until = Instant::now() + self.patience;
        while self.owned.len() != count {
            ensure!(Instant::now() < until, "owns {} partitions instead of {count}", self.owned.len());
            self.step().await?;
        }
        Ok(())
    }

    pub(super) async fn until_seen(&mut self, count: usize) -> Result<(), Stop> {
        while self.seen.len() < count {
            let seen = self.seen.len();
            let what = format!("record {seen} of {count} of the group");
            let event = soon(self.patience, &what, self.consumer.next()).await??;
            self.note(event)?;
        }
        Ok(())
    }

    pub(super) async fn until_revoked(&mut self) -> Result<(), Stop> {
        while self.revoked.is_empty() {
            self.step().await?;
        }
        Ok(())
    }

    pub(super) async fn commit(&mut self, key: &Key, offset: Offset, metadata: &str) -> Result<(), LogError> {
        self.consumer.commit(&key.0, key.1, offset, metadata).await
    }

    /// Commits what it saw of every partition that it still may commit.
    pub(super) async fn commit_all(&mut self) -> Result<(), Stop> {
        let may: Vec<Key> = self.owned.keys().chain(&self.revoked).cloned().collect();
        for key in may {
            if let Some(position) = self.positions.get(&key).copied() {
                self.commit(&key, position, "").await?;
            }
        }
        Ok(())
    }

    pub(super) async fn release(&mut self) -> Result<(), Stop> {
        let revoked = std::mem::take(&mut self.revoked);
        for key in &revoked {
            self.positions.remove(key);
        }
        Ok(self.consumer.release(&revoked).await?)
    }

    pub(super) async fn leave(self) -> Result<Vec<Fetched>, Stop> {
        soon(self.patience, "leaving", self.consumer.leave()).await??;
        Ok(self.seen)
    }

    pub(super) fn note(&mut self, event: GroupEvent) -> Result<(), Stop> {
        match event {
            GroupEvent::Assigned(assigned) => {
                for assigned in assigned {
                    let key = (Arc::clone(&assigned.topic), assigned.partition);
                    let position = assigned.committed.as_ref().map_or(assigned.start, |(offset, _)| *offset);
                    self.positions.insert(key.clone(), position);
                    ensure!(!self.owned.contains_key(&key), "{key:?} was assigned twice");
                    self.owned.insert(key, assigned);
                }
            }
            GroupEvent::Revoked(keys) => {
                for key in keys {
                    ensure!(self.owned.remove(&key).is_some(), "{key:?} was revoked but is not owned");
                    self.revoked.push(key);
                }
            }
            GroupEvent::Lost(keys) => {
                for key in keys {
                    self.owned.remove(&key);
                    self.positions.remove(&key);
                    self.revoked.retain(|revoked| *revoked != key);
                }
            }
            GroupEvent::Records(records) => {
                ensure!(!records.is_empty(), "an event with no records");
                for record in records {
                    let key = (Arc::clone(&record.topic), record.partition);
                    let Some(position) = self.positions.get_mut(&key).filter(|_| self.owned.contains_key(&key)) else {
                        broken!("a record of {key:?}, which is not owned");
                    };
                    ensure!(record.offset >= *position, "{key:?} went back from {position} to {}", record.offset);
                    *position = record.offset + 1;
                    self.seen.push(record);
                }
            }
        }
        Ok(())
    }
}
