//! From the replay start to the tail without putting anything out, and then what a dead owner may have left undone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use event_log::Offset;
use graph::{
    advance::Command,
    envelope::{Key, Millis, RunId},
};
use schemas::record::RunsRecord;

use super::{Owner, Slot};
use crate::{error::Error, metrics, outputs::Cause};

pub struct Recovery {
    /// Outputs of records below are surely in the log.
    issued_up_to: Offset,
    /// The tail at assignment.
    end: Offset,
    kept: Vec<Kept>,
    /// Records on which the fold panics, of runs that no record has ended for it so far.
    broken: BTreeMap<RunId, Arc<RunsRecord>>,
}

/// What one record would have put out.
struct Kept {
    key: Key,
    offset: Offset,
    at: Millis,
    commands: Vec<Command>,
}

impl Recovery {
    pub fn new(issued_up_to: Offset, end: Offset) -> Self {
        Recovery { issued_up_to, end, kept: Vec::new(), broken: BTreeMap::new() }
    }

    pub fn keep(&mut self, key: &Key, cause: Cause, commands: Vec<Command>) {
        if cause.offset < self.issued_up_to || commands.is_empty() {
            return;
        }
        self.kept.push(Kept { key: key.clone(), offset: cause.offset, at: cause.at, commands });
    }
}

impl Recovery {
    pub fn keep_broken(&mut self, record: Arc<RunsRecord>) {
        self.broken.insert(record.envelope.run_id, record);
    }

    pub fn forget_broken(&mut self, run: RunId) {
        self.broken.remove(&run);
    }
}

impl Owner {
    /// Ends the recovery once everything up to the tail is applied: issues every update of the records from
    /// `issued up to` on, also of runs that ended since, and of their tasks those that are still open.
    pub(super) fn go_live_at_the_tail(&mut self) -> Result<(), Error> {
        let Some(recovery) = &self.recovery else { return Ok(()) };
        if self.marks.next() < recovery.end || self.marks.has_waiting() {
            return Ok(());
        }
        let Some(mut recovery) = self.recovery.take() else { return Ok(()) };
        // Keys that waited for the store were applied out of the log's order; an output keeps its record's place.
        recovery.kept.sort_by_key(|kept| kept.offset);
        let open = self.open_tasks();
        let (updates, mut tasks) = (recovery.kept.len(), 0);
        for Kept { key, offset, at, commands } in recovery.kept {
            let mut commands = commands;
            commands.retain_mut(|command| match command {
                Command::Issue { task, .. } => {
                    task.repeat = true;
                    open.contains(&(task.id, task.issue))
                }
                Command::Update { .. } | Command::Cancel { .. } | Command::Archive { .. } | Command::Copy { .. } => {
                    true
                }
            });
            tasks += commands.iter().filter(|command| matches!(command, Command::Issue { .. })).count();
            self.issue(&key, Cause { offset, at, trace: None }, commands);
        }
        ::metrics::counter!(metrics::RECOVERED_RUNS, "cause" => "assignment").increment(self.slots.len() as u64);
        tracing::info!(
            partition = self.partition,
            keys = self.slots.len(),
            records_reissued = updates,
            tasks_reissued = tasks,
            "the partition is live"
        );
        for record in recovery.broken.into_values() {
            self.append_failure(&record);
        }
        self.wakes.arm();
        self.drop_closed();
        Ok(())
    }

    fn open_tasks(&self) -> BTreeSet<(graph::task::TaskId, u32)> {
        self.slots
            .values()
            .filter_map(|slot| match slot {
                Slot::Ready(resident) => Some(resident),
                Slot::Waiting { .. } => None,
            })
            .flat_map(|resident| resident.state().open_tasks())
            .map(|(_, task, issue)| (task, issue))
            .collect()
    }

    fn drop_closed(&mut self) {
        let keys: Vec<Key> = self.slots.keys().cloned().collect();
        for key in keys {
            self.drop_if_closed(&key);
        }
    }
}
