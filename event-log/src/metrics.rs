//! Names of what the log reports.

/// Seconds from the oldest append of a commit group to its acks.
pub const APPEND_SECONDS: &str = "millstream_log_append_seconds";
/// Records that one sync made durable.
pub const COMMIT_RECORDS: &str = "millstream_log_commit_records";
/// Bytes that one sync made durable.
pub const COMMIT_BYTES: &str = "millstream_log_commit_bytes";
/// Bytes taken and not yet durable.
pub const QUEUE_BYTES: &str = "millstream_log_queue_bytes";
/// Bytes on disk.
pub const SIZE_BYTES: &str = "millstream_log_size_bytes";
/// Appends refused, by `reason`: one of [`REASONS`].
pub const APPENDS_REFUSED: &str = "millstream_log_appends_refused_total";
/// Records that a consumer could not read and set aside, by graph, node (a stage's name where it is no node) and reason.
/// Every consumer counts by [`dead_letters`], so that the series can be added up.
pub const DEAD_LETTERS: &str = "millstream_dead_letters_total";
/// Bytes that no version can read.
pub const REASON_GARBAGE: &str = "garbage";
/// Values of the label `reason`.
pub const REASONS: [&str; 3] = [REASON_FULL, REASON_TOO_LARGE, REASON_ENDED];
pub const REASON_FULL: &str = "queue_full";
pub const REASON_TOO_LARGE: &str = "too_large";
pub const REASON_ENDED: &str = "ended";

/// Tells the recorder what the names mean. Call once the recorder is installed.
pub fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(APPEND_SECONDS, Unit::Seconds, "From the oldest append of a commit group to its acks");
    describe_histogram!(COMMIT_RECORDS, "Records that one sync made durable");
    describe_histogram!(COMMIT_BYTES, Unit::Bytes, "Bytes that one sync made durable");
    describe_gauge!(QUEUE_BYTES, Unit::Bytes, "Bytes taken and not yet durable");
    describe_gauge!(SIZE_BYTES, Unit::Bytes, "Bytes of the log on disk");
    describe_counter!(APPENDS_REFUSED, "Appends refused, by reason");
    describe_counter!(DEAD_LETTERS, "Records set aside because they can't be read");
    for reason in REASONS {
        // A counter that first appears at 1 shows no increase.
        metrics::counter!(APPENDS_REFUSED, "reason" => reason).increment(0);
    }
}

/// The counter of a consumer's dead letters. One that first appears at 1 raises no alert: add 0 at the start.
pub fn dead_letters(graph: &str, node: &str) -> metrics::Counter {
    metrics::counter!(DEAD_LETTERS, "graph" => graph.to_owned(), "node" => node.to_owned(), "reason" => REASON_GARBAGE)
}
