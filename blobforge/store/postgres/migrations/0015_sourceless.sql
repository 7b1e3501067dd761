-- As in SQLite's schema. A server that knows none of it counts what was announced; what it brings back and leaves marked
-- counts as long as it is neither dead nor cancelled.
ALTER TABLE jobs ADD COLUMN sourceless SMALLINT NOT NULL DEFAULT 0;
