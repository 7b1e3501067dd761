-- Jobs that were submitted for one thing (blobforge/batch.py). An open one has its name alone.
CREATE TABLE batches (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    metadata    TEXT,
    submitter   TEXT,
    closed_at   INTEGER,
    started_at  INTEGER,
    ended_at    INTEGER,
    endings     INTEGER NOT NULL DEFAULT 0,
    CHECK (ended_at IS NULL OR closed_at IS NOT NULL)
) STRICT;
CREATE UNIQUE INDEX batches_open ON batches (name) WHERE closed_at IS NULL;
CREATE INDEX batches_by_name ON batches (name, id);
CREATE INDEX batches_going ON batches (id) WHERE ended_at IS NULL;

-- Which jobs are in a batch. The job has the same, in the order in which it came to them: `batches`, a JSON array.
CREATE TABLE batch_jobs (
    batch   INTEGER NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    job_id  INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (batch, job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX batch_jobs_by_job ON batch_jobs (job_id);
ALTER TABLE jobs ADD COLUMN batches TEXT;

-- How many of its jobs have each status; `gone`: were deleted since.
CREATE TABLE batch_counts (
    batch   INTEGER NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    status  TEXT    NOT NULL,
    type    TEXT    NOT NULL,
    n       INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (batch, status, type)
) STRICT, WITHOUT ROWID;
