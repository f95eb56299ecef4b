-- The long-term store. `ns` is the namespace as one text, so that all below some labels lies in one span.
CREATE TABLE items (
    id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    ns TEXT NOT NULL,
    item_key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ttl_ms INTEGER,
    expires_at INTEGER,
    value BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX items_by_name ON items (tenant, ns, item_key);
CREATE INDEX items_by_end ON items (expires_at) WHERE expires_at IS NOT NULL;
