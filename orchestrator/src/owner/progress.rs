//! How far the owner is: for readiness, for metrics, and for ingest, which admits by it.

use event_log::{LogError, Offset};
use futures_util::FutureExt;
use schemas::{
    record::{ControlFact, ControlRecord, Progress},
    topic::ORCHESTRATOR_GROUP,
};
use tokio::time::Instant;

use super::{Done, Owner};
use crate::metrics;

/// What was said last.
#[derive(Default)]
pub struct Said {
    last: Option<(Instant, Offset, Offset)>,
    /// The log is being asked for its end.
    asking: bool,
}

impl Owner {
    /// Asks for the partition's end and then says how far the owner is. What it has read is no end: one that is behind
    /// has been paused long before.
    pub(super) fn look_at_the_tail(&mut self) {
        let idle = self.config.progress_idle_every;
        let applied = self.marks.next();
        let news =
            self.said.last.is_none_or(|(when, last, tail)| last != applied || applied < tail || when.elapsed() >= idle);
        if self.said.asking || !news {
            return;
        }
        self.said.asking = true;
        let tail = self.outputs.tail();
        self.work.push(async move { Done::Tail(tail.await) }.boxed());
    }

    pub(super) fn on_tail(&mut self, tail: Result<Offset, LogError>) {
        self.said.asking = false;
        match tail {
            Ok(tail) => self.tail = self.tail.max(tail),
            Err(error) => tracing::debug!(partition = self.partition, %error, "the partition's end can't be read"),
        }
        self.say_progress();
    }

    fn say_progress(&mut self) {
        let applied = self.marks.next();
        self.deps.board.report(ORCHESTRATOR_GROUP, self.partition, applied, self.tail);
        self.said.last = Some((Instant::now(), applied, self.tail));
        let labels = [("partition", self.partition.to_string()), ("node", ORCHESTRATOR_GROUP.to_owned())];
        ::metrics::gauge!(metrics::LAG_RECORDS, &labels).set(self.tail.saturating_sub(applied) as f64);
        let replay = applied.saturating_sub(self.marks.replay_from());
        ::metrics::gauge!(metrics::REPLAY_RECORDS, "partition" => self.partition.to_string()).set(replay as f64);
        let record = ControlRecord {
            at: self.now(),
            fact: ControlFact::Progress(Progress {
                consumer: ORCHESTRATOR_GROUP.to_owned(),
                partition: self.partition,
                applied,
                tail: self.tail,
                open_runs: self.slots.len() as u64,
                oldest_ms: 0,
                bytes: 0,
            }),
        };
        self.outputs.say(record);
    }
}
