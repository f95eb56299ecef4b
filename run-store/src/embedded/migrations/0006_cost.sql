-- Calls from before have no price: what they cost is not known.
ALTER TABLE usage ADD COLUMN cost_nano_usd INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN calls_unpriced INTEGER NOT NULL DEFAULT 1;
