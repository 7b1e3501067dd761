-- As in SQLite's schema (blobforge/store/sqlite/migrations/0025_type_timeouts.sql). A server that knows none of it ends a
-- lease that no heartbeat has renewed for as long as is set for all types.
ALTER TABLE type_settings ADD COLUMN worker_timeout BIGINT;
