-- What the converter is to do with the source, as canonical JSON; with source and type it makes a job unique, by its
-- SHA-256 (empty: there are none). Jobs with options are in a lane of their own.
ALTER TABLE jobs ADD COLUMN options TEXT;
ALTER TABLE jobs ADD COLUMN options_hash TEXT NOT NULL DEFAULT '';
DROP INDEX jobs_by_source;
CREATE UNIQUE INDEX jobs_by_source ON jobs (source_hash, type, options_hash);
DROP INDEX jobs_kept;
CREATE INDEX jobs_kept ON jobs (type, lane, priority, id) WHERE status = 'pending' AND avoid IS NOT NULL;
-- What a worker's last claim said that it heeds: words, in a JSON array.
ALTER TABLE workers ADD COLUMN accepts TEXT;

-- Name and version of what converts: as the worker says it, each of its attempts, a job's latest one (`converter`), and
-- the one whose result the job has (`made_by`).
ALTER TABLE workers ADD COLUMN converter TEXT;
ALTER TABLE attempts ADD COLUMN converter TEXT;
ALTER TABLE jobs ADD COLUMN converter TEXT;
ALTER TABLE jobs ADD COLUMN made_by TEXT;
CREATE INDEX jobs_by_converter ON jobs (made_by, status, type, priority, id) WHERE made_by IS NOT NULL;
-- How many jobs have the result of each: filters by version look at these few, and count nothing.
CREATE TABLE converter_counts (
    made_by   TEXT    NOT NULL,
    status    TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    priority  INTEGER NOT NULL,
    n         INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (made_by, status, type, priority)
) STRICT, WITHOUT ROWID;

-- A result that is to be compared with the one before it: `compare` from the retry on; from the completion on the
-- former one (`replaced`) is kept until `compare_until`.
ALTER TABLE jobs ADD COLUMN compare INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN compare_until INTEGER;
CREATE INDEX jobs_compared ON jobs (priority, id) WHERE compare_until IS NOT NULL;
CREATE INDEX jobs_compared_until ON jobs (compare_until) WHERE compare_until IS NOT NULL;
