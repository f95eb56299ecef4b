//! Outputs, then state, then commit: what is stored when, and up to where the group's offset may move.

use std::{sync::Arc, time::Duration};

use event_log::{Offset, Partition};
use futures_util::{FutureExt, StreamExt};
use graph::envelope::{Key, Millis};
use run_store::{
    Blobs, Position, StoreError,
    rows::StateRow,
    values::{Values, put_values},
};
use schemas::{
    reference::{Layout, put_away},
    topic::ORCHESTRATOR_GROUP,
};
use tokio::time::Instant;

use super::{Done, Owner, Slot, Told, archive::archived_row};
use crate::{error::Error, metrics};

/// Archived checkpoints in one write to the store.
const ARCHIVED_PER_WRITE_MAX: usize = 512;
/// How long a claimed run's end is remembered: as long as its idempotency key.
const CLOSED_KEPT_MS: Millis = 24 * 3600 * 1000;

/// What the group has been told.
pub struct Mark {
    committed: (Offset, Offset),
    asked: Option<(Offset, Offset)>,
    covering: Option<(Offset, Offset)>,
    failing_since: Option<Instant>,
}

impl Mark {
    pub fn new(replay_from: Offset) -> Self {
        Mark { committed: (replay_from, 0), asked: None, covering: None, failing_since: None }
    }

    /// An owner whose commits fail may have been replaced without hearing of it.
    pub fn check(&self, partition: Partition, failing_max: Duration) -> Result<(), Error> {
        match self.failing_since {
            Some(since) if since.elapsed() > failing_max => {
                Err(Error::CommitsFail { partition, seconds: since.elapsed().as_secs() })
            }
            _ => Ok(()),
        }
    }
}

/// The commit's metadata: up to where outputs are surely in the log.
pub fn metadata(issued_up_to: Offset) -> String {
    format!("i={issued_up_to}")
}

/// Reads [`metadata`]; without it nothing beyond the offset is sure.
pub fn issued_up_to(metadata: &str) -> Option<Offset> {
    metadata.strip_prefix("i=")?.parse().ok()
}

impl Owner {
    pub(super) fn mark_dirty(&mut self, key: &Key, offset: Offset) {
        let Some(Slot::Ready(resident)) = self.slots.get_mut(key) else { return };
        if resident.storing {
            if resident.dirty_next.is_none() {
                resident.dirty_next = Some(offset);
                self.marks.dirty(offset);
            }
        } else if resident.dirty_since.is_none() {
            resident.dirty_since = Some(offset);
            resident.dirty_from = Some(Instant::now());
            self.marks.dirty(offset);
        }
    }

    /// The next write of states takes this one along: somebody waits for it.
    pub(super) fn store_soon(&mut self, key: &Key) {
        if let Some(Slot::Ready(resident)) = self.slots.get_mut(key) {
            resident.dirty_from = None;
        }
    }

    /// A closed key leaves memory; a row of it that may stand in the store is deleted first.
    pub(super) fn drop_if_closed(&mut self, key: &Key) {
        if self.recovery.is_some() {
            return;
        }
        let Some(Slot::Ready(resident)) = self.slots.get_mut(key) else { return };
        if !resident.state().is_closed() || resident.in_flight > 0 || resident.storing {
            return;
        }
        if resident.stored && resident.dirty_since.is_some() {
            // The next write of states deletes it.
            resident.dirty_from = None;
            return;
        }
        if let Some(since) = resident.dirty_since {
            self.marks.clean(since);
        }
        let wake = resident.wake_at;
        self.wakes.set(key, wake, None);
        self.slots.remove(key);
    }

    /// Stores states whose outputs are all acked and that have been dirty for a while: most runs end before.
    pub(super) fn store_old_states(&mut self, all: bool) -> Result<(), Error> {
        if self.storing || self.recovery.is_some() {
            return Ok(());
        }
        let mut rows = Vec::new();
        let mut values: Vec<(Key, Values)> = Vec::new();
        let mut archived = Vec::new();
        let mut keys = Vec::new();
        for (key, slot) in &mut self.slots {
            let Slot::Ready(resident) = slot else { continue };
            let old = resident.dirty_from.is_none_or(|from| from.elapsed() >= self.config.store_after);
            let (Some(_), Some(applied), true) = (resident.dirty_since, resident.applied, resident.in_flight == 0)
            else {
                continue;
            };
            if resident.storing || !(old || all) {
                continue;
            }
            let position = Position::new(self.config.generation, applied).ok_or(Error::Position { offset: applied })?;
            let state = resident.state();
            let closed = state.is_closed();
            let mut stored = (!closed).then(|| bytes::Bytes::from(state.encode()));
            if let Some(put) = stored.as_deref().and_then(|state| put_away(state, key, &Layout::STATE)) {
                stored = Some(put.json);
                values.push((key.clone(), put.values));
            }
            for put_away in resident.archived.iter().filter(|_| !closed) {
                archived.push(archived_row(key, put_away, self.config.generation, &mut values)?);
            }
            rows.push(StateRow {
                key: key.clone(),
                partition: self.partition,
                position,
                state: stored,
                wake_at: if closed { None } else { resident.wake_at },
                expires_at: resident.is_remembered_only().then(|| self.deps.clock.now() + CLOSED_KEPT_MS),
            });
            resident.storing = true;
            resident.stored = true;
            keys.push((key.clone(), applied));
            if rows.len() >= self.config.states_per_write_max {
                break;
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.storing = true;
        let (states, blobs) = (Arc::clone(&self.deps.states), Arc::clone(&self.deps.blobs));
        let archive = Arc::clone(&self.deps.archive);
        self.work.push(
            async move {
                let started = Instant::now();
                let result = async {
                    put_all(&*blobs, values).await?;
                    for some in archived.chunks(ARCHIVED_PER_WRITE_MAX) {
                        archive.put_archived(some).await?;
                    }
                    states.put_states(&rows).await
                };
                let result = result.await;
                ::metrics::histogram!(metrics::STORE_SECONDS).record(started.elapsed().as_secs_f64());
                Done::Stored { keys, result }
            }
            .boxed(),
        );
        Ok(())
    }

    pub(super) fn on_stored(&mut self, keys: Vec<(Key, Offset)>, result: Result<(), StoreError>) {
        self.storing = false;
        if let Err(error) = &result {
            tracing::warn!(partition = self.partition, %error, "states can't be stored, trying again");
        }
        for (key, stored_at) in keys {
            let resident = match self.slots.get_mut(&key) {
                Some(Slot::Ready(resident) | Slot::Waiting { resident: Some(resident), .. }) => resident,
                Some(Slot::Waiting { resident: None, .. }) | None => continue,
            };
            resident.storing = false;
            let next = resident.dirty_next.take();
            if result.is_ok() {
                if let Some(since) = resident.dirty_since.take() {
                    self.marks.clean(since);
                }
                resident.archived.retain(|archived| archived.offset > stored_at);
                resident.dirty_since = next;
                resident.dirty_from = next.map(|_| Instant::now());
            } else if let Some(next) = next {
                // The older mark stands for both.
                self.marks.clean(next);
            }
            if resident.dirty_since.is_none() && resident.state().is_closed() {
                resident.stored = false;
            }
            self.drop_if_closed(&key);
        }
    }

    /// Clean keys that nothing touches leave memory; their timers stay in `wakes`, and in the store for the next owner.
    pub(super) fn evict(&mut self) {
        let crowded = self.slots.len() > self.config.resident_keys_max;
        let evict_after = self.config.evict_after;
        self.slots.retain(|_, slot| match slot {
            Slot::Ready(resident) => !(resident.is_clean() && (crowded || resident.touched.elapsed() >= evict_after)),
            Slot::Waiting { .. } => true,
        });
        ::metrics::gauge!(metrics::RESIDENT_KEYS, "partition" => self.partition.to_string())
            .set(self.slots.len() as f64);
    }

    /// Moves the group's offset to the replay start, once the store knows that its states cover that.
    pub(super) fn ask_for_commit(&mut self) {
        if self.recovery.is_some() || self.mark.asked.is_some() || self.mark.covering.is_some() {
            return;
        }
        let marks = (self.marks.replay_from(), self.marks.issued_up_to());
        if marks == self.mark.committed {
            return;
        }
        let Some(position) = Position::new(self.config.generation, marks.0) else { return };
        self.mark.covering = Some(marks);
        let (states, partition) = (Arc::clone(&self.deps.states), self.partition);
        self.work.push(async move { Done::Covered(states.set_covered(partition, position).await) }.boxed());
    }

    pub(super) fn on_covered(&mut self, result: Result<(), StoreError>) {
        let Some(marks) = self.mark.covering.take() else { return };
        match result {
            Ok(()) => self.tell_commit(marks),
            Err(error) => {
                tracing::warn!(partition = self.partition, %error, "the store can't be told what its states cover");
            }
        }
    }

    fn tell_commit(&mut self, (replay_from, issued): (Offset, Offset)) {
        self.mark.asked = Some((replay_from, issued));
        self.tell(Told::Commit { replay_from, metadata: metadata(issued) });
    }

    pub(super) fn on_committed(&mut self, taken: bool) {
        let asked = self.mark.asked.take();
        if taken {
            self.mark.failing_since = None;
            self.mark.committed = asked.unwrap_or(self.mark.committed);
        } else {
            self.mark.failing_since.get_or_insert_with(Instant::now);
        }
    }

    /// Lets the partition go: stores what it can within the time, and asks for a last commit.
    pub(super) async fn release(mut self) -> Result<(), Error> {
        self.deps.board.forget(ORCHESTRATOR_GROUP, self.partition);
        let until = Instant::now() + self.config.release_within;
        let _ = tokio::time::timeout_at(until, self.settle()).await;
        if self.recovery.is_none() {
            let marks = (self.marks.replay_from(), self.marks.issued_up_to());
            if marks != self.mark.committed {
                self.tell_commit(marks);
            }
        }
        Ok(())
    }

    async fn settle(&mut self) {
        loop {
            if self.store_old_states(true).is_err() {
                return;
            }
            if !self.storing && !self.marks.has_issuing() {
                return;
            }
            let Some(done) = self.work.next().await else { return };
            if self.on_done(done).is_err() {
                return;
            }
        }
    }
}

/// What states name, before them.
async fn put_all(blobs: &dyn Blobs, values: Vec<(Key, Values)>) -> Result<(), StoreError> {
    for (owner, values) in values {
        put_values(blobs, &owner, &values).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_round_trips() {
        assert_eq!(issued_up_to(&metadata(42)), Some(42));
        assert_eq!(issued_up_to(""), None);
        assert_eq!(issued_up_to("i=x"), None);
    }
}
