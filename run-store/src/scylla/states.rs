//! The fold's states, the sleepers among them, and how far they cover the log.

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use graph::envelope::Key;

use super::{ScyllaStore, claims::seconds_to_live, connect::IN_FLIGHT_MAX};
use crate::{
    contract::States,
    error::StoreError,
    metrics::observe,
    position::Position,
    rows::{Sleeper, StateRow},
    stored::check_size,
};

/// Keys that a process remembers as asleep. One that it forgot stays listed when it wakes, which costs its owner a look.
const ASLEEP_MAX: usize = 1_000_000;

#[async_trait]
impl States for ScyllaStore {
    async fn state(&self, _partition: u32, key: &Key) -> Result<Option<StateRow>, StoreError> {
        // A key is one row wherever it lives: a thread outlives a change of the partition count.
        observe("state", self.find_state(key)).await
    }

    async fn put_states(&self, rows: &[StateRow]) -> Result<(), StoreError> {
        let put = async {
            for row in rows {
                row.state.iter().try_for_each(|state| check_size(state, self.cell_bytes_max))?;
            }
            stream::iter(rows.iter().map(Ok)).try_for_each_concurrent(IN_FLIGHT_MAX, |row| self.put_state(row)).await
        };
        observe("put_states", put).await
    }

    async fn sleepers(&self, partition: u32) -> Result<Vec<Sleeper>, StoreError> {
        observe("sleepers", self.find_sleepers(partition)).await
    }

    async fn covered(&self, partition: u32) -> Result<Option<Position>, StoreError> {
        let read = async {
            let found: Option<(i64,)> = self.first(&self.statements.find_covered, (partition as i32,)).await?;
            Ok(found.map(|(raw,)| position(raw)))
        };
        observe("covered", read).await
    }

    async fn set_covered(&self, partition: u32, position: Position) -> Result<(), StoreError> {
        let values = (partition as i32, position.as_u64() as i64, position.write_timestamp());
        observe("set_covered", self.execute(&self.statements.set_covered, values)).await
    }
}

pub(super) fn position(raw: i64) -> Position {
    Position::from_u64(raw as u64)
}

impl ScyllaStore {
    async fn put_state(&self, row: &StateRow) -> Result<(), StoreError> {
        let StateRow { key, partition, position, state, wake_at, expires_at } = row;
        let now = self.clock.now();
        let Some(state) = state else {
            self.wake(row).await?;
            return self.execute(&self.statements.delete_state, (position.delete_timestamp(), key.as_str())).await;
        };
        if expires_at.is_some_and(|at| at <= now) {
            // Forgotten before it is stored, yet newer than what it replaces.
            self.wake(row).await?;
            return self.execute(&self.statements.delete_state, (position.write_timestamp(), key.as_str())).await;
        }
        let ttl = expires_at.map_or(0, |at| seconds_to_live(at, now));
        let (at, raw) = (position.write_timestamp(), position.as_u64() as i64);
        match wake_at {
            Some(wake_at) => {
                let sleeper = (*partition as i32, key.as_str(), wake_at, raw, at, ttl);
                self.execute(&self.statements.put_sleeper, sleeper).await?;
                self.remember_asleep(key);
            }
            None => self.wake(row).await?,
        }
        let values = (key.as_str(), *partition as i32, raw, wake_at, expires_at, state.as_ref(), at, ttl);
        self.execute(&self.statements.put_state, values).await
    }

    /// Takes a key off the list of sleepers, where it may stand there: a delete for every state would bury the list.
    async fn wake(&self, row: &StateRow) -> Result<(), StoreError> {
        if !self.remembered().asleep.contains(&short_hash(&row.key)) {
            return Ok(());
        }
        let values = (row.position.delete_timestamp(), row.partition as i32, row.key.as_str());
        self.execute(&self.statements.delete_sleeper, values).await?;
        self.remembered().asleep.remove(&short_hash(&row.key));
        Ok(())
    }

    fn remember_asleep(&self, key: &Key) {
        let mut remembered = self.remembered();
        remembered.asleep.insert(short_hash(key));
        if remembered.asleep.len() > ASLEEP_MAX {
            remembered.asleep.pop_first();
        }
    }

    async fn find_state(&self, key: &Key) -> Result<Option<StateRow>, StoreError> {
        type Found = (Option<i32>, Option<i64>, Option<i64>, Option<i64>, Option<Bytes>);
        let found: Option<Found> = self.first(&self.statements.find_state, (key.as_str(),)).await?;
        let Some((Some(partition), Some(raw), wake_at, expires_at, state)) = found else { return Ok(None) };
        if wake_at.is_some() {
            self.remember_asleep(key);
        }
        // An empty value is a value; the driver may read it as none.
        let state = Some(state.unwrap_or_default());
        let partition = partition as u32;
        Ok(Some(StateRow { key: key.clone(), partition, position: position(raw), state, wake_at, expires_at }))
    }

    async fn find_sleepers(&self, partition: u32) -> Result<Vec<Sleeper>, StoreError> {
        let found: Vec<(String, i64, i64)> = self.all(&self.statements.find_sleepers, (partition as i32,)).await?;
        let mut sleepers: Vec<Sleeper> = found
            .into_iter()
            .map(|(key, wake_at, raw)| Sleeper { key: Key(key), wake_at, position: position(raw) })
            .collect();
        sleepers.sort_by(|a, b| (a.wake_at, &a.key).cmp(&(b.wake_at, &b.key)));
        sleepers.iter().for_each(|sleeper| self.remember_asleep(&sleeper.key));
        Ok(sleepers)
    }
}

fn short_hash(key: &Key) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&blake3::hash(key.as_str().as_bytes()).as_bytes()[..16]);
    short
}
