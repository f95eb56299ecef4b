//! Checkpoints as they are read from the store, with what runs made of them since.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use graph::{envelope::Key, update::Checkpointed};
use run_store::rows::CheckpointRow;
use tracing::warn;
use uuid::Uuid;

use super::Refusal;
use crate::{
    live::{Shard, lock},
    load,
    materialize::{Continuation, continued_ns},
    outcome::{self, Outcomes},
    rewrite::Beside,
    shared::Shared,
    snapshot::Saved,
    thread::ThreadState,
    values,
};

/// Runs that went on from one checkpoint, as far as reads look.
const CONTINUED_MAX: u32 = 1_000;
/// Subgraphs in subgraphs, as far as reads look.
const DEPTH_MAX: usize = 16;

/// One read of a thread's checkpoints: what it has found so far.
pub struct Reading<'a> {
    pub shared: &'a Shared,
    pub shard: &'a Mutex<Shard>,
    pub state: &'a ThreadState,
    /// Those that worked on what was looked at.
    runs: BTreeSet<Uuid>,
    /// What came of tasks before what was looked at was written anew.
    before: Outcomes,
    /// A value that is gone doesn't take its checkpoint with it.
    listing: bool,
}

impl<'a> Reading<'a> {
    pub fn new(shared: &'a Shared, shard: &'a Mutex<Shard>, state: &'a ThreadState) -> Self {
        let (runs, before) = (state.view.live.clone(), Outcomes::new());
        Reading { shared, shard, state, runs, before, listing: false }
    }

    /// As [`Reading::new`]: what stands in place of values that are gone is shown.
    pub fn listing(shared: &'a Shared, shard: &'a Mutex<Shard>, state: &'a ThreadState) -> Self {
        Reading { listing: true, ..Reading::new(shared, shard, state) }
    }

    fn owner(&self) -> Key {
        Key::thread(&self.state.tenant, &self.state.thread_id)
    }

    pub async fn checkpoint(&self, ns: &str, id: Uuid) -> Result<Option<Saved>, Refusal> {
        match self.shared.deps.results.checkpoint(&self.owner(), ns, id).await? {
            Some(row) => self.saved(row).await,
            None => Ok(None),
        }
    }

    /// The newest one of a subgraph. One that remembers for the thread has a namespace without tasks.
    pub async fn newest(&self, ns: &str) -> Result<Option<Saved>, Refusal> {
        let names = ns.split('|').map(|part| part.split_once(':').map_or(part, |(name, _)| name));
        for ns in [ns.to_owned(), names.collect::<Vec<_>>().join("|")] {
            if let Some(saved) = self.checkpoints(&ns, None, 1).await?.into_iter().next() {
                return Ok(Some(saved));
            }
        }
        Ok(None)
    }

    /// Newest first.
    pub async fn checkpoints(&self, ns: &str, before: Option<Uuid>, limit: u32) -> Result<Vec<Saved>, Refusal> {
        let rows = self.shared.deps.results.checkpoints(&self.owner(), ns, before, limit).await?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            all.extend(self.saved(row).await?);
        }
        Ok(all)
    }

    /// The newest checkpoints of the subgraphs that the tasks of `checkpoint` are, and of those within, by namespace.
    pub async fn inside(&mut self, checkpoint: &Checkpointed) -> Result<BTreeMap<String, Saved>, Refusal> {
        let mut found = BTreeMap::new();
        let mut wanted = namespaces(checkpoint);
        for _ in 0..DEPTH_MAX {
            let mut next = Vec::new();
            for ns in std::mem::take(&mut wanted) {
                let Some(mut saved) = self.checkpoints(&ns, None, 1).await?.into_iter().next() else { continue };
                self.look_at(&mut saved).await?;
                next.extend(namespaces(&saved.checkpoint));
                found.insert(ns, saved);
            }
            wanted = next;
        }
        Ok(found)
    }

    /// Notes the runs that worked on a checkpoint, and adds the values that commands wrote there.
    pub async fn look_at(&mut self, saved: &mut Saved) -> Result<(), Refusal> {
        let ns = continued_ns(saved.checkpoint.checkpoint_id);
        let rows = self.shared.deps.results.checkpoints(&self.owner(), &ns, None, CONTINUED_MAX).await?;
        self.runs.extend(rows.iter().map(|row| row.run_id));
        match &saved.origin {
            Some(origin) => self.before.extend(origin.outcomes.clone()),
            None => self.runs.extend(saved.run_id),
        }
        // Newest first: the first that wrote something is how it stands.
        for row in rows {
            let row = self.whole(row).await?;
            let continuation = serde_json::from_slice::<Continuation>(&row.checkpoint).unwrap_or_default();
            if let Some(values) = continuation.values {
                saved.checkpoint.values = values;
                break;
            }
        }
        Ok(())
    }

    /// What came of the tasks of all that was looked at, in the order of the runs.
    pub async fn outcomes(&self) -> Result<Outcomes, Refusal> {
        let mut outcomes = self.before.clone();
        for run_id in &self.runs {
            let known = {
                let shard = lock(self.shard);
                shard.run(*run_id).map(|run| run.updates.clone())
            };
            let updates = match known {
                Some(updates) => updates,
                None => {
                    let stored = load::updates(self.shared, &self.state.tenant, *run_id).await?;
                    stored.into_iter().map(|(stored, _)| stored).collect()
                }
            };
            outcome::add_run(&mut outcomes, updates.iter().map(|stored| &stored.record.update));
        }
        Ok(outcomes)
    }

    async fn saved(&self, row: CheckpointRow) -> Result<Option<Saved>, Refusal> {
        Ok(parsed(&self.whole(row).await?))
    }

    async fn whole(&self, row: CheckpointRow) -> Result<CheckpointRow, Refusal> {
        let blobs = &*self.shared.deps.blobs;
        let checkpoint = match self.listing {
            true => values::listed(blobs, row.checkpoint).await?,
            false => values::whole_row(blobs, row.checkpoint).await?,
        };
        Ok(CheckpointRow { checkpoint, ..row })
    }
}

pub fn parsed(row: &CheckpointRow) -> Option<Saved> {
    let checkpoint = serde_json::from_slice(&row.checkpoint)
        .inspect_err(|bad| warn!(checkpoint.id = %row.checkpoint_id, error = %bad, "a checkpoint can't be read"))
        .ok()?;
    let origin = serde_json::from_slice::<Beside>(&row.checkpoint).unwrap_or_default().copied;
    let run_id = origin.as_ref().map_or(Some(row.run_id), |origin| origin.run_id);
    Some(Saved { checkpoint, run_id, origin: origin.map(Box::new) })
}

/// A list of namespaces in which subgraphs of the checkpoint's tasks stand.
fn namespaces(checkpoint: &Checkpointed) -> Vec<String> {
    checkpoint.next.iter().filter_map(|task| task.inner.clone()).collect()
}
