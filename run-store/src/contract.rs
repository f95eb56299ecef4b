//! The contract that every store keeps.
//!
//! - A row that can change carries a [`crate::Position`] and is replaced only by a newer or equal one, deletes too. Items
//!   and API keys have none: they are no part of the log.
//! - Every write may be repeated and then changes nothing. Writes are durable when they return.
//! - Keys begin with the tenant: nothing read for one tenant ever holds another's row.
//! - Lists are newest first, and a page's cursor goes on where it stopped, whatever was written since.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use graph::envelope::{Key, Millis};
use uuid::Uuid;

use crate::{
    error::StoreError,
    position::Position,
    rows::{
        ArchivedRow, CheckpointRow, Claim, Claimed, ItemKey, ItemRow, KeptValues, KeyRow, Micros, Namespace, Page,
        PageRequest, RunFilter, RunRow, RunWrite, SecretHash, Sleeper, SpecRow, StateRow, ThreadFilter, ThreadRow,
        UpdateRow, UsageBy, UsageSum,
    },
};

type Result<T> = std::result::Result<T, StoreError>;

/// Idempotency keys. Ingest.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Takes the key unless it is taken and not yet expired at `now`.
    async fn claim(&self, claim: &Claim, now: Millis) -> Result<Claimed>;
}

/// API keys that were made over HTTP, by name. Ingest.
///
/// A deployment has few of them, and all are read at once. Of two changes at the same time one is refused.
#[async_trait]
pub trait Keys: Send + Sync {
    /// By name.
    async fn keys(&self) -> Result<Vec<KeyRow>>;
    /// Puts a key in place of the one whose hash is `seen`; None: where there is none of its name. False where that is
    /// not so, and nothing has changed.
    async fn put_key(&self, row: &KeyRow, seen: Option<&SecretHash>) -> Result<bool>;
    /// False where there is none of that name.
    async fn delete_key(&self, name: &str) -> Result<bool>;
}

/// Versions of graphs by hash, and the current one by name. Ingest, orchestrator, node-workers.
#[async_trait]
pub trait Specs: Send + Sync {
    /// Stores a version; durable before any record names its hash.
    async fn put_spec(&self, row: &SpecRow) -> Result<()>;
    async fn spec(&self, hash: &str) -> Result<Option<SpecRow>>;
    /// Makes a stored version the one that new runs of `name` begin with. The latest `at` wins.
    async fn publish(&self, name: &str, hash: &str, at: Millis) -> Result<()>;
    /// The current version of every graph, by name.
    async fn current(&self) -> Result<Vec<SpecRow>>;
    async fn current_of(&self, name: &str) -> Result<Option<SpecRow>>;
    /// All versions of one graph, newest first.
    async fn versions(&self, name: &str) -> Result<Vec<SpecRow>>;
}

/// The fold's states. Orchestrator; the sink reads what they cover, and name, before it prunes.
#[async_trait]
pub trait States: Send + Sync {
    async fn state(&self, partition: u32, key: &Key) -> Result<Option<StateRow>>;
    /// All rows or an error; rows that were written before an error stay written.
    async fn put_states(&self, rows: &[StateRow]) -> Result<()>;
    /// Keys of the partition that have a timer, by time.
    async fn sleepers(&self, partition: u32) -> Result<Vec<Sleeper>>;
    /// The position up to which the states of a partition cover `runs`: replay never needs to start before it.
    async fn covered(&self, partition: u32) -> Result<Option<Position>>;
    async fn set_covered(&self, partition: u32, position: Position) -> Result<()>;
}

/// The fold's past: checkpoints that have a successor, whole. Orchestrator.
///
/// A checkpoint may be put away again, when a run came back to it: each version stays under the position of the record
/// that caused it, and a reader sees what there was `below` its own record. So a replay reads what was read in life,
/// though the store may have what comes later in the log.
#[async_trait]
pub trait Archive: Send + Sync {
    async fn put_archived(&self, rows: &[ArchivedRow]) -> Result<()>;
    /// The newest version of a checkpoint that was put away below a position.
    async fn archived(&self, owner: &Key, ns: &str, id: Uuid, below: Position) -> Result<Option<ArchivedRow>>;
    /// Newest first, the newest version of each; `before` excludes that checkpoint and what came after it, so the last id
    /// of a page is the cursor of the next.
    async fn archived_before(
        &self,
        owner: &Key,
        ns: &str,
        before: Option<Uuid>,
        below: Position,
        limit: u32,
    ) -> Result<Vec<ArchivedRow>>;
}

/// What must be gone when somebody asks for it. Sink, in order with its own writes.
#[async_trait]
pub trait Deletes: Send + Sync {
    /// All that was written of a thread up to a position: its state, archive and history, its runs and edits with their
    /// updates, its values. Usage stays: it is owed. What is written later, at a higher position, begins the thread anew.
    ///
    /// May be repeated; one that was cut off must be.
    async fn delete_thread(&self, tenant: &str, thread_id: &str, at: Position) -> Result<()>;
    /// A run of a thread as if it had never been, at the position that undid it: its row, its updates, the checkpoints that
    /// it made. Usage stays, and so does what the fold put away. May be repeated; one that was cut off must be.
    async fn delete_run(&self, tenant: &str, thread_id: &str, run_id: Uuid, at: Position) -> Result<()>;
    /// A thread's history, at the position that pruned it: checkpoints and updates that were written below it, what the fold put
    /// away up to it, and values but those that are kept. What is written at the position stays, as do the thread's state and row
    /// and the rows of its runs. May be repeated; one that was cut off must be.
    async fn prune_thread(&self, tenant: &str, thread_id: &str, at: Position, kept: &KeptValues) -> Result<()>;
    /// Where the thread was deleted or pruned last: what was caused there or before and comes only now is late. Forgotten when
    /// nothing can come any more.
    async fn deleted(&self, tenant: &str, thread_id: &str) -> Result<Option<Position>>;
}

/// Immutable values by owner and content hash. All stages.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Always writes, also what is there already: a collector may be about to remove it.
    async fn put_blob(&self, owner: &Key, hash: &str, value: Bytes) -> Result<()>;
    async fn blob(&self, owner: &Key, hash: &str) -> Result<Option<Bytes>>;
}

/// What became of runs. Sink.
#[async_trait]
pub trait Results: Send + Sync {
    /// Writes of many runs; the rows of one run go in one request. Where it is cut off, an update is found only when all
    /// that was given with it, for any of the runs, is there.
    async fn write(&self, runs: Arc<Vec<RunWrite>>) -> Result<()>;
    async fn run(&self, tenant: &str, run_id: Uuid) -> Result<Option<RunRow>>;
    /// Updates numbered above `after`, in order.
    async fn updates(&self, tenant: &str, run_id: Uuid, after: u64, limit: u32) -> Result<Vec<UpdateRow>>;
    async fn runs(&self, tenant: &str, filter: &RunFilter, page: &PageRequest) -> Result<Page<RunRow>>;
    async fn thread(&self, tenant: &str, thread_id: &str) -> Result<Option<ThreadRow>>;
    async fn threads(&self, tenant: &str, filter: &ThreadFilter, page: &PageRequest) -> Result<Page<ThreadRow>>;
    /// Newest first; `before` excludes that checkpoint and what came after it.
    async fn checkpoints(&self, owner: &Key, ns: &str, before: Option<Uuid>, limit: u32) -> Result<Vec<CheckpointRow>>;
    async fn checkpoint(&self, owner: &Key, ns: &str, id: Uuid) -> Result<Option<CheckpointRow>>;
    /// Calls started in [since, until), added up by the given keys.
    async fn usage(&self, tenant: &str, by: &[UsageBy], since: Millis, until: Millis) -> Result<Vec<UsageSum>>;
    /// Who has made calls, each once.
    async fn spenders(&self) -> Result<Vec<String>>;
}

/// The long-term store: what nodes and clients keep by namespace and key, apart from all runs. Ingest, node-workers.
///
/// Of two writes the later wins, whoever made it; of two at once, either. What has expired is not read, whether it is
/// forgotten yet or not. A namespace has at least one label, and is there as long as one of its items is.
///
/// Lists are in an order of the store's own. A page goes on behind the last of the page before; it may be short, and an
/// empty one is the end.
#[async_trait]
pub trait Items: Send + Sync {
    /// Replaces what is there. A live item keeps its `created_at`.
    async fn put_item(&self, row: &ItemRow) -> Result<()>;
    async fn item(&self, item: &ItemKey, now: Millis) -> Result<Option<ItemRow>>;
    async fn delete_item(&self, item: &ItemKey, at: Micros) -> Result<()>;
    /// Gives an item that was read its new `expires_at`, unless it was put anew or deleted since.
    async fn refresh_item(&self, row: &ItemRow, now: Millis) -> Result<()>;
    /// Items whose namespaces begin with these labels.
    async fn items(
        &self,
        tenant: &str,
        prefix: &[String],
        after: Option<&ItemKey>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<ItemRow>>;
    /// Namespaces that begin with these labels, each once.
    async fn namespaces(
        &self,
        tenant: &str,
        prefix: &[String],
        after: Option<&Namespace>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Namespace>>;
}

/// What the deployment has agreed on. Server.
#[async_trait]
pub trait Meta: Send + Sync {
    /// Sets a name once; returns what it holds, which is another value where somebody was first.
    async fn set_once(&self, name: &str, value: &str) -> Result<String>;
    async fn meta(&self, name: &str) -> Result<Option<String>>;
}

/// Everything at once, for `server` to hand out in parts.
pub trait RunStore: Claims + Keys + Specs + States + Archive + Blobs + Results + Deletes + Items + Meta {}
impl<T: Claims + Keys + Specs + States + Archive + Blobs + Results + Deletes + Items + Meta> RunStore for T {}
