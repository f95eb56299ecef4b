-- When a value was written last: one that is on its way into a record is taken away by nobody.
ALTER TABLE blobs ADD COLUMN written_at INTEGER NOT NULL DEFAULT 0;
