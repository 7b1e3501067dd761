-- As in SQLite's schema (blobforge/store/sqlite/migrations/0032_given_back.sql). A server that knows none of it charges
-- what fails on workers in quarantine.
ALTER TABLE attempts ADD COLUMN given_back BIGINT;
