//! How far a partition is: up to where outputs are surely out, and from where a replay would have to begin.
//!
//! ```text
//!   S: replay starts here     I: all outputs before it are acked      next: not taken yet
//!   |--------- stored or ended ---------|---- acked, not stored ----|---- in flight ----|
//! ```
//! S never passes I. Both are low watermarks over what is still open, so records may be done in any order.

use std::collections::BTreeSet;

use event_log::Offset;

#[derive(Debug, Default)]
pub struct Watermarks {
    next: Offset,
    /// Taken and not yet applied: its key waits for the store.
    waiting: BTreeSet<Offset>,
    /// Applied, with outputs that are not acked.
    issuing: BTreeSet<Offset>,
    /// The first record of each key that its stored state lacks.
    dirty: BTreeSet<Offset>,
}

impl Watermarks {
    /// Begins at the offset that the owner reads first.
    pub fn new(next: Offset) -> Self {
        Watermarks { next, ..Watermarks::default() }
    }

    /// The next offset to take.
    pub fn next(&self) -> Offset {
        self.next
    }

    pub fn take(&mut self, offset: Offset) {
        self.next = offset + 1;
        self.waiting.insert(offset);
    }

    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The record was applied; whether it put anything out that has to be acked.
    pub fn applied(&mut self, offset: Offset, put_out: bool) {
        self.waiting.remove(&offset);
        if put_out {
            self.issuing.insert(offset);
        }
    }

    /// All outputs of the record are acked.
    pub fn issued(&mut self, offset: Offset) {
        self.issuing.remove(&offset);
    }

    pub fn has_issuing(&self) -> bool {
        !self.issuing.is_empty()
    }

    pub fn dirty(&mut self, offset: Offset) {
        self.dirty.insert(offset);
    }

    pub fn clean(&mut self, offset: Offset) {
        self.dirty.remove(&offset);
    }

    /// Everything below was put out and acked.
    pub fn issued_up_to(&self) -> Offset {
        let waiting = self.waiting.first().copied();
        let issuing = self.issuing.first().copied();
        [waiting, issuing].into_iter().flatten().min().unwrap_or(self.next)
    }

    /// Where a replay begins: everything below is stored or needs no storing.
    pub fn replay_from(&self) -> Offset {
        self.dirty.first().copied().unwrap_or(self.next).min(self.issued_up_to())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_holds_both_marks() {
        let mut marks = Watermarks::new(100);
        for offset in 100..104 {
            marks.take(offset);
        }
        assert_eq!((marks.replay_from(), marks.issued_up_to()), (100, 100));
        // 101 to 103 are done before 100: nothing may move.
        for offset in 101..104 {
            marks.applied(offset, true);
            marks.issued(offset);
        }
        assert_eq!((marks.replay_from(), marks.issued_up_to()), (100, 100));
        marks.applied(100, true);
        assert_eq!(marks.issued_up_to(), 100, "applied is not acked");
        marks.issued(100);
        assert_eq!((marks.replay_from(), marks.issued_up_to()), (104, 104));
    }

    #[test]
    fn replay_waits_for_the_store_and_never_passes_what_is_issued() {
        let mut marks = Watermarks::new(0);
        for offset in 0..3 {
            marks.take(offset);
            marks.applied(offset, true);
        }
        marks.dirty(1);
        marks.issued(0);
        marks.issued(1);
        marks.issued(2);
        assert_eq!((marks.replay_from(), marks.issued_up_to()), (1, 3));
        marks.clean(1);
        marks.take(3);
        marks.applied(3, true);
        assert_eq!((marks.replay_from(), marks.issued_up_to()), (3, 3), "stored, but not acked");
    }
}
