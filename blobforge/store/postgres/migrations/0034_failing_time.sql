-- As in SQLite's schema (blobforge/store/sqlite/migrations/0048_failing_time.sql). A server that knows none of it goes by
-- `failing_since` alone; what it does not write is taken for one long wait, of which a day counts.
ALTER TABLE webhooks ADD COLUMN failed_at BIGINT;
ALTER TABLE webhooks ADD COLUMN failing_ms BIGINT NOT NULL DEFAULT 0;
