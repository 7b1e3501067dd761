-- What is done to many jobs and goes on without the client that asked for it. `work` is what is to be done, as JSON;
-- `token_id` or `user_id` the asker, whose rights are judged at each turn. Selecting, it has come to `cursor` and has
-- found `matched` jobs, of which the `total` that it would change stand in `pages` pages; of these the first `page` are
-- done. `told_at`: when its progress was last told.
CREATE TABLE operations (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    verb        TEXT    NOT NULL,
    work        TEXT    NOT NULL,
    state       TEXT    NOT NULL CHECK (state IN ('selecting', 'running', 'completed', 'cancelled', 'failed')),
    subject     TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    token_id    INTEGER,
    user_id     INTEGER,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    told_at     INTEGER NOT NULL,
    ended_at    INTEGER,
    cursor      TEXT,
    matched     INTEGER NOT NULL DEFAULT 0,
    total       INTEGER NOT NULL DEFAULT 0,
    done        INTEGER NOT NULL DEFAULT 0,
    changed     INTEGER NOT NULL DEFAULT 0,
    pages       INTEGER NOT NULL DEFAULT 0,
    page        INTEGER NOT NULL DEFAULT 0,
    reason      TEXT,
    undo_of     INTEGER,
    undone_by   INTEGER,
    undo_until  INTEGER,
    CHECK ((ended_at IS NULL) = (state IN ('selecting', 'running')))
) STRICT;
CREATE INDEX operations_open ON operations (id) WHERE ended_at IS NULL;
CREATE INDEX operations_ended ON operations (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX operations_undoable ON operations (undo_until) WHERE undo_until IS NOT NULL;

-- The jobs of an operation, as many as one turn treats: their ids as JSON, and for an undo what was changed of them.
CREATE TABLE operation_pages (
    operation_id  INTEGER NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    page          INTEGER NOT NULL,
    jobs          TEXT    NOT NULL,
    changes       TEXT,
    PRIMARY KEY (operation_id, page)
) STRICT;

-- The further paths of a source, beside the one that it was first submitted with: `more_paths` says how many.
CREATE TABLE job_paths (
    job_id  INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    n       INTEGER NOT NULL,  -- from 1 on
    path    TEXT    NOT NULL,
    PRIMARY KEY (job_id, n)
) STRICT;
ALTER TABLE jobs ADD COLUMN more_paths INTEGER NOT NULL DEFAULT 0;

-- How many bytes the job's result has. NULL: its bytes are not in the counters yet (actors/effects/backfill.py).
ALTER TABLE jobs ADD COLUMN output_bytes INTEGER;
ALTER TABLE job_counts ADD COLUMN source_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job_counts ADD COLUMN output_bytes INTEGER NOT NULL DEFAULT 0;
CREATE TABLE tag_counts (
    tag           TEXT    PRIMARY KEY,
    n             INTEGER NOT NULL CHECK (n >= 0),
    source_bytes  INTEGER NOT NULL,
    output_bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tag_counts_by_bytes ON tag_counts (source_bytes + output_bytes DESC, tag);
-- Jobs whose bytes are still to be counted; no row: all have been.
CREATE TABLE weighing (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    next_job  INTEGER NOT NULL,
    last_job  INTEGER NOT NULL
) STRICT;
INSERT INTO weighing (id, next_job, last_job) SELECT 1, min(id), max(id) FROM jobs HAVING max(id) IS NOT NULL;
