-- As in SQLite's schema (blobforge/store/sqlite/migrations/0024_type_limits.sql). A server that knows none of it starts
-- jobs beyond these limits, and takes nothing out of the bucket; what it starts counts as running.
ALTER TABLE type_settings ADD COLUMN max_running BIGINT, ADD COLUMN rate_count BIGINT, ADD COLUMN rate_ms BIGINT,
    ADD COLUMN owed BIGINT NOT NULL DEFAULT 0, ADD COLUMN owed_at BIGINT NOT NULL DEFAULT 0;
