//! Turns updates into the rows of the store. Pure: the same updates give the same rows, however they are split.

use std::collections::BTreeMap;

use bytes::Bytes;
use event_log::to_json;
use graph::{
    by_name::ChannelValues,
    envelope::{Envelope, Key},
    task::Call,
    update::{Checkpointed, Happened, Kept},
};
use run_store::{
    Position,
    rows::{CheckpointRow, RunRow, RunWrite, ThreadRow, UpdateRow, UsageRow},
    values::Values,
};
use schemas::record::{RunsPosition, UpdateRecord};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{run::RunState, thread::ThreadState, values};

/// Rows of several runs, those of one run together: of run and thread the newest view alone.
#[derive(Debug, Default)]
pub struct Rows {
    writes: Vec<RunWrite>,
    by_run: BTreeMap<Uuid, usize>,
    /// Whose write carries a thread's row: the last run that touched it, so that of equal positions the later wins.
    by_thread: BTreeMap<(String, String), usize>,
    /// What the rows name and no update does, by owner: it has to be in the store before them.
    values: BTreeMap<Key, Values>,
}

/// Where a record's rows stand; None where no log could have given that position.
pub fn position(at: RunsPosition) -> Option<Position> {
    Position::new(at.generation, at.offset)
}

impl Rows {
    /// The rows that one update is, and that it holds. `payload` is the record as it was appended.
    pub fn add_update(&mut self, record: &UpdateRecord, payload: &Bytes, position: Position) {
        let envelope = &*record.envelope;
        let write = self.write_of(&envelope.tenant, envelope.run_id);
        if let Some(number) = record.update.number {
            write.updates.push(UpdateRow { number, position, update: payload.clone() });
        }
        let mut new = Values::new();
        for happened in &record.update.happened {
            match happened {
                // Nobody reads a checkpoint of a run without a thread but with its updates, which hold it.
                Happened::StepDone(_) | Happened::Kept(_) if envelope.thread_id.is_none() => {}
                // Nothing reads what a subgraph without memory made, nor what a run doesn't keep.
                Happened::StepDone(step) if step.unsaved || step.passing => {}
                Happened::StepDone(step) => write.checkpoints.push(checkpoint_row(record, step, position, &mut new)),
                Happened::Kept(kept) => write.checkpoints.push(match &**kept {
                    Kept::Checkpoint(step) => checkpoint_row(record, step, position, &mut new),
                    Kept::Command { checkpoint_id, values } => {
                        continuation_row(envelope, *checkpoint_id, Some(values), position)
                    }
                }),
                Happened::TaskDone(done) => {
                    write.usage.extend(done.calls.iter().map(|call| usage_row(envelope, &done.node, call)));
                }
                Happened::Spent { node, calls, .. } => {
                    write.usage.extend(calls.iter().map(|call| usage_row(envelope, node, call)));
                }
                Happened::Continued(continued) => {
                    let values = Some(&continued.values).filter(|_| continued.commanded);
                    write.checkpoints.push(continuation_row(envelope, continued.checkpoint_id, values, position));
                }
                Happened::Queued(_)
                | Happened::Started(_)
                | Happened::Paused(_)
                | Happened::Ended(_)
                | Happened::Edited(_) => {}
            }
        }
        self.add_values(envelope.key(), new);
    }

    /// A row's JSON without its large values, which go before the rows unless an update names them.
    pub fn put_away(&mut self, owner: &Key, row: Bytes, named: impl Fn(&str) -> bool) -> Bytes {
        let mut new = Values::new();
        let row = values::put_away(row, owner, named, &mut new);
        self.add_values(owner.clone(), new);
        row
    }

    fn add_values(&mut self, owner: Key, new: Values) {
        if !new.is_empty() {
            self.values.entry(owner).or_default().extend(new);
        }
    }

    /// The run as its last added update left it.
    pub fn set_run(&mut self, row: RunRow) {
        let write = self.write_of(&row.tenant, row.run_id);
        write.run = Some(row);
    }

    /// The thread as the last added update of `run_id` left it.
    pub fn set_thread(&mut self, run_id: Uuid, row: ThreadRow) {
        let name = (row.tenant.clone(), row.thread_id.clone());
        let tenant = row.tenant.clone();
        self.write_of(&tenant, run_id).thread = Some(row);
        let this = self.by_run[&run_id];
        if let Some(former) = self.by_thread.insert(name, this).filter(|former| *former != this) {
            self.writes[former].thread = None;
        }
    }

    /// Takes over rows that came after these.
    pub fn append(&mut self, later: Rows) {
        later.values.into_iter().for_each(|(owner, new)| self.add_values(owner, new));
        for RunWrite { tenant, run_id, updates, run, thread, checkpoints, usage } in later.writes {
            let write = self.write_of(&tenant, run_id);
            write.updates.extend(updates);
            write.checkpoints.extend(checkpoints);
            write.usage.extend(usage);
            if let Some(run) = run {
                self.set_run(run);
            }
            if let Some(thread) = thread {
                self.set_thread(run_id, thread);
            }
        }
    }

    pub fn runs(&self) -> usize {
        self.writes.len()
    }

    /// The rows, and the values that they name.
    pub fn into_parts(self) -> (Vec<RunWrite>, BTreeMap<Key, Values>) {
        (self.writes, self.values)
    }

    fn write_of(&mut self, tenant: &str, run_id: Uuid) -> &mut RunWrite {
        let writes = &mut self.writes;
        let index = *self.by_run.entry(run_id).or_insert_with(|| {
            writes.push(RunWrite { tenant: tenant.to_owned(), run_id, ..RunWrite::default() });
            writes.len() - 1
        });
        &mut writes[index]
    }
}

/// `view` is [`RunState::view`], which is made once.
pub fn run_row(run: &RunState, view: Bytes, position: Position) -> RunRow {
    let envelope = &*run.envelope;
    RunRow {
        tenant: envelope.tenant.clone(),
        run_id: envelope.run_id,
        position,
        thread_id: envelope.thread_id.clone(),
        user: envelope.principal.user.clone(),
        graph: envelope.graph.name.clone(),
        graph_hash: envelope.graph.hash.clone(),
        status: run.status,
        created_at: run.created_at,
        updated_at: run.updated_at,
        number: run.number,
        view,
    }
}

pub fn thread_row(thread: &ThreadState) -> ThreadRow {
    ThreadRow {
        tenant: thread.tenant.clone(),
        thread_id: thread.thread_id.clone(),
        position: thread.position,
        user: thread.user.clone(),
        graph: thread.graph.clone(),
        created_at: thread.created_at,
        updated_at: thread.updated_at,
        view: to_json(&thread.view),
    }
}

/// Its large values go to `new`, unless the update names them.
fn checkpoint_row(record: &UpdateRecord, step: &Checkpointed, position: Position, new: &mut Values) -> CheckpointRow {
    let (envelope, owner) = (&record.envelope, record.envelope.key());
    let named = |hash: &str| record.references.as_ref().is_some_and(|table| table.names(hash));
    let checkpoint = if step.untracked.is_empty() {
        to_json(step)
    } else {
        to_json(&Checkpointed { untracked: ChannelValues::new(), ..step.clone() })
    };
    CheckpointRow {
        tenant: envelope.tenant.clone(),
        checkpoint: values::put_away(checkpoint, &owner, named, new),
        owner,
        ns: step.ns.clone(),
        checkpoint_id: step.checkpoint_id,
        run_id: envelope.run_id,
        position,
    }
}

/// What a run that went on from a checkpoint changed of what reads show there.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Continuation {
    /// The checkpoint's values from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<ChannelValues>,
}

/// Where the runs that went on from a checkpoint are kept, by run: no graph's namespace begins so.
pub fn continued_ns(checkpoint_id: Uuid) -> String {
    format!("|continued|{checkpoint_id}")
}

fn continuation_row(
    envelope: &Envelope,
    checkpoint_id: Uuid,
    values: Option<&ChannelValues>,
    position: Position,
) -> CheckpointRow {
    CheckpointRow {
        tenant: envelope.tenant.clone(),
        owner: envelope.key(),
        ns: continued_ns(checkpoint_id),
        checkpoint_id: envelope.run_id,
        run_id: envelope.run_id,
        position,
        checkpoint: to_json(&Continuation { values: values.cloned() }),
    }
}

fn usage_row(envelope: &Envelope, node: &str, call: &Call) -> UsageRow {
    UsageRow {
        tenant: envelope.tenant.clone(),
        call_id: call.id.to_string(),
        run_id: envelope.run_id,
        endpoint: envelope.endpoint.clone(),
        graph: envelope.graph.name.clone(),
        node: node.to_owned(),
        provider: call.provider.clone(),
        model: call.model.clone(),
        user: envelope.principal.user.clone(),
        key: envelope.principal.key.clone(),
        started_at: call.started_at,
        duration_ms: call.duration_ms,
        outcome: call.outcome.clone(),
        usage: call.usage,
        source: call.usage_source,
    }
}

#[cfg(test)]
mod tests;
