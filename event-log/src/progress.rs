//! Who consumes what, how far it is, and who stands still with work to do.
//!
//! 'Looks alive, does nothing' is how a stream fails; so every consumer reports here, and readiness reads it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::record::{Offset, Partition};

/// One board for each process.
#[derive(Clone, Debug, Default)]
pub struct ProgressBoard(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    moving: BTreeMap<(String, Partition), Entry>,
    /// Why, in words.
    stopped: BTreeMap<(String, Partition), String>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    applied: Offset,
    tail: Offset,
    moved: Instant,
}

impl ProgressBoard {
    /// Says that a consumer's next offset is `applied` while the partition's end is `tail`.
    pub fn report(&self, consumer: &str, partition: Partition, applied: Offset, tail: Offset) {
        let now = Instant::now();
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = board.moving.entry((consumer.to_owned(), partition)).or_insert(Entry { applied, tail, moved: now });
        if entry.applied != applied || applied >= tail {
            entry.moved = now;
        }
        entry.applied = applied;
        entry.tail = tail;
    }

    /// The consumer no longer owns the partition.
    pub fn forget(&self, consumer: &str, partition: Partition) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (consumer.to_owned(), partition);
        board.moving.remove(&place);
        board.stopped.remove(&place);
    }

    /// The consumer owns the partition and will not go on, until it is forgotten.
    pub fn stop(&self, consumer: &str, partition: Partition, reason: String) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (consumer.to_owned(), partition);
        board.moving.remove(&place);
        board.stopped.insert(place, reason);
    }

    /// In words, each consumer that has stopped, or has had work and not moved for longer than `patience`.
    pub fn stalled(&self, patience: Duration) -> Vec<String> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stopped = board.stopped.iter().map(|((consumer, partition), reason)| {
            format!("{consumer} has stopped on partition {partition}: {reason}")
        });
        let still = board
            .moving
            .iter()
            .filter(|(_, entry)| entry.applied < entry.tail && entry.moved.elapsed() > patience)
            .map(|((consumer, partition), entry)| {
                format!(
                    "{consumer} has stood still on partition {partition} for {} s at offset {} of {}",
                    entry.moved.elapsed().as_secs(),
                    entry.applied,
                    entry.tail
                )
            });
        stopped.chain(still).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_work_that_does_not_move_is_a_stall() {
        let board = ProgressBoard::default();
        let patience = Duration::from_secs(30);
        board.report("sink", 0, 5, 5);
        board.report("sink", 1, 5, 9);
        board.report("sink", 2, 5, 9);
        tokio::time::advance(Duration::from_secs(31)).await;
        board.report("sink", 2, 6, 9);
        assert_eq!(board.stalled(patience), ["sink has stood still on partition 1 for 31 s at offset 5 of 9"]);
        board.forget("sink", 1);
        assert!(board.stalled(patience).is_empty());
        board.stop("sink", 2, "a record of a newer version".to_owned());
        assert_eq!(board.stalled(patience), ["sink has stopped on partition 2: a record of a newer version"]);
        board.forget("sink", 2);
        assert!(board.stalled(patience).is_empty());
    }
}
