-- As in SQLite's schema (blobforge/store/sqlite/migrations/0034_breakers.sql). A server that knows none of it keeps to a
-- pause that a breaker has made, lets no job through, and counts no failures.
ALTER TABLE type_settings ADD COLUMN breaker BIGINT, ADD COLUMN own_fault SMALLINT, ADD COLUMN quarantine SMALLINT;
CREATE TABLE breakers (
    type   TEXT   COLLATE "C" PRIMARY KEY,
    hour   BIGINT,
    state  TEXT
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
