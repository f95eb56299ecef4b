//! The rows that callers hand over and get back. Payloads are bytes (JSON) that the store never parses.

use std::collections::BTreeSet;

use bytes::Bytes;
use graph::{
    envelope::{Key, Millis},
    task::{Usage, UsageSource},
    update::RunStatus,
};
use uuid::Uuid;

use crate::position::Position;

/// An idempotency key, taken by the first request that names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub tenant: String,
    pub key: String,
    pub run_id: Uuid,
    /// blake3 of method, path and body: the same key with another body is a mistake of the caller.
    pub body_hash: [u8; 32],
    /// When the claim may be forgotten (24 h).
    pub expires_at: Millis,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// This call took it.
    New,
    /// Another request took it before; its claim.
    Taken(Claim),
}

/// blake3 of what a client sends.
pub type SecretHash = [u8; 32];

/// An API key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub name: String,
    pub hash: SecretHash,
    /// What it may do, whose it is, and what it was before.
    pub key: Bytes,
}

/// One version of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecRow {
    pub hash: String,
    pub name: String,
    /// The canonical JSON.
    pub spec: Bytes,
    pub created_at: Millis,
}

/// The state of one key, whole: a thread with its live and waiting runs, or a run without a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRow {
    pub key: Key,
    pub partition: u32,
    /// The last record that the state contains.
    pub position: Position,
    /// None deletes: a closed key that nothing needs to remember.
    pub state: Option<Bytes>,
    /// The next timer of a key that may leave memory: the next owner reads these first.
    pub wake_at: Option<Millis>,
    /// When the row may be forgotten; None keeps it.
    pub expires_at: Option<Millis>,
}

/// A key that sleeps in the store until a timer is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sleeper {
    pub key: Key,
    pub wake_at: Millis,
    pub position: Position,
}

/// A version of a checkpoint that has a successor, as the fold needs it to go on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedRow {
    /// The thread.
    pub owner: Key,
    pub ns: String,
    pub checkpoint_id: Uuid,
    /// The record that put it away.
    pub position: Position,
    pub checkpoint: Bytes,
}

/// What stays of a thread's values when its history is pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptValues {
    /// By name, or by what stands before the number of a piece.
    pub named: BTreeSet<String>,
    /// And all that was written later: what is on its way may name it.
    pub written_before: Millis,
}

impl KeptValues {
    pub(crate) fn names(&self, blob: &str) -> bool {
        self.named.contains(blob.split_once('.').map_or(blob, |(name, _)| name))
    }
}

/// Microseconds since 1970: items made in one millisecond keep their order.
pub type Micros = i64;

/// Labels from the outermost on, at least one.
pub type Namespace = Vec<String>;

/// The name of an item of the long-term store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ItemKey {
    pub tenant: String,
    pub namespace: Namespace,
    pub key: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemRow {
    pub item: ItemKey,
    /// JSON.
    pub value: Bytes,
    pub created_at: Micros,
    pub updated_at: Micros,
    /// How long it lives after it was put or read; None keeps it.
    pub ttl_ms: Option<Millis>,
    pub expires_at: Option<Millis>,
}

/// What the sink writes of one update: the update itself, and the rows that lists and reads are made of.
/// All rows of one run in one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunWrite {
    pub tenant: String,
    pub run_id: Uuid,
    pub updates: Vec<UpdateRow>,
    /// The newest view of the run, where an update changed it.
    pub run: Option<RunRow>,
    pub thread: Option<ThreadRow>,
    pub checkpoints: Vec<CheckpointRow>,
    pub usage: Vec<UsageRow>,
}

/// Byte-equal on every repeat: keyed by (tenant, run, number).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRow {
    pub number: u64,
    pub position: Position,
    /// The record's JSON.
    pub update: Bytes,
}

/// The newest view of a run: what status reads and lists show. Written at its position.
///
/// Its thread, user, graph and `created_at` never change, and its id's time lies within an hour of `created_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    pub tenant: String,
    pub run_id: Uuid,
    pub position: Position,
    pub thread_id: Option<String>,
    pub user: Option<String>,
    pub graph: String,
    pub graph_hash: String,
    pub status: RunStatus,
    pub created_at: Millis,
    pub updated_at: Millis,
    /// The last update's number.
    pub number: u64,
    /// JSON: envelope's metadata, output, error, usage as the sink lays them out.
    pub view: Bytes,
}

/// The newest view of a thread. `created_at` never changes: lists are ordered by it.
///
/// Of two at one position in one call the last is kept; in two calls, either.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadRow {
    pub tenant: String,
    pub thread_id: String,
    pub position: Position,
    pub user: Option<String>,
    pub graph: String,
    pub created_at: Millis,
    pub updated_at: Millis,
    /// JSON: status, values, metadata, interrupts as the sink lays them out.
    pub view: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    pub tenant: String,
    /// The thread, or the run without one.
    pub owner: Key,
    pub ns: String,
    pub checkpoint_id: Uuid,
    pub run_id: Uuid,
    pub position: Position,
    /// The `Checkpointed` update as JSON.
    pub checkpoint: Bytes,
}

/// One call, once by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRow {
    pub tenant: String,
    pub call_id: String,
    pub run_id: Uuid,
    pub endpoint: String,
    pub graph: String,
    pub node: String,
    pub provider: String,
    pub model: String,
    pub user: Option<String>,
    pub key: Option<String>,
    pub started_at: Millis,
    pub duration_ms: u64,
    pub outcome: String,
    pub usage: Usage,
    pub source: UsageSource,
}

/// Which runs to list; newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    pub user: Option<String>,
    pub thread_id: Option<String>,
    pub graph: Option<String>,
    pub status: Option<RunStatus>,
    /// Created at or after, and before.
    pub since: Option<Millis>,
    pub until: Option<Millis>,
}

/// Which threads to list; newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadFilter {
    pub user: Option<String>,
    pub graph: Option<String>,
}

/// At most `limit` rows, from behind `cursor` on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    pub limit: u32,
    pub cursor: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// None at the end.
    pub cursor: Option<String>,
}

/// What usage is added up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UsageBy {
    Endpoint,
    Graph,
    Node,
    Model,
    User,
    Key,
    Day,
}

/// Tokens and calls of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// In the order asked for; empty where a call had none.
    pub group: Vec<String>,
    pub calls: u64,
    /// Calls whose usage was not reported.
    pub calls_missing_usage: u64,
    pub usage: Usage,
}
