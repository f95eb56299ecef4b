//! The same updates give the same rows, however they are split and however often they come.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use graph::update::{Happened, QueuedRun, RunStatus};
use proptest::prelude::*;
use run_store::rows::{RunRow, ThreadRow};
use schemas::{http::RunView, record::UpdateRecord};
use tokio::time::Instant;

use super::*;
use crate::{
    live::{Limits, Shard, Stored},
    sample::Run,
};

/// What a store holds after writes: keyed rows, of which the newest or equal position wins.
#[derive(Debug, Default, PartialEq)]
struct Model {
    updates: BTreeMap<(Uuid, u64), Bytes>,
    runs: BTreeMap<Uuid, RunRow>,
    threads: BTreeMap<String, ThreadRow>,
    checkpoints: BTreeMap<Uuid, Bytes>,
    usage: BTreeMap<String, Uuid>,
}

impl Model {
    fn write(&mut self, rows: Rows) {
        for write in rows.into_parts().0 {
            for row in write.updates {
                let known = self.updates.insert((write.run_id, row.number), row.update.clone());
                assert!(known.is_none_or(|known| known == row.update), "a repeat differs");
            }
            if let Some(row) = write.run
                && self.runs.get(&row.run_id).is_none_or(|known| known.position <= row.position)
            {
                self.runs.insert(row.run_id, row);
            }
            if let Some(row) = write.thread
                && self.threads.get(&row.thread_id).is_none_or(|known| known.position <= row.position)
            {
                self.threads.insert(row.thread_id.clone(), row);
            }
            self.checkpoints.extend(write.checkpoints.into_iter().map(|row| (row.checkpoint_id, row.checkpoint)));
            self.usage.extend(write.usage.into_iter().map(|row| (row.call_id, row.run_id)));
        }
    }
}

/// Two runs of one thread: the second waits for the first, and begins by the record that ends it.
fn updates() -> Vec<Arc<UpdateRecord>> {
    let first = Run::of("default", Some("t"), 1, 0);
    let second = Run::of("default", Some("t"), 2 << 32, 0);
    let queued = Happened::Queued(QueuedRun { behind: Some(first.id), due: None, input: None });
    let renumbered = |number: u64, mut record: UpdateRecord| {
        record.update.number = Some(number);
        record
    };
    vec![
        Arc::new(first.started(10)),
        Arc::new(second.update(1, 11, RunStatus::Pending, Vec::new(), vec![queued])),
        Arc::new(first.prepared(12)),
        Arc::new(first.ended(13)),
        Arc::new(renumbered(2, second.started(13))),
        Arc::new(renumbered(3, second.prepared(14))),
        Arc::new(renumbered(4, second.ended(15))),
    ]
}

fn shard() -> Shard {
    let time = Duration::from_secs(1);
    let limits = Limits {
        hold_max: time,
        interest_keep: time,
        awaited_runs_max: 9,
        finished_keep: time,
        unwatched_keep: time,
        buffer_events_max: 9,
    };
    Shard::new(limits, 0, 0)
}

/// One poll: applies updates in memory, and gives their rows.
fn poll(shard: &mut Shard, updates: &[Arc<UpdateRecord>]) -> Rows {
    let mut rows = Rows::default();
    for record in updates {
        let (run_id, at) = (record.envelope.run_id, position(record.position).unwrap());
        let payload = Bytes::from(serde_json::to_vec(&**record).unwrap());
        shard.begin(record, Vec::new(), Instant::now());
        shard.apply(Stored { record: Arc::clone(record), payload: payload.clone() }, at, 0, Instant::now());
        rows.add_update(record, &payload, at);
        let run = shard.run(run_id).unwrap();
        rows.set_run(run_row(&run.state, run.view(), run.position));
        rows.set_thread(run_id, thread_row(&shard.threads.values().next().unwrap().state));
    }
    rows
}

fn all_at_once() -> Model {
    let mut model = Model::default();
    model.write(poll(&mut shard(), &updates()));
    model
}

#[test]
fn a_run_becomes_rows() {
    let model = all_at_once();
    assert_eq!(model.updates.len(), 7);
    assert_eq!(model.checkpoints.len(), 6);
    assert_eq!(model.usage.len(), 2);
    for row in model.runs.values() {
        let view: RunView = serde_json::from_slice(&row.view).unwrap();
        assert_eq!((view.status, view.number), (RunStatus::Success, row.number));
    }
    let view: serde_json::Value = serde_json::from_slice(&model.threads["t"].view).unwrap();
    assert_eq!(view["outcome"], "idle");
    assert_eq!(view.get("live"), None);
}

/// The end of one run and the beginning of the next stand at one position: the later says how the thread is.
#[test]
fn of_equal_positions_the_later_wins() {
    let (updates, mut shard, mut model) = (updates(), shard(), Model::default());
    model.write(poll(&mut shard, &updates[..1]));
    // In this poll the run that waits is named before the one that ends.
    model.write(poll(&mut shard, &updates[1..5]));
    let newest = thread_row(&shard.threads.values().next().unwrap().state);
    assert_eq!(model.threads["t"], newest);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_updates_are_split_and_merged(splits in prop::collection::vec((1..4usize, any::<bool>()), 7)) {
        let updates = updates();
        let (mut rest, mut shard, mut model) = (&updates[..], shard(), Model::default());
        let mut waiting = Rows::default();
        for (size, write) in splits {
            let (polled, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            waiting.append(poll(&mut shard, polled));
            if write {
                model.write(std::mem::take(&mut waiting));
            }
        }
        waiting.append(poll(&mut shard, rest));
        model.write(waiting);
        prop_assert_eq!(model, all_at_once());
    }

    #[test]
    fn however_often_they_come(died_at in 0..8usize) {
        let updates = updates();
        let mut model = Model::default();
        // A sink writes, dies before its commit, and the next one reads everything again.
        model.write(poll(&mut shard(), &updates[..died_at.min(updates.len())]));
        model.write(poll(&mut shard(), &updates));
        prop_assert_eq!(model, all_at_once());
    }
}
