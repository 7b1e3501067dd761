-- As in SQLite's schema (blobforge/store/sqlite/migrations/0023_type_settings.sql). A server that knows none of it gives
-- out the jobs of paused types: a pause holds once all servers know this schema. `turn.type_settings`: the turn that
-- changed any of it last, by which each server knows with its own turn whether what it remembers is still so.
CREATE TABLE type_settings (
    type           TEXT COLLATE "C" PRIMARY KEY,
    paused_at      BIGINT,
    paused_by      TEXT COLLATE "C",
    reason         TEXT COLLATE "C",
    max_attempts   INTEGER,
    retry_backoff  BIGINT
);
ALTER TABLE turn ADD COLUMN type_settings BIGINT NOT NULL DEFAULT 0;
