//! Names of the orchestrator's metrics.

use schemas::topic::ORCHESTRATOR_GROUP;

/// Records of `runs` applied, by event type.
pub const EVENTS: &str = "millstream_orchestrator_events_total";
/// Seconds that one record took to apply.
pub const APPLY_SECONDS: &str = "millstream_orchestrator_apply_seconds";
/// Runs begun, by graph. Ingest counts the accepted ones: one name for both would count a run twice in one process.
pub const RUNS_STARTED: &str = "millstream_orchestrator_runs_started_total";
/// Tasks issued, by graph and node.
pub const NODE_ENQUEUED: &str = "millstream_node_enqueued_total";
/// Keys in memory, by partition.
pub const RESIDENT_KEYS: &str = "millstream_orchestrator_resident_keys";
/// Records between replay start and tail, by partition.
pub const REPLAY_RECORDS: &str = "millstream_orchestrator_replay_records";
/// Records not yet applied, by partition.
pub const LAG_RECORDS: &str = "millstream_consumer_lag_records";
/// Seconds that a store of states took.
pub const STORE_SECONDS: &str = "millstream_checkpoint_write_seconds";
/// Keys recovered after an ownership began, by cause.
pub const RECOVERED_RUNS: &str = "millstream_recovered_runs_total";
/// Results that were not applied because another one was first.
pub const DUPLICATES: &str = "millstream_duplicates_suppressed_total";
/// Timers that fell due.
pub const TIMERS_DUE: &str = "millstream_timers_due_total";

/// Records of `runs` set aside.
pub fn dead_letters() -> ::metrics::Counter {
    event_log::metrics::dead_letters("", ORCHESTRATOR_GROUP)
}

/// Counts a task issued.
pub fn count_task(graph: &str, node: &str) {
    ::metrics::counter!(NODE_ENQUEUED, "graph" => graph.to_owned(), "node" => node.to_owned()).increment(1);
}
