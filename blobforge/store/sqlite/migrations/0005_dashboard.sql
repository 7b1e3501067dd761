-- What the dashboard shows is kept by the writes, so that no page counts or scans jobs. Everything here is bounded.

-- What happened to jobs in each slot of time, at three widths (`step`, seconds: 60, 900, 3600), each kept as long as
-- a chart of that width is shown. `what`: submitted, or the outcome of an attempt. `slot` is seconds / step.
CREATE TABLE happenings (
    step  INTEGER NOT NULL,
    slot  INTEGER NOT NULL,
    type  TEXT    NOT NULL,
    what  TEXT    NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (step, slot, type, what)
) STRICT, WITHOUT ROWID;
INSERT INTO happenings
    SELECT step, minute * 60 / step, type, outcome, sum(n)
      FROM attempt_rates, (SELECT 60 AS step UNION ALL SELECT 900 UNION ALL SELECT 3600) GROUP BY 1, 2, 3, 4;
DROP TABLE attempt_rates;

-- How many jobs there were, by type and status, when a minute began; a wider slot shows its last one. A slot without
-- any row is one in which the server did not run: there is always the row of the online workers (type '').
CREATE TABLE depths (
    step    INTEGER NOT NULL,
    slot    INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    status  TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (step, slot, type, status)
) STRICT, WITHOUT ROWID;

-- How long completed attempts took, in logarithmic buckets (blobforge/forecast.py), by the week in which they ended.
CREATE TABLE durations (
    week    INTEGER NOT NULL,
    type    TEXT    NOT NULL,
    bucket  INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (week, type, bucket)
) STRICT, WITHOUT ROWID;

-- How each worker's attempts ended, by the hour (hours since the epoch).
CREATE TABLE worker_rates (
    hour       INTEGER NOT NULL,
    worker_id  TEXT    NOT NULL,
    outcome    TEXT    NOT NULL,
    n          INTEGER NOT NULL,
    PRIMARY KEY (hour, worker_id, outcome)
) STRICT, WITHOUT ROWID;

-- Which types a worker has asked for since it registered, beside the one that it registered with.
CREATE TABLE worker_types (
    worker_id  TEXT  NOT NULL,
    type       TEXT  NOT NULL,
    PRIMARY KEY (worker_id, type)
) STRICT, WITHOUT ROWID;

-- Causes of failures: at most a thousand, then the rest is counted under 'other'.
CREATE TABLE failures (
    id           INTEGER PRIMARY KEY,
    fingerprint  TEXT    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL,
    place        TEXT    NOT NULL,  -- the innermost frame, or the error without what is different each time
    example      TEXT    NOT NULL,  -- the latest error as it was said
    first_seen   INTEGER NOT NULL,
    last_seen    INTEGER NOT NULL,
    n            INTEGER NOT NULL   -- attempts that failed so, ever
) STRICT;
-- How many jobs are failed or dead of each cause now.
CREATE TABLE failure_counts (
    failure  INTEGER NOT NULL,
    status   TEXT    NOT NULL,
    n        INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (failure, status)
) STRICT, WITHOUT ROWID;

-- The cause of the latest failure, until the job is completed; and when progress was last news.
ALTER TABLE jobs ADD COLUMN failure INTEGER;
ALTER TABLE jobs ADD COLUMN progress_at INTEGER;
-- Both walk in the order of the lists: urgent first, then the newest.
CREATE INDEX jobs_by_failure ON jobs (failure, priority, id DESC) WHERE failure IS NOT NULL;
CREATE INDEX jobs_by_worker ON jobs (worker_id, priority, id DESC) WHERE worker_id IS NOT NULL;

-- Which ids were made in each hour: what a range of time is looked up by.
CREATE TABLE job_hours (
    hour      INTEGER PRIMARY KEY,
    first_id  INTEGER NOT NULL,
    last_id   INTEGER NOT NULL
) STRICT;
INSERT INTO job_hours SELECT created_at / 3600000, min(id), max(id) FROM jobs GROUP BY 1;

-- What an action can be undone by: how each job was. Kept for minutes.
CREATE TABLE undos (
    token    TEXT    NOT NULL,
    job_id   INTEGER NOT NULL,
    was      TEXT    NOT NULL,  -- its status or priority before
    became   TEXT    NOT NULL,  -- and after: what has moved on since stays as it is
    at       INTEGER NOT NULL,
    PRIMARY KEY (token, job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX undos_by_age ON undos (at);

-- What was done to one thing, newest first.
CREATE INDEX audit_by_subject ON audit (subject, id);
