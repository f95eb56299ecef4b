//! One partition of a node's topic while this worker owns it: what waits, what is done, what was committed.

use std::{collections::VecDeque, time::Duration};

use event_log::{Assigned, Fetched, Offset};
use graph::envelope::Millis;
use schemas::{record::TASK_ID_HEADER, reference};
use tokio::time::Instant;

use crate::{
    tracker::{Seen, Tracker},
    window::{TaskIssue, Window, parse_task_issue},
};

pub struct OwnedPartition {
    /// Tells this ownership from an earlier one of the same partition.
    pub ownership: u64,
    pub tracker: Tracker,
    window: Window,
    /// Read and not begun, in order.
    pub waiting: VecDeque<Fetched>,
    pub waiting_bytes: usize,
    pub paused: bool,
    /// One past the highest offset known to exist.
    pub tail: Offset,
    /// What the last commit said.
    committed: (Offset, String),
    /// Since when commits fail.
    failing: Option<Instant>,
}

/// What becomes of the next waiting record.
pub enum Next {
    /// Nothing waits, or the map of finished offsets has no room.
    Nothing,
    /// Finished by a former owner, or a copy of a task given out already.
    Skipped,
    Begin(Fetched, Option<TaskIssue>),
}

impl OwnedPartition {
    pub fn new(assigned: &Assigned, ownership: u64, window: Window) -> Self {
        let (offset, metadata) = assigned.committed.clone().unwrap_or((assigned.start, String::new()));
        let tracker = Tracker::restore(offset, &metadata).unwrap_or_else(|error| {
            tracing::warn!(topic = &*assigned.topic, partition = assigned.partition, error = %error,
                "finished tasks beyond the committed offset are done again");
            Tracker::new(offset)
        });
        OwnedPartition {
            ownership,
            tracker,
            window,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            paused: false,
            tail: assigned.end,
            committed: (offset, metadata),
            failing: None,
        }
    }

    pub fn push(&mut self, fetched: Fetched) {
        self.tail = self.tail.max(fetched.offset + 1);
        self.waiting_bytes += fetched.record.size();
        self.waiting.push_back(fetched);
    }

    /// The size of the record that would begin next, with the values that it names.
    pub fn next_bytes(&self) -> Option<usize> {
        let next = self.waiting.front()?;
        self.tracker.admits(next.offset).then(|| whole_bytes(next))
    }

    pub fn take_next(&mut self, now: Millis) -> Next {
        if self.next_bytes().is_none() {
            return Next::Nothing;
        }
        let Some(fetched) = self.waiting.pop_front() else { return Next::Nothing };
        self.waiting_bytes -= fetched.record.size();
        let task = fetched.record.headers.get_str(TASK_ID_HEADER).and_then(parse_task_issue);
        let noted = task.is_none_or(|task| self.window.note(task, now));
        match self.tracker.see(fetched.offset) {
            Seen::Done | Seen::UnderWay => Next::Skipped,
            Seen::Fresh if !noted => {
                self.tracker.finish(fetched.offset);
                Next::Skipped
            }
            Seen::Fresh => Next::Begin(fetched, task),
        }
    }

    /// What a commit would say, where it differs from the last one.
    pub fn to_commit(&self) -> Option<(Offset, String)> {
        let now = (self.tracker.watermark(), self.tracker.map());
        (now != self.committed).then_some(now)
    }

    pub fn committed(&mut self, what: (Offset, String)) {
        self.committed = what;
        self.failing = None;
    }

    pub fn commit_failed(&mut self) {
        self.failing.get_or_insert_with(Instant::now);
    }

    pub fn has_failed_for(&self, bound: Duration) -> bool {
        self.failing.is_some_and(|since| since.elapsed() >= bound)
    }
}

/// What a record takes in memory once its values are in their places.
fn whole_bytes(fetched: &Fetched) -> usize {
    let named = fetched.record.headers.get_str(reference::BYTES_HEADER).and_then(|bytes| bytes.parse::<usize>().ok());
    named.unwrap_or_default().max(fetched.record.size())
}
