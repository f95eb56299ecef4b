//! States that a flaw loses, or keeps too long.

use async_trait::async_trait;
use graph::envelope::Key;
use run_store::{
    Position, States, StoreError,
    rows::{Sleeper, StateRow},
};

use super::{BrokenStore, Flaw};

#[async_trait]
impl States for BrokenStore {
    async fn state(&self, partition: u32, key: &Key) -> Result<Option<StateRow>, StoreError> {
        if self.is(Flaw::StatesLostAtReopen) {
            return Ok(self.remembered.lock().unwrap().states.get(key).cloned());
        }
        self.inner.state(partition, key).await
    }

    async fn put_states(&self, rows: &[StateRow]) -> Result<(), StoreError> {
        let mut rows = rows.to_vec();
        match self.flaw {
            Some(Flaw::OlderStateWins) => rows.iter_mut().for_each(|row| row.position = self.last_position()),
            Some(Flaw::TombstonesDropped) => rows.retain(|row| row.state.is_some()),
            Some(Flaw::StatesLostAtReopen) => {
                let states = rows.into_iter().map(|row| (row.key.clone(), row));
                self.remembered.lock().unwrap().states.extend(states);
                return Ok(());
            }
            Some(Flaw::SleepersNeverLeave) => {
                let asleep = rows.iter().filter_map(|row| {
                    Some(Sleeper { key: row.key.clone(), wake_at: row.wake_at?, position: row.position })
                });
                self.remembered.lock().unwrap().sleepers.extend(asleep);
            }
            _ => {}
        }
        self.inner.put_states(&rows).await
    }

    async fn sleepers(&self, partition: u32) -> Result<Vec<Sleeper>, StoreError> {
        if self.is(Flaw::SleepersNeverLeave) {
            return Ok(self.remembered.lock().unwrap().sleepers.clone());
        }
        self.inner.sleepers(partition).await
    }

    async fn covered(&self, partition: u32) -> Result<Option<Position>, StoreError> {
        if self.is(Flaw::CoveredGoesBack) {
            return Ok(self.remembered.lock().unwrap().covered.get(&partition).copied());
        }
        self.inner.covered(partition).await
    }

    async fn set_covered(&self, partition: u32, position: Position) -> Result<(), StoreError> {
        self.remembered.lock().unwrap().covered.insert(partition, position);
        self.inner.set_covered(partition, position).await
    }
}
