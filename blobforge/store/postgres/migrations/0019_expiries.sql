-- As in SQLite's schema (blobforge/store/sqlite/migrations/0033_expiries.sql). A server that knows none of it gives no job
-- up, and leaves the time where it gives a job out.
ALTER TABLE jobs ADD COLUMN expires_at BIGINT;
CREATE INDEX jobs_to_expire ON jobs (expires_at, id)
    WHERE expires_at IS NOT NULL AND status IN ('pending', 'uploading');
