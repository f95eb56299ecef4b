//! What ingest is told: bounds, each with its unit, and who may ask.

use std::time::Duration;

use graph::event::TimeToLive;
use schemas::topic::Names;

use crate::auth::{Auth, jwt::Jwt};

#[derive(Clone, Debug)]
pub struct Config {
    /// `ce_source` of the records that ingest writes.
    pub source: String,
    /// The prefix of every topic's name.
    pub names: Names,
    /// Partitions of `runs`, as the store records them.
    pub runs_partitions: u32,
    /// Partitions of a node's topic, where publishing a graph makes it.
    pub node_partitions: u32,
    /// How long a node's topic keeps a task.
    pub node_retention: Duration,
    pub auth: Auth,
    /// Takes an issuer's tokens beside keys, where [`crate::Deps`] has its keys.
    pub jwt: Option<Jwt>,
    pub cors: Cors,
    /// Largest body of a request; beyond it 413.
    pub body_bytes_max: usize,
    /// Largest graph file.
    pub graph_bytes_max: usize,
    /// Requests being answered at a time, streams that have begun not counted; beyond it 503 `queue_full`.
    pub requests_in_flight_max: usize,
    /// How long a client may take to send the head of a request.
    pub head_timeout: Duration,
    /// How long a client may take to send a body; beyond it 408.
    pub body_timeout: Duration,
    /// How long the log may take to acknowledge a record; beyond it 503 `log_unavailable`.
    pub append_timeout: Duration,
    /// How long the store may take; beyond it 503 `store_unavailable`.
    pub store_timeout: Duration,
    /// How long the model of `[embedding]` may take on top of it, where an item is put or searched for by meaning.
    pub embedding_timeout: Duration,
    /// How long the sink of a partition is looked for while that moves; beyond it 503 `store_unavailable`.
    pub sink_timeout: Duration,
    /// How long a sink that was found may take to answer with headers, which a page of large states needs; beyond it 503
    /// `store_unavailable`.
    pub answer_timeout: Duration,
    /// How long `mode: wait` waits; beyond it 504 `wait_timeout`, and the run goes on.
    pub wait_timeout: Duration,
    /// How long a read of a run that was made this moment waits for the sink to hear of it.
    pub fresh_run_wait: Duration,
    /// A run's deadline where its graph has none.
    pub run_deadline: Duration,
    /// How long an `Idempotency-Key` is remembered.
    pub claim_ttl: Duration,
    /// How long a thread lives after its last use, where its own client says nothing; None: until it is deleted.
    pub thread_ttl: Option<TimeToLive>,
    /// How long requests under way may take to end at shutdown.
    pub drain_timeout: Duration,
    /// Model aliases that the configuration knows, against which graph files are checked; None: any may be one.
    pub models: Option<Vec<String>>,
    /// Providers that an alias may name; None where workers of other processes know.
    pub providers: Option<Vec<String>>,
    /// Refuses new runs of a partition whose owner is behind or silent; None accepts all.
    pub admission: Option<AdmissionLimits>,
}

impl Config {
    pub fn new(auth: Auth, names: Names, runs_partitions: u32) -> Self {
        Config {
            source: "millstream/ingest".to_owned(),
            names,
            runs_partitions,
            node_partitions: 4,
            node_retention: Duration::from_secs(7 * 24 * 3600),
            auth,
            jwt: None,
            cors: Cors::Off,
            body_bytes_max: 10_000_000,
            graph_bytes_max: 1 << 20,
            requests_in_flight_max: 10_000,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            append_timeout: Duration::from_secs(10),
            store_timeout: Duration::from_secs(5),
            embedding_timeout: Duration::from_secs(15),
            sink_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            wait_timeout: Duration::from_secs(55),
            fresh_run_wait: Duration::from_secs(2),
            run_deadline: Duration::from_secs(24 * 3600),
            claim_ttl: Duration::from_secs(24 * 3600),
            thread_ttl: None,
            drain_timeout: Duration::from_secs(30),
            models: None,
            providers: None,
            admission: None,
        }
    }
}

/// Which pages of other origins may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    #[default]
    Off,
    /// Any port of localhost, 127.0.0.1 and `[::1]`: for development.
    Localhost,
    /// These origins, such as `https://app.example.com`.
    Origins(Vec<String>),
}

/// When a partition of `runs` takes no new runs: its owner says how far it is, twice a second.
#[derive(Clone, Debug)]
pub struct AdmissionLimits {
    /// Records between the owner and the tail.
    pub lag_records_max: u64,
    /// Threads and runs that the owner has in memory.
    pub open_runs_max: u64,
    /// An owner that says nothing for this long is taken for gone.
    pub silent_max: Duration,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        AdmissionLimits { lag_records_max: 100_000, open_runs_max: 200_000, silent_max: Duration::from_secs(10) }
    }
}
