//! Every statement, prepared once. Those with a TIMESTAMP are of positioned tables.

use ::scylla::{
    client::session::Session,
    statement::{Consistency, prepared::PreparedStatement},
};

use crate::error::StoreError;

macro_rules! statements {
    ($($name:ident: $cql:literal;)+) => {
        pub(super) struct Statements {
            $(pub(super) $name: PreparedStatement,)+
        }

        impl Statements {
            pub(super) async fn prepare(session: &Session) -> Result<Self, StoreError> {
                Ok(Statements { $($name: prepare(session, $cql).await?,)+ }.with_serial_reads())
            }
        }
    };
}

statements! {
    claim: "INSERT INTO claims (tenant, claim_key, run_id, body_hash, expires_at) VALUES (?, ?, ?, ?, ?)
            IF NOT EXISTS USING TTL ?";
    claim_again: "UPDATE claims USING TTL ? SET run_id = ?, body_hash = ?, expires_at = ?
            WHERE tenant = ? AND claim_key = ? IF run_id = ? AND expires_at = ?";
    find_claim: "SELECT run_id, body_hash, expires_at FROM claims WHERE tenant = ? AND claim_key = ?";
    add_key: "INSERT INTO api_keys (shard, name, hash, api_key) VALUES (0, ?, ?, ?) IF NOT EXISTS";
    change_key: "UPDATE api_keys SET hash = ?, api_key = ? WHERE shard = 0 AND name = ? IF hash = ?";
    delete_key: "DELETE FROM api_keys WHERE shard = 0 AND name = ? IF EXISTS";
    find_keys: "SELECT name, hash, api_key FROM api_keys WHERE shard = 0";
    set_once: "INSERT INTO meta (name, value) VALUES (?, ?) IF NOT EXISTS";
    find_meta: "SELECT value FROM meta WHERE name = ?";

    put_spec: "INSERT INTO specs (hash, name, created_at, spec) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    put_version: "INSERT INTO spec_versions (name, hash) VALUES (?, ?)";
    publish: "INSERT INTO current_specs (shard, name, hash) VALUES (0, ?, ?) USING TIMESTAMP ?";
    find_spec: "SELECT hash, name, created_at, spec FROM specs WHERE hash = ?";
    find_versions: "SELECT hash FROM spec_versions WHERE name = ?";
    find_current: "SELECT hash FROM current_specs WHERE shard = 0";
    find_current_of: "SELECT hash FROM current_specs WHERE shard = 0 AND name = ?";

    put_state: "INSERT INTO states (state_key, partition_no, position, wake_at, expires_at, state)
            VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    delete_state: "DELETE FROM states USING TIMESTAMP ? WHERE state_key = ?";
    find_state: "SELECT partition_no, position, wake_at, expires_at, state FROM states WHERE state_key = ?";
    put_sleeper: "INSERT INTO sleepers (partition_no, state_key, wake_at, position) VALUES (?, ?, ?, ?)
            USING TIMESTAMP ? AND TTL ?";
    delete_sleeper: "DELETE FROM sleepers USING TIMESTAMP ? WHERE partition_no = ? AND state_key = ?";
    find_sleepers: "SELECT state_key, wake_at, position FROM sleepers WHERE partition_no = ?";
    set_covered: "INSERT INTO covered (partition_no, position) VALUES (?, ?) USING TIMESTAMP ?";
    find_covered: "SELECT position FROM covered WHERE partition_no = ?";

    put_archived: "INSERT INTO archive (owner, ns, checkpoint_id, position, checkpoint) VALUES (?, ?, ?, ?, ?)
            USING TIMESTAMP ?";
    find_archived: "SELECT position, checkpoint FROM archive
            WHERE owner = ? AND ns = ? AND checkpoint_id = ? AND position < ? LIMIT 1";
    find_archived_before: "SELECT checkpoint_id, position, checkpoint FROM archive
            WHERE owner = ? AND ns = ? AND checkpoint_id < ?";

    find_partition: "SELECT partition_no FROM states WHERE state_key = ?";
    delete_archived: "DELETE FROM archive USING TIMESTAMP ? WHERE owner = ?";
    put_namespace: "INSERT INTO checkpoint_namespaces (owner, ns) VALUES (?, ?)";
    find_namespaces: "SELECT ns FROM checkpoint_namespaces WHERE owner = ?";
    delete_namespace: "DELETE FROM checkpoint_namespaces WHERE owner = ? AND ns = ?";
    put_deleted: "INSERT INTO archive (owner, ns, checkpoint_id, position, checkpoint) VALUES (?, ?, ?, ?, ?)
            USING TIMESTAMP ? AND TTL ?";
    find_deleted: "SELECT position FROM archive WHERE owner = ? AND ns = ? AND checkpoint_id = ? LIMIT 1";
    delete_checkpoints: "DELETE FROM checkpoints
            WHERE owner = ? AND ns = ? AND last_id = ? AND first_id = ? AND n = ?";
    find_all_by_thread: "SELECT run_id FROM runs_by_thread WHERE tenant = ? AND thread_id = ?";
    delete_run: "DELETE FROM runs USING TIMESTAMP ? WHERE tenant = ? AND run_id = ?";
    delete_updates: "DELETE FROM updates WHERE tenant = ? AND run_id = ?";
    unlist_by_thread: "DELETE FROM runs_by_thread WHERE tenant = ? AND thread_id = ? AND run_id = ?";
    delete_thread: "DELETE FROM threads USING TIMESTAMP ? WHERE tenant = ? AND thread_id = ?";
    unlist_thread_by_day: "DELETE FROM threads_by_day
            WHERE tenant = ? AND day = ? AND created_at = ? AND thread_id = ?";
    unlist_thread_by_user: "DELETE FROM threads_by_user
            WHERE tenant = ? AND user_name = ? AND created_at = ? AND thread_id = ?";
    put_blob_of: "INSERT INTO blobs_by_owner (owner, hash) VALUES (?, ?)";
    find_blobs_of: "SELECT hash FROM blobs_by_owner WHERE owner = ?";
    delete_blob: "DELETE FROM blobs WHERE owner = ? AND hash = ?";
    delete_old_blob: "DELETE FROM blobs USING TIMESTAMP ? WHERE owner = ? AND hash = ?";
    delete_old_blob_of: "DELETE FROM blobs_by_owner USING TIMESTAMP ? WHERE owner = ? AND hash = ?";
    delete_blobs_of: "DELETE FROM blobs_by_owner WHERE owner = ?";

    put_blob: "INSERT INTO blobs (owner, hash, n, total, value) VALUES (?, ?, ?, ?, ?)";
    find_blob: "SELECT n, total, value FROM blobs WHERE owner = ? AND hash = ?";

    put_item: "INSERT INTO items (tenant, bucket, ns, item_key, created_at, updated_at, ttl_ms, expires_at, value)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
    find_item: "SELECT WRITETIME(updated_at), created_at, updated_at, ttl_ms, expires_at, value FROM items
            WHERE tenant = ? AND bucket = ? AND ns = ? AND item_key = ?";
    find_items: "SELECT ns, item_key, created_at, updated_at, ttl_ms, expires_at, value FROM items
            WHERE tenant = ? AND bucket = ? AND (ns, item_key) > (?, ?) AND (ns) < (?) LIMIT ?";
    find_item_namespaces: "SELECT ns, created_at, expires_at FROM items
            WHERE tenant = ? AND bucket = ? AND ns > ? AND ns < ?";

    put_run: "INSERT INTO runs (tenant, run_id, position, thread_id, user_name, graph, graph_hash, status, created_at,
            updated_at, last_number, view_json) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    find_run: "SELECT position, thread_id, user_name, graph, graph_hash, status, created_at, updated_at, last_number,
            view_json FROM runs WHERE tenant = ? AND run_id = ?";
    put_updates: "INSERT INTO updates (tenant, run_id, first_number, last_number, packed) VALUES (?, ?, ?, ?, ?)";
    find_update_spans: "SELECT first_number, last_number FROM updates WHERE tenant = ? AND run_id = ?";
    find_updates: "SELECT packed FROM updates
            WHERE tenant = ? AND run_id = ? AND first_number = ? AND last_number = ?";
    put_thread: "INSERT INTO threads (tenant, thread_id, position, user_name, graph, created_at, updated_at, view_json)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
    find_thread: "SELECT position, user_name, graph, created_at, updated_at, view_json FROM threads
            WHERE tenant = ? AND thread_id = ?";
    put_checkpoints: "INSERT INTO checkpoints (owner, ns, last_id, first_id, n, tenant, packed)
            VALUES (?, ?, ?, ?, ?, ?, ?)";
    find_checkpoints: "SELECT tenant, packed FROM checkpoints
            WHERE owner = ? AND ns = ? AND last_id = ? AND first_id = ? AND n = ?";
    find_checkpoint_spans: "SELECT last_id, first_id, n FROM checkpoints WHERE owner = ? AND ns = ?";
    put_usage: "INSERT INTO usage_by_day (tenant, day, bucket, call_id, run_id, endpoint, graph, node, provider, model,
            user_name, api_key, started_at, duration_ms, outcome, input_tokens, output_tokens, cached_tokens,
            cache_write_tokens, reasoning_tokens, usage_source, cost_nano_usd, calls_unpriced)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    find_usage: "SELECT endpoint, graph, node, model, user_name, api_key, started_at, input_tokens, output_tokens,
            cached_tokens, cache_write_tokens, reasoning_tokens, cost_nano_usd, calls_unpriced, usage_source
            FROM usage_by_day
            WHERE tenant = ? AND day = ? AND bucket = ?";

    put_day: "INSERT INTO days (tenant, list_name, day) VALUES (?, ?, ?)";
    find_lists: "SELECT DISTINCT tenant, list_name FROM days";
    find_days: "SELECT day FROM days WHERE tenant = ? AND list_name = ? AND day <= ? AND day >= ?";
    list_by_day: "INSERT INTO runs_by_day (tenant, day, bucket, run_id) VALUES (?, ?, ?, ?)";
    list_by_graph: "INSERT INTO runs_by_graph (tenant, graph, day, bucket, run_id) VALUES (?, ?, ?, ?, ?)";
    list_by_status: "INSERT INTO runs_by_status (tenant, status, day, bucket, run_id) VALUES (?, ?, ?, ?, ?)
            USING TIMESTAMP ?";
    unlist_by_status: "DELETE FROM runs_by_status USING TIMESTAMP ?
            WHERE tenant = ? AND status = ? AND day = ? AND bucket = ? AND run_id = ?";
    list_by_user: "INSERT INTO runs_by_user (tenant, user_name, run_id) VALUES (?, ?, ?)";
    list_by_thread: "INSERT INTO runs_by_thread (tenant, thread_id, run_id) VALUES (?, ?, ?)";
    find_by_day: "SELECT run_id FROM runs_by_day
            WHERE tenant = ? AND day = ? AND bucket = ? AND run_id < ? AND run_id >= ? LIMIT ?";
    find_by_graph: "SELECT run_id FROM runs_by_graph
            WHERE tenant = ? AND graph = ? AND day = ? AND bucket = ? AND run_id < ? AND run_id >= ? LIMIT ?";
    find_by_status: "SELECT run_id FROM runs_by_status
            WHERE tenant = ? AND status = ? AND day = ? AND bucket = ? AND run_id < ? AND run_id >= ? LIMIT ?";
    find_by_user: "SELECT run_id FROM runs_by_user
            WHERE tenant = ? AND user_name = ? AND run_id < ? AND run_id >= ? LIMIT ?";
    find_by_thread: "SELECT run_id FROM runs_by_thread
            WHERE tenant = ? AND thread_id = ? AND run_id < ? AND run_id >= ? LIMIT ?";
    list_thread_by_day: "INSERT INTO threads_by_day (tenant, day, created_at, thread_id) VALUES (?, ?, ?, ?)";
    list_thread_by_user: "INSERT INTO threads_by_user (tenant, user_name, created_at, thread_id) VALUES (?, ?, ?, ?)";
    find_threads_by_day: "SELECT created_at, thread_id FROM threads_by_day
            WHERE tenant = ? AND day = ? AND (created_at, thread_id) < (?, ?) LIMIT ?";
    find_threads_by_user: "SELECT created_at, thread_id FROM threads_by_user
            WHERE tenant = ? AND user_name = ? AND (created_at, thread_id) < (?, ?) LIMIT ?";
}

impl Statements {
    /// What transactions decide is read through them too: a plain read may miss one that is being finished.
    fn with_serial_reads(mut self) -> Self {
        for statement in [&mut self.find_claim, &mut self.find_meta] {
            statement.set_consistency(Consistency::LocalSerial);
        }
        self.find_blob.set_page_size(BLOB_PAGE_ROWS);
        self.find_archived_before.set_page_size(ARCHIVE_PAGE_ROWS);
        self
    }
}

/// Rows of a blob, of a megabyte each, that one answer holds.
const BLOB_PAGE_ROWS: i32 = 4;
/// Archived checkpoints that one answer holds: most readers want the first.
const ARCHIVE_PAGE_ROWS: i32 = 4;

async fn prepare(session: &Session, cql: &str) -> Result<PreparedStatement, StoreError> {
    let mut statement = session.prepare(cql).await?;
    // Every write may be repeated, except a transaction: its repeat would meet itself as another's.
    statement.set_is_idempotent(!cql.contains("IF "));
    Ok(statement)
}
