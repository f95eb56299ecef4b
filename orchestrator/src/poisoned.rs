//! Records on which the fold panicked. What it was folding is torn then: the partition is folded anew, without them.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use event_log::{Offset, Partition};

/// Shared by the ownerships of one process. Another process that replays such a record panics on it too, and learns.
#[derive(Default)]
pub struct Poisoned(Mutex<BTreeSet<(Partition, Offset)>>);

impl Poisoned {
    pub fn add(&self, partition: Partition, offset: Offset) {
        self.lock().insert((partition, offset));
    }

    /// Those that a replay of the partition from `replay_from` meets; the ones before are forgotten.
    pub fn met_from(&self, partition: Partition, replay_from: Offset) -> BTreeSet<Offset> {
        let mut poisoned = self.lock();
        poisoned.retain(|(of, offset)| *of != partition || *offset >= replay_from);
        poisoned.range((partition, 0)..=(partition, Offset::MAX)).map(|(_, offset)| *offset).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(Partition, Offset)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_replay_no_longer_meets_is_forgotten() {
        let poisoned = Poisoned::default();
        for (partition, offset) in [(1, 5), (1, 9), (2, 3)] {
            poisoned.add(partition, offset);
        }
        assert_eq!(poisoned.met_from(1, 6), BTreeSet::from([9]));
        assert_eq!(poisoned.met_from(1, 0), BTreeSet::from([9]));
        assert_eq!(poisoned.met_from(2, 3), BTreeSet::from([3]));
    }
}
