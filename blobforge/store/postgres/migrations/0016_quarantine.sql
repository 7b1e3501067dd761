-- As in SQLite's schema (blobforge/store/sqlite/migrations/0030_quarantine.sql). A server that knows none of it gives jobs
-- to workers that are in quarantine, and notes no causes: its attempts are not judged by.
ALTER TABLE workers ADD COLUMN quarantine TEXT;
ALTER TABLE workers ADD COLUMN readmitted_at BIGINT;
ALTER TABLE attempts ADD COLUMN failure BIGINT;
CREATE INDEX workers_quarantined ON workers (id) WHERE quarantine IS NOT NULL;
