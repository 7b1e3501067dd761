-- As in SQLite's schema (blobforge/store/sqlite/migrations/0044_families.sql). Of a family of which a server deletes a job
-- that knows none of it, the row stays.
ALTER TABLE families ADD COLUMN gone BIGINT NOT NULL DEFAULT 0;
