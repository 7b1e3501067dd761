-- Results that another one has replaced, with the key of the (main) output and what they take. `newer`: so many of the
-- same job have been replaced since. What was replaced before this was there is looked for in the jobs of
-- `superseding` (actors/effects/backfill.py); no row: all have been looked at.
CREATE TABLE superseded (
    job_id   INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    key      TEXT    NOT NULL,
    size     INTEGER,
    newer    INTEGER NOT NULL,
    PRIMARY KEY (job_id, attempt)
) STRICT;
CREATE INDEX superseded_by_age ON superseded (at, job_id, attempt);
CREATE INDEX superseded_by_number ON superseded (newer, job_id, attempt);
CREATE TABLE superseding (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    next_job  INTEGER NOT NULL,
    last_job  INTEGER NOT NULL
) STRICT;
INSERT INTO superseding (id, next_job, last_job) SELECT 1, min(id), max(id) FROM jobs HAVING max(id) IS NOT NULL;
