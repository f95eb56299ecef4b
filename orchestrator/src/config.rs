//! What the orchestrator is told, and what it is given.

use std::{sync::Arc, time::Duration};

use event_log::{EventLog, ProgressBoard};
use graph::{reducers::Reducers, world::Clock};
use run_store::{Archive, Blobs, Specs, States};
use schemas::topic::Names;

/// Bounds and intervals. The defaults are those of production.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number of the log, raised when topics are made anew: see [`run_store::Position`].
    pub generation: u32,
    /// How often an owner stores states that are older than `store_after`, and commits.
    pub commit_every: Duration,
    /// A state younger than this waits for its run to end: most runs then cost one write, or none.
    pub store_after: Duration,
    /// A clean key that nothing touched for this long leaves memory.
    pub evict_after: Duration,
    /// Keys in memory, for each partition; the longest untouched clean ones leave beyond it.
    pub resident_keys_max: usize,
    /// Records that may wait in an owner before its partition is paused.
    pub queued_records_max: usize,
    /// States in one write to the store.
    pub states_per_write_max: usize,
    /// Commits that fail for this long end the ownership: the group may have moved on.
    pub commit_failing_max: Duration,
    /// How long a revoked partition may take to store and commit before it is let go.
    pub release_within: Duration,
    /// How often an owner that moves says how far it is; ingest admits by it.
    pub progress_every: Duration,
    /// How often one that stands still says so.
    pub progress_idle_every: Duration,
    pub prefetch_bytes_max: usize,
    /// Whether a node's topic may be made when a run first needs it, and how.
    pub create_topics: Option<NodeTopics>,
    /// Of the binary's own.
    pub reducers: Reducers,
}

/// How a node's topic is made.
#[derive(Clone, Copy, Debug)]
pub struct NodeTopics {
    pub partitions: u32,
    /// How long it keeps a task that nobody took.
    pub retention: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            generation: 0,
            commit_every: Duration::from_secs(1),
            store_after: Duration::from_secs(2),
            evict_after: Duration::from_secs(30),
            resident_keys_max: 100_000,
            queued_records_max: 8_192,
            states_per_write_max: 512,
            commit_failing_max: Duration::from_secs(15),
            release_within: Duration::from_secs(3),
            progress_every: Duration::from_millis(500),
            progress_idle_every: Duration::from_secs(4),
            prefetch_bytes_max: 16 << 20,
            create_topics: None,
            reducers: Reducers::default(),
        }
    }
}

/// The parts of the world that the orchestrator touches.
#[derive(Clone)]
pub struct Deps {
    pub log: Arc<dyn EventLog>,
    pub specs: Arc<dyn Specs>,
    pub states: Arc<dyn States>,
    /// What runs and edits go back to.
    pub archive: Arc<dyn Archive>,
    /// Values that are too large for a record or a state.
    pub blobs: Arc<dyn Blobs>,
    pub clock: Arc<dyn Clock>,
    pub names: Names,
    /// Where each owner says how far it is.
    pub board: ProgressBoard,
}
