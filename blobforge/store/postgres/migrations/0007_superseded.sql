-- As in SQLite's schema (blobforge/store/sqlite/migrations/0022_superseded.sql). A server that knows none of it replaces
-- results without noting it: these stay.
CREATE TABLE superseded (
    job_id   BIGINT  NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt  BIGINT  NOT NULL,
    at       BIGINT  NOT NULL,
    key      TEXT    COLLATE "C" NOT NULL,
    size     BIGINT,
    newer    INTEGER NOT NULL,
    PRIMARY KEY (job_id, attempt)
);
CREATE INDEX superseded_by_age ON superseded (at, job_id, attempt);
CREATE INDEX superseded_by_number ON superseded (newer, job_id, attempt);
CREATE TABLE superseding (
    id        SMALLINT PRIMARY KEY CHECK (id = 1),
    next_job  BIGINT   NOT NULL,
    last_job  BIGINT   NOT NULL
);
INSERT INTO superseding (id, next_job, last_job) SELECT 1, min(id), max(id) FROM jobs HAVING max(id) IS NOT NULL;
