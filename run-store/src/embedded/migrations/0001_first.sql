-- Idempotency keys come from clients and scatter: a small table of their own.
CREATE TABLE claims (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    run_id BLOB NOT NULL,
    body_hash BLOB NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX claims_by_expiry ON claims (expires_at);

CREATE TABLE specs (
    hash TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    spec BLOB NOT NULL
) STRICT;
CREATE INDEX specs_by_name ON specs (name, created_at);

CREATE TABLE current_specs (
    name TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A row without state is a tombstone: it keeps an older write from coming back.
CREATE TABLE states (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    partition INTEGER NOT NULL,
    position INTEGER NOT NULL,
    wake_at INTEGER,
    expires_at INTEGER,
    state BLOB
) STRICT;
CREATE INDEX states_that_sleep ON states (partition, wake_at) WHERE wake_at IS NOT NULL;
CREATE INDEX states_that_expire ON states (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX states_deleted ON states (id) WHERE state IS NULL AND expires_at IS NULL;

CREATE TABLE covered (
    partition INTEGER NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT;

-- Values lie in the order of arrival; only the small index is ordered by owner.
CREATE TABLE blobs (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    hash TEXT NOT NULL,
    value BLOB NOT NULL,
    UNIQUE (owner, hash)
) STRICT;

-- Run ids begin with time: every index below grows at its end (for each user, thread, graph and status).
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    run_id BLOB NOT NULL,
    position INTEGER NOT NULL,
    thread_id TEXT,
    user TEXT,
    graph TEXT NOT NULL,
    graph_hash TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    number INTEGER NOT NULL,
    view BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX runs_by_tenant ON runs (tenant, run_id);
CREATE INDEX runs_by_thread ON runs (tenant, thread_id, run_id) WHERE thread_id IS NOT NULL;
CREATE INDEX runs_by_user ON runs (tenant, user, run_id) WHERE user IS NOT NULL;
CREATE INDEX runs_by_graph ON runs (tenant, graph, run_id);
CREATE INDEX runs_by_status ON runs (tenant, status, run_id);

-- One row holds the updates of one write, packed.
CREATE TABLE updates (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    run_id BLOB NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    packed BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX updates_by_run ON updates (tenant, run_id, first);

CREATE TABLE threads (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    thread_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    user TEXT,
    graph TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    view BLOB NOT NULL,
    UNIQUE (tenant, thread_id)
) STRICT;
CREATE INDEX threads_by_tenant ON threads (tenant, created_at, thread_id);
CREATE INDEX threads_by_user ON threads (tenant, user, created_at, thread_id) WHERE user IS NOT NULL;

-- One row holds the checkpoints that one write brought an owner and namespace, packed.
CREATE TABLE checkpoints (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    owner TEXT NOT NULL,
    ns TEXT NOT NULL,
    first_id BLOB NOT NULL,
    last_id BLOB NOT NULL,
    count INTEGER NOT NULL,
    position INTEGER NOT NULL,
    packed BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX checkpoints_by_owner ON checkpoints (owner, ns, last_id, first_id);

-- A repeat of a call has the same start, so one tree in the order of time knows calls by id and adds up days.
CREATE TABLE usage (
    tenant TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    call_id TEXT NOT NULL,
    run_id BLOB NOT NULL,
    endpoint TEXT NOT NULL,
    graph TEXT NOT NULL,
    node TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    user TEXT,
    api_key TEXT,
    duration_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (tenant, started_at, call_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
