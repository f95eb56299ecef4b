//! Names and labels of the sink's metrics.

use std::{collections::BTreeMap, time::Duration};

use graph::{
    envelope::{Envelope, Lane},
    update::RunStatus,
};
use metrics::{Counter, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

/// Streams open now.
pub const SSE_CONNECTIONS: &str = "millstream_sse_connections";
pub const SSE_EVENTS: &str = "millstream_sse_events_total";
/// Streams cut, by reason.
pub const SSE_DROPPED: &str = "millstream_sse_dropped_total";
/// Streams that went on, by whether everything was there.
pub const SSE_RESUMES: &str = "millstream_sse_resumes_total";
pub const RUNS_FINISHED: &str = "millstream_runs_finished_total";
pub const RUN_DURATION: &str = "millstream_run_duration_seconds";
pub const RUN_FIRST_EVENT: &str = "millstream_run_time_to_first_event_seconds";
/// Seconds that one write of rows took.
pub const WRITE_SECONDS: &str = "millstream_sink_write_seconds";
pub const WRITE_FAILURES: &str = "millstream_sink_write_failures_total";
/// Bytes of updates whose rows are not written yet.
pub const BACKLOG_BYTES: &str = "millstream_sink_backlog_bytes";
/// 1 while intake stands still because the store does.
pub const INTAKE_PAUSED: &str = "millstream_sink_intake_paused";
pub const LIVE_BYTES: &str = "millstream_sink_live_bytes";
pub const LIVE_RUNS: &str = "millstream_sink_live_runs";
pub const TOKENS_DROPPED: &str = "millstream_sink_tokens_dropped_total";
pub const DUPLICATES: &str = "millstream_duplicates_suppressed_total";
pub const LAG_RECORDS: &str = "millstream_consumer_lag_records";
pub const COMMITTED_OFFSET: &str = "millstream_consumer_committed_offset";

/// Who the sink is in labels that name a graph and a node.
const GRAPH: &str = "";
const NODE: &str = "sink";

/// Says what each metric is, and lets counters of failures begin at 0: one that first appears at 1 raises no alert.
pub fn describe() {
    describe_gauge!(SSE_CONNECTIONS, "streams open now");
    describe_counter!(SSE_EVENTS, "facts pushed to clients");
    describe_counter!(SSE_DROPPED, "streams cut before the run ended, by reason");
    describe_counter!(SSE_RESUMES, "streams that went on after a break, by whether everything was there");
    describe_counter!(RUNS_FINISHED, "runs that ended, by graph, lane and status");
    describe_histogram!(RUN_DURATION, "seconds from a run's request to its end");
    describe_histogram!(RUN_FIRST_EVENT, "seconds from a run's request until its first update was read");
    describe_histogram!(WRITE_SECONDS, "seconds that one write of rows took");
    describe_counter!(WRITE_FAILURES, "writes of rows that failed and are tried again");
    describe_gauge!(BACKLOG_BYTES, "bytes of updates whose rows are not written yet");
    describe_gauge!(INTAKE_PAUSED, "1 while intake stands still because the store does");
    describe_gauge!(LIVE_BYTES, "bytes of updates and tokens in memory");
    describe_gauge!(LIVE_RUNS, "runs in memory");
    describe_counter!(TOKENS_DROPPED, "tokens that could not be read");
    describe_counter!(DUPLICATES, "records that had been applied before");
    describe_gauge!(LAG_RECORDS, "records of a partition that are not applied yet");
    describe_gauge!(COMMITTED_OFFSET, "the next record that an owner of the partition would read");
    for reason in [Cut::Slow, Cut::Moved, Cut::Unknown] {
        counter!(SSE_DROPPED, "reason" => reason.as_str()).increment(0);
    }
    counter!(WRITE_FAILURES).increment(0);
    dead_letters().increment(0);
    gauge!(INTAKE_PAUSED).set(0.0);
}

/// Why a stream was cut.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Slow,
    Moved,
    Unknown,
}

impl Cut {
    fn as_str(self) -> &'static str {
        match self {
            Cut::Slow => "slow_client",
            Cut::Moved => "moved",
            Cut::Unknown => "unknown_run",
        }
    }
}

pub fn stream_cut(reason: Cut) {
    counter!(SSE_DROPPED, "reason" => reason.as_str()).increment(1);
}

pub fn stream_resumed(recovered: bool) {
    counter!(SSE_RESUMES, "recovered" => if recovered { "true" } else { "false" }).increment(1);
}

pub fn dead_letters() -> Counter {
    event_log::metrics::dead_letters(GRAPH, NODE)
}

pub fn lag(partition: u32, records: u64) {
    gauge!(LAG_RECORDS, "graph" => GRAPH, "node" => NODE, "partition" => partition.to_string()).set(records as f64);
}

pub fn committed(partition: u32, offset: u64) {
    gauge!(COMMITTED_OFFSET, "graph" => GRAPH, "node" => NODE, "partition" => partition.to_string()).set(offset as f64);
}

pub fn duplicate() {
    counter!(DUPLICATES, "graph" => GRAPH, "node" => NODE).increment(1);
}

/// Handles of metrics by graph: looking one up costs more than counting.
#[derive(Default)]
pub struct RunMeters {
    ended: BTreeMap<(Lane, RunStatus), BTreeMap<String, (Counter, Histogram)>>,
    begun: BTreeMap<String, Histogram>,
}

impl RunMeters {
    pub fn began(&mut self, envelope: &Envelope, waited: Duration) {
        let graph = &envelope.graph.name;
        if !self.begun.contains_key(graph) {
            self.begun.insert(graph.clone(), histogram!(RUN_FIRST_EVENT, "graph" => graph.clone()));
        }
        self.begun[graph].record(waited.as_secs_f64());
    }

    pub fn ended(&mut self, envelope: &Envelope, status: RunStatus, took: Duration) {
        let graphs = self.ended.entry((envelope.lane, status)).or_default();
        let graph = &envelope.graph.name;
        if !graphs.contains_key(graph) {
            let lane = match envelope.lane {
                Lane::Interactive => "interactive",
                Lane::Batch => "batch",
            };
            let labels = [("graph", graph.clone()), ("lane", lane.to_owned()), ("status", status.as_str().to_owned())];
            graphs.insert(graph.clone(), (counter!(RUNS_FINISHED, &labels), histogram!(RUN_DURATION, &labels)));
        }
        let (count, seconds) = &graphs[graph];
        count.increment(1);
        seconds.record(took.as_secs_f64());
    }
}
