//! A thread that is copied: what reads show of it is written under the name of its copy, when all that was read before is
//! written and before anything else of either is applied.
//!
//! Runs are not copied. What came of their tasks goes with the checkpoints, so that nothing of the copy leads back.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use graph::{
    envelope::Key,
    task::TaskId,
    update::{Checkpointed, Happened},
};
use run_store::{
    StoreError,
    rows::{CheckpointRow, RunWrite, ThreadRow},
    values::{THREAD_BLOB, Values, put_values},
};
use schemas::record::UpdateRecord;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    live::{Shard, lock},
    load::{self, Waits},
    materialize::thread_row,
    outcome::Outcomes,
    routes::{Reading, Refusal},
    shared::Shared,
    snapshot::Saved,
    thread::ThreadState,
    values,
};

/// Checkpoints that are in memory at a time.
const PAGE: u32 = 64;

/// To which thread an update says that its own was copied.
pub fn copied_to(record: &UpdateRecord) -> Option<&str> {
    record.update.happened.iter().find_map(|happened| match happened {
        Happened::Edited(edited) => edited.copied_to.as_deref(),
        _ => None,
    })
}

/// What the row of a copied checkpoint says beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The run that made the checkpoint; it is the other thread's.
    pub run_id: Option<Uuid>,
    /// What came of the checkpoint's tasks before it was copied.
    pub outcomes: Outcomes,
}

/// The part of a row in which that stands.
#[derive(Default, Deserialize)]
pub struct Beside {
    #[serde(default)]
    pub copied: Option<Origin>,
}

/// Copies the thread of an update to `to`. The copy's own row goes last: until then nobody finds it.
pub async fn copy_thread(shared: &Shared, shard: &Mutex<Shard>, waits: &Waits, to: &str) -> Result<(), Refusal> {
    let envelope = &waits.record.envelope;
    let Some(from) = &envelope.thread_id else { return Ok(()) };
    let deleted = shared.deps.deletes.deleted(&envelope.tenant, to).await?;
    if deleted.is_some_and(|at| at >= waits.position) {
        return Ok(());
    }
    let Some(state) = source(shared, shard, &envelope.tenant, from).await? else { return Ok(()) };
    let copy = Copy { shared, shard, waits, state: &state, owner: Key::thread(&envelope.tenant, to) };
    let blobs = &shared.deps.blobs;
    if let Some(made) = blobs.blob(&Key::thread(&envelope.tenant, from), THREAD_BLOB).await? {
        blobs.put_blob(&copy.owner, THREAD_BLOB, untimed(made)).await?;
    }
    copy.history().await?;
    copy.thread(to).await?;
    Ok(())
}

async fn source(
    shared: &Shared,
    shard: &Mutex<Shard>,
    tenant: &str,
    from: &str,
) -> Result<Option<ThreadState>, StoreError> {
    let known = lock(shard).threads.get(&(tenant.to_owned(), from.to_owned())).map(|thread| thread.state.clone());
    match known {
        Some(state) => Ok(Some(state)),
        None => load::listed_thread(shared, shared.deps.results.thread(tenant, from).await?).await,
    }
}

/// What is kept beside a thread, but how long it lives: nobody has said that of its copy.
fn untimed(made: Bytes) -> Bytes {
    let Ok(mut kept) = serde_json::from_slice::<Map<String, Value>>(&made) else { return made };
    match kept.remove("ttl") {
        Some(_) => event_log::to_json(&kept),
        None => made,
    }
}

struct Copy<'a> {
    shared: &'a Shared,
    shard: &'a Mutex<Shard>,
    waits: &'a Waits,
    state: &'a ThreadState,
    /// Whose rows are written.
    owner: Key,
}

impl Copy<'_> {
    /// Every checkpoint that a read could come to, with what is shown there.
    async fn history(&self) -> Result<(), Refusal> {
        let (mut wanted, mut seen) = (vec![String::new()], BTreeSet::new());
        while let Some(ns) = wanted.pop() {
            if !seen.insert(ns.clone()) {
                continue;
            }
            let mut before = None;
            loop {
                let mut reading = Reading::listing(self.shared, self.shard, self.state);
                let mut page = reading.checkpoints(&ns, before, PAGE).await?;
                let Some(last) = page.last() else { break };
                before = Some(last.checkpoint.checkpoint_id);
                for saved in &mut page {
                    reading.look_at(saved).await?;
                }
                let outcomes = reading.outcomes().await?;
                wanted.extend(page.iter().flat_map(|saved| inner(&saved.checkpoint)));
                self.write(page.into_iter().map(|saved| self.row(saved, &outcomes))).await?;
            }
        }
        Ok(())
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

    async fn thread(&self, to: &str) -> Result<(), StoreError> {
        let mut large = Values::new();
        let row = thread_row(&self.state.copied(to, self.waits.record.update.at, self.waits.position));
        let view = values::put_away(row.view, &self.owner, |_| false, &mut large);
        put_values(&*self.shared.deps.blobs, &self.owner, &large).await?;
        let thread = Some(ThreadRow { view, ..row });
        self.shared.deps.results.write(Arc::new(vec![RunWrite { thread, ..self.nothing() }])).await
    }

    fn nothing(&self) -> RunWrite {
        let envelope = &self.waits.record.envelope;
        RunWrite { tenant: envelope.tenant.clone(), run_id: envelope.run_id, ..RunWrite::default() }
    }
}

/// Namespaces in which subgraphs of the checkpoint's tasks stand.
fn inner(checkpoint: &Checkpointed) -> impl Iterator<Item = String> {
    checkpoint.next.iter().filter_map(|task| task.inner.clone())
}
