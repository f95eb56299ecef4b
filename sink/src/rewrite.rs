//! Checkpoints of a thread written anew, each with what is shown there: what came of its tasks stands beside it, so that reads
//! need no run for it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use graph::{envelope::Key, task::TaskId};
use run_store::{
    StoreError,
    rows::{CheckpointRow, RunWrite},
    values::{Values, put_values},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    live::Shard,
    load::Waits,
    outcome::Outcomes,
    routes::{Reading, Refusal},
    shared::Shared,
    snapshot::Saved,
    thread::ThreadState,
    values,
};

/// Checkpoints that are in memory at a time.
pub const PAGE: u32 = 64;

/// What the row of such a checkpoint says beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The run that made the checkpoint; it may be another thread's.
    pub run_id: Option<Uuid>,
    /// What came of the checkpoint's tasks before it was written anew.
    pub outcomes: Outcomes,
}

/// The part of a row in which that stands.
#[derive(Default, Deserialize)]
pub struct Beside {
    /// The word is as old as copies are; frozen.
    #[serde(default)]
    pub copied: Option<Origin>,
}

/// What one update has written anew, at its position.
pub struct Rewriting<'a> {
    pub shared: &'a Shared,
    pub shard: &'a Mutex<Shard>,
    pub waits: &'a Waits,
    /// The thread that is read.
    pub state: &'a ThreadState,
    /// Whose rows are written.
    pub owner: Key,
}

impl Rewriting<'_> {
    pub async fn page(&self, mut reading: Reading<'_>, mut page: Vec<Saved>) -> Result<(), Refusal> {
        for saved in &mut page {
            reading.look_at(saved).await?;
        }
        let outcomes = reading.outcomes().await?;
        self.write(page.into_iter().map(|saved| self.row(saved, &outcomes))).await?;
        Ok(())
    }

    /// A write of nothing yet.
    pub fn nothing(&self) -> RunWrite {
        let envelope = &self.waits.record.envelope;
        RunWrite { tenant: envelope.tenant.clone(), run_id: envelope.run_id, ..RunWrite::default() }
    }

    fn row(&self, saved: Saved, outcomes: &Outcomes) -> CheckpointRow {
        let Saved { checkpoint, run_id, origin: _ } = saved;
        let tasks: BTreeSet<TaskId> = checkpoint.next.iter().map(|task| task.task_id).collect();
        let outcomes = outcomes.iter().filter(|(task, _)| tasks.contains(task));
        let outcomes = outcomes.map(|(task, outcome)| (*task, outcome.clone())).collect();
        let origin = Origin { run_id, outcomes };
        let mut row = serde_json::to_value(&checkpoint).expect("a checkpoint's maps have strings as keys");
        row["copied"] = serde_json::to_value(origin).expect("an outcome's maps have strings as keys");
        CheckpointRow {
            tenant: self.state.tenant.clone(),
            owner: self.owner.clone(),
            ns: checkpoint.ns,
            checkpoint_id: checkpoint.checkpoint_id,
            run_id: self.waits.record.envelope.run_id,
            position: self.waits.position,
            checkpoint: event_log::to_json::<Value>(&row),
        }
    }

    async fn write(&self, rows: impl Iterator<Item = CheckpointRow>) -> Result<(), StoreError> {
        let mut large = Values::new();
        let put_away = |row: CheckpointRow| {
            let checkpoint = values::put_away(row.checkpoint, &self.owner, |_| false, &mut large);
            CheckpointRow { checkpoint, ..row }
        };
        let checkpoints: Vec<CheckpointRow> = rows.map(put_away).collect();
        put_values(&*self.shared.deps.blobs, &self.owner, &large).await?;
        self.shared.deps.results.write(Arc::new(vec![RunWrite { checkpoints, ..self.nothing() }])).await
    }
}
