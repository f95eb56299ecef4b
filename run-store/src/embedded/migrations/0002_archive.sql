-- The fold's past: a version of a checkpoint is kept under the position of the record that put it away.
CREATE TABLE archive (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    ns TEXT NOT NULL,
    checkpoint_id BLOB NOT NULL,
    position INTEGER NOT NULL,
    checkpoint BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX archive_by_owner ON archive (owner, ns, checkpoint_id, position);

-- Threads deleted a short while ago, and where: an older write that comes late brings nothing of them back.
CREATE TABLE deleted_threads (
    owner TEXT NOT NULL PRIMARY KEY,
    position INTEGER NOT NULL,
    expires_at INTEGER
) STRICT, WITHOUT ROWID;
