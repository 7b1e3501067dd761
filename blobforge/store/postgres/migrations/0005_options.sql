-- What the converter is to do with the source, as canonical JSON; with source and type it makes a job unique, by its
-- SHA-256 (empty: there are none). Jobs with options are in a lane of their own. A server that knows none takes a job
-- with options for the one without.
ALTER TABLE jobs ADD COLUMN options TEXT, ADD COLUMN options_hash TEXT COLLATE "C" NOT NULL DEFAULT '';
DROP INDEX jobs_by_source;
CREATE UNIQUE INDEX jobs_by_source ON jobs (source_hash, type, options_hash);
CREATE INDEX jobs_kept_in_lanes ON jobs (type, lane, priority, id) WHERE status = 'pending' AND avoid IS NOT NULL;
-- What a worker's last claim said that it heeds: words, in a JSON array.
ALTER TABLE workers ADD COLUMN accepts TEXT;

-- Name and version of what converts: as the worker says it, each of its attempts, a job's latest one (`converter`), and
-- the one whose result the job has (`made_by`).
ALTER TABLE workers ADD COLUMN converter TEXT;
ALTER TABLE attempts ADD COLUMN converter TEXT;
ALTER TABLE jobs ADD COLUMN converter TEXT, ADD COLUMN made_by TEXT COLLATE "C";
CREATE INDEX jobs_by_converter ON jobs (made_by, status, type, priority, id) WHERE made_by IS NOT NULL;
-- How many jobs have the result of each: filters by version look at these few, and count nothing. A server that knows
-- none of it moves jobs without moving these: they are counted anew at each start.
CREATE TABLE converter_counts (
    made_by   TEXT     COLLATE "C" NOT NULL,
    status    TEXT     COLLATE "C" NOT NULL,
    type      TEXT     COLLATE "C" NOT NULL,
    priority  SMALLINT NOT NULL,
    n         INTEGER  NOT NULL CHECK (n >= 0),
    PRIMARY KEY (made_by, status, type, priority)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.02);

-- A result that is to be compared with the one before it: `compare` from the retry on; from the completion on the
-- former one (`replaced`) is kept until `compare_until`.
ALTER TABLE jobs ADD COLUMN compare SMALLINT NOT NULL DEFAULT 0, ADD COLUMN compare_until BIGINT;
CREATE INDEX jobs_compared ON jobs (priority, id) WHERE compare_until IS NOT NULL;
CREATE INDEX jobs_compared_until ON jobs (compare_until) WHERE compare_until IS NOT NULL;
