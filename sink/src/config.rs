//! What the sink is told, and what it is given.

use std::{sync::Arc, time::Duration};

use event_log::{EventLog, ProgressBoard};
use graph::world::Clock;
use run_store::{Blobs, Deletes, Results, States};
use schemas::topic::Names;

/// Bounds and intervals. The defaults are those of production.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where other roles reach this sink, such as `http://10.0.0.7:9103`; said on `control` for each partition.
    pub address: String,
    /// A silent stream gets a comment this often, so that no proxy takes it for dead.
    pub keep_alive: Duration,
    /// How long `node_finished` waits for the last token that its result names.
    pub hold_max: Duration,
    /// How long interest in a run that nobody knows is kept.
    pub interest_keep: Duration,
    /// Runs that somebody asks for, or that tokens name, before their first update; for each partition.
    pub awaited_runs_max: usize,
    /// How long an ended run stays in memory that somebody streamed, and may come back to; reads then come from the store.
    pub finished_keep: Duration,
    /// The same for runs that nobody streamed: at thousands of runs a second they would fill the memory for nothing.
    pub unwatched_keep: Duration,
    /// Updates and tokens in memory. Beyond it ended runs leave early, then the tokens of live ones.
    pub live_bytes_max: usize,
    /// Events that may wait for a slow client before it is cut.
    pub client_buffer_events_max: usize,
    /// Bytes of `updates` fetched ahead.
    pub prefetch_bytes_max: usize,
    /// Tokens read back when a partition is taken over, so that its streams go on without a gap.
    pub token_lookback_records: u64,
    /// Rows waiting for the store. Beyond it intake pauses; streams then stand still.
    pub backlog_bytes_max: usize,
    /// Runs in one write to the store.
    pub runs_per_write_max: usize,
    /// A write of so many runs says that there is load: the next one gathers rows for `gather_for` before it begins.
    pub gather_from_runs: usize,
    pub gather_for: Duration,
    /// Reads of the store under way for runs and threads that are not in memory.
    pub loads_max: usize,
    pub commit_every: Duration,
    /// How often a partition says how far it is on `control`.
    pub progress_every: Duration,
    /// How long a revoked partition may take to write its rows before it is let go (the log allows 5 s).
    pub release_within: Duration,
    /// Pause after a failed read or write, doubled from the first to the second.
    pub retry_pause: (Duration, Duration),
    /// The longest that a wait may ask for.
    pub wait_max: Duration,
    /// Values that were written within this time before their thread's history is pruned stay: longer than any record that
    /// names one is on its way, or may be read again.
    pub values_young: Duration,
    /// Rows of one page of a list, at most.
    pub page_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            address: String::new(),
            keep_alive: Duration::from_secs(15),
            hold_max: Duration::from_millis(200),
            interest_keep: Duration::from_secs(60),
            awaited_runs_max: 100_000,
            finished_keep: Duration::from_secs(30),
            unwatched_keep: Duration::from_millis(250),
            live_bytes_max: 256 << 20,
            client_buffer_events_max: 1_024,
            prefetch_bytes_max: 8 << 20,
            token_lookback_records: 50_000,
            backlog_bytes_max: 64 << 20,
            runs_per_write_max: 2_000,
            gather_from_runs: 64,
            gather_for: Duration::from_millis(200),
            loads_max: 32,
            commit_every: Duration::from_secs(1),
            progress_every: Duration::from_secs(1),
            release_within: Duration::from_secs(4),
            retry_pause: (Duration::from_millis(50), Duration::from_secs(5)),
            wait_max: Duration::from_secs(600),
            values_young: Duration::from_secs(3_600),
            page_max: 200,
        }
    }
}

/// The parts of the world that the sink touches.
#[derive(Clone)]
pub struct Deps {
    pub log: Arc<dyn EventLog>,
    pub results: Arc<dyn Results>,
    /// Forgets what clients delete, in order with the rows of results.
    pub deletes: Arc<dyn Deletes>,
    /// What of the log the fold's states cover, and which values they name.
    pub states: Arc<dyn States>,
    /// Values of updates and rows that are too large for them.
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
    pub names: Names,
    /// Where each partition's owner says how far it is.
    pub board: ProgressBoard,
    /// Where set, a request must carry it in [`schemas::stream::SECRET_HEADER`].
    pub secret: Option<String>,
}
