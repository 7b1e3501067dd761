-- Times are INTEGER milliseconds since the epoch, UTC. JSON is TEXT as the client sent it.

CREATE TABLE jobs (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,  -- never given twice, not even after a prune
    type          TEXT    NOT NULL,
    status        TEXT    NOT NULL CHECK (status IN
                  ('uploading','pending','running','completed','failed','dead','cancelled')),
    priority      INTEGER NOT NULL CHECK (priority BETWEEN 1 AND 5),
    source_hash   TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    max_attempts  INTEGER NOT NULL,
    source_path   TEXT,
    source_size   INTEGER,
    tags          TEXT,
    metadata      TEXT,
    attempts      INTEGER NOT NULL DEFAULT 0,
    losses        INTEGER NOT NULL DEFAULT 0,
    attempt       INTEGER NOT NULL DEFAULT 0,
    worker_id     TEXT,
    lease         TEXT,
    heartbeat_at  INTEGER,
    started_at    INTEGER,
    completed_at  INTEGER,
    not_before    INTEGER,
    last_error    TEXT,
    output_key    TEXT,
    result        TEXT,
    progress      TEXT,
    CHECK (status <> 'running' OR (worker_id IS NOT NULL AND lease IS NOT NULL))
) STRICT;

-- One job for each document and type: a second submission finds the first.
CREATE UNIQUE INDEX jobs_by_source ON jobs (source_hash, type);
-- The claim order itself: urgent first, then the oldest.
CREATE INDEX jobs_ready ON jobs (type, priority, id) WHERE status = 'pending';
-- One range of this index for each (status, type, priority): lists merge the ranges that they want.
CREATE INDEX jobs_listed ON jobs (status, type, priority, id DESC);
CREATE INDEX jobs_running ON jobs (worker_id, id) WHERE status = 'running';

CREATE TABLE job_tags (
    tag     TEXT    NOT NULL,
    job_id  INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, job_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_tags_by_job ON job_tags (job_id);

CREATE TABLE attempts (
    job_id      INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt     INTEGER NOT NULL,
    worker_id   TEXT    NOT NULL,
    lease       TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    ended_at    INTEGER,
    outcome     TEXT,
    kind        TEXT,
    error       TEXT,
    traceback   TEXT,
    log_tail    TEXT,
    PRIMARY KEY (job_id, attempt)
) STRICT, WITHOUT ROWID;

-- What we know of objects in the store. `checked_at` NULL: somebody said so, and we have not looked yet.
CREATE TABLE files (
    key         TEXT    PRIMARY KEY,
    size        INTEGER,
    sha256      TEXT,
    job_id      INTEGER,
    attempt     INTEGER,
    created_at  INTEGER NOT NULL,
    checked_at  INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX files_unchecked ON files (key) WHERE checked_at IS NULL;

CREATE TABLE workers (
    id              TEXT    PRIMARY KEY,
    type            TEXT    NOT NULL,
    status          TEXT    NOT NULL CHECK (status IN ('online', 'offline', 'draining')),
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    name            TEXT,
    enabled         INTEGER NOT NULL DEFAULT 1,
    last_heartbeat  INTEGER,
    metadata        TEXT,
    labels          TEXT,
    version         TEXT,
    token_id        INTEGER,  -- no reference: a deleted token leaves its workers, which nobody can act as
    secret_hash     TEXT,
    drain           INTEGER NOT NULL DEFAULT 0,
    registered      INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- A claim whose answer was lost is repeated with its key and gets the same jobs.
CREATE TABLE claim_keys (
    worker_id   TEXT    NOT NULL,
    claim_key   TEXT    NOT NULL,
    jobs        TEXT    NOT NULL,  -- [[job_id, attempt], ...]
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (worker_id, claim_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX claim_keys_by_age ON claim_keys (created_at);

CREATE TABLE idempotency (
    subject      TEXT    NOT NULL,  -- whose key it is
    key          TEXT    NOT NULL,
    fingerprint  BLOB    NOT NULL,  -- SHA-256 of method, path and body
    outcome      BLOB    NOT NULL,  -- what was answered, as the typed value
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (subject, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE tokens (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    name          TEXT    NOT NULL,
    hash          TEXT    NOT NULL UNIQUE,
    prefix        TEXT    NOT NULL,
    scopes        TEXT    NOT NULL,  -- space-separated
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    origin        TEXT    NOT NULL DEFAULT 'api'  -- 'start': made by the server, for the first administrator
) STRICT;

-- Written by health checks: can anything be?
CREATE TABLE pulse (
    id  INTEGER PRIMARY KEY CHECK (id = 1),
    at  INTEGER NOT NULL
) STRICT;

-- Kept by the writes, so that statistics and list totals never count rows.
CREATE TABLE job_counts (
    status    TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    priority  INTEGER NOT NULL,
    n         INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (status, type, priority)
) STRICT, WITHOUT ROWID;
CREATE TABLE worker_counts (
    status  TEXT    PRIMARY KEY,
    n       INTEGER NOT NULL CHECK (n >= 0)
) STRICT, WITHOUT ROWID;
-- How many attempts ended in each minute (minutes since the epoch), by type and outcome.
CREATE TABLE attempt_rates (
    minute   INTEGER NOT NULL,
    type     TEXT    NOT NULL,
    outcome  TEXT    NOT NULL,
    n        INTEGER NOT NULL,
    PRIMARY KEY (minute, type, outcome)
) STRICT, WITHOUT ROWID;
