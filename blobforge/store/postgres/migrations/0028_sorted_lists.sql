-- As in SQLite's schema (blobforge/store/sqlite/migrations/0042_sorted_lists.sql).
CREATE INDEX jobs_by_size ON jobs (source_size, id) WHERE source_size >= 8388608;
CREATE INDEX jobs_by_duration ON jobs ((completed_at - started_at), id) WHERE status = 'completed';
CREATE INDEX jobs_by_tries ON jobs (attempts, id) WHERE attempts > 1;
