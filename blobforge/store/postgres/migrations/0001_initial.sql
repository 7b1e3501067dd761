-- One order of all that is written: a transaction takes the turn, and holds it until it ends.
CREATE TABLE turn (
    one     SMALLINT PRIMARY KEY CHECK (one = 1),
    n       BIGINT   NOT NULL,  -- of the last transaction that changed anything; no gaps
    at      BIGINT   NOT NULL,  -- the time that all servers agree on (ms): it never goes back
    schema  INTEGER  NOT NULL,  -- the version of this database
    oldest  INTEGER  NOT NULL,  -- servers that know no schema from here on may not take turns
    job     BIGINT   NOT NULL   -- the highest number that was given to a job: never given twice
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.02);
INSERT INTO turn (one, n, at, schema, oldest, job) VALUES (1, 0, 0, 1, 1, 0);

-- What each turn has told, for all servers to follow; what is older than the window of replay goes.
CREATE TABLE log (
    n       BIGINT PRIMARY KEY,
    server  TEXT   COLLATE "C" NOT NULL,
    nonce   BYTEA  NOT NULL,  -- by which a server knows its own transaction again
    at      BIGINT NOT NULL,
    told    TEXT   NOT NULL   -- JSON: events and facts
);

-- The servers' rows that their writers hold. An incarnation is one connection of a writer: a new one first takes the
-- row, which waits until the transaction of the one before has ended, and from then on that one does nothing.
CREATE TABLE servers (
    id           TEXT   COLLATE "C" PRIMARY KEY,
    incarnation  BIGINT NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- What servers have in common beside their history (blobforge/store/commons.py). The secrets open everything: a role
-- that only looks must not read them.
CREATE TABLE secrets (
    name   TEXT COLLATE "C" PRIMARY KEY,
    value  TEXT NOT NULL
);

-- What follows is true for seconds, and said again: it is in no write-ahead log, and empty after a crash. Times are
-- in ms, by the database's clock.
CREATE UNLOGGED TABLE presences (
    id          TEXT   COLLATE "C" PRIMARY KEY,
    name        TEXT   COLLATE "C" NOT NULL,
    version     TEXT   NOT NULL,
    objects     TEXT   NOT NULL,  -- where its objects are
    admin       TEXT   NOT NULL,  -- the hash of its first administrator's token
    url         TEXT   NOT NULL,
    started_at  BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL,
    turn        BIGINT,           -- the last one of its own that wrote
    turn_at     BIGINT,
    read        BIGINT,           -- the last entry of the log that it has read
    clock       BIGINT NOT NULL,  -- how far its own clock is ahead
    long_polls  INTEGER NOT NULL,
    streams     INTEGER NOT NULL
) WITH (fillfactor = 50);

-- Failed guesses, by the hash of an address or an id: a bucket that empties with time.
CREATE UNLOGGED TABLE guesses (
    name      BYTEA  PRIMARY KEY,
    failures  DOUBLE PRECISION NOT NULL,
    at        BIGINT NOT NULL,
    over      DOUBLE PRECISION NOT NULL  -- how many were too many, the last time
) WITH (fillfactor = 50);

-- What one server alone does at a time, until it lets go or its time is over.
CREATE UNLOGGED TABLE holds (
    name    TEXT   COLLATE "C" PRIMARY KEY,
    holder  TEXT   COLLATE "C" NOT NULL,
    until   BIGINT NOT NULL
);

-- What follows has the meaning of SQLite's schema (blobforge/store/sqlite/migrations). Times are milliseconds since the
-- epoch, UTC; JSON is text as the client sent it; truth is 0 or 1. Text that is compared or ordered is so by its bytes.

-- Which database this is: its id is in the keys of its objects.
CREATE TABLE installation (
    one  SMALLINT PRIMARY KEY CHECK (one = 1),
    id   TEXT     COLLATE "C" NOT NULL
);

CREATE TABLE jobs (
    id            BIGINT   PRIMARY KEY,  -- from turn.job: never given twice, not even after a prune
    type          TEXT     COLLATE "C" NOT NULL,
    status        TEXT     COLLATE "C" NOT NULL CHECK (status IN
                  ('uploading', 'pending', 'running', 'completed', 'failed', 'dead', 'cancelled')),
    priority      SMALLINT NOT NULL CHECK (priority BETWEEN 1 AND 5),
    source_hash   TEXT     COLLATE "C" NOT NULL,
    created_at    BIGINT   NOT NULL,
    updated_at    BIGINT   NOT NULL,
    max_attempts  INTEGER  NOT NULL,
    source_path   TEXT     COLLATE "C",
    source_size   BIGINT,
    tags          TEXT,
    metadata      TEXT,
    attempts      INTEGER  NOT NULL DEFAULT 0,
    losses        INTEGER  NOT NULL DEFAULT 0,
    attempt       BIGINT   NOT NULL DEFAULT 0,
    worker_id     TEXT     COLLATE "C",
    lease         TEXT     COLLATE "C",
    heartbeat_at  BIGINT,
    started_at    BIGINT,
    completed_at  BIGINT,
    not_before    BIGINT,
    last_error    TEXT,
    output_key    TEXT     COLLATE "C",
    result        TEXT,
    progress      TEXT,
    failure       BIGINT,   -- the cause of the latest failure, until the job is completed
    progress_at   BIGINT,
    kept_attempt  BIGINT,   -- whose result it is, in a job that is not completed
    replaced      TEXT,     -- the result that the latest completion took the place of, should that be revoked
    releases      INTEGER  NOT NULL DEFAULT 0,  -- for trouble, in a row
    avoid_until   BIGINT,   -- until then, none of the workers in `avoid` (JSON) gets it
    avoid         TEXT,
    upload_key    TEXT     COLLATE "C",
    write_once    SMALLINT NOT NULL DEFAULT 0,
    submitter     TEXT     COLLATE "C",
    result_size   BIGINT,   -- of a result that is kept aside
    lane          SMALLINT NOT NULL DEFAULT 0,
    CHECK (status <> 'running' OR (worker_id IS NOT NULL AND lease IS NOT NULL))
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE UNIQUE INDEX jobs_by_source ON jobs (source_hash, type);
-- What is ready and nothing else, in claim order: urgent first, then the oldest.
CREATE INDEX jobs_ready ON jobs (type, lane, priority, id)
    WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL;
-- The same order of what only some workers may have.
CREATE INDEX jobs_kept ON jobs (type, priority, id) WHERE status = 'pending' AND avoid IS NOT NULL;
-- One range of this index for each (status, type, priority), read from its end: lists merge those that they want.
CREATE INDEX jobs_listed ON jobs (status, type, priority, id);
CREATE INDEX jobs_running ON jobs (worker_id, id) WHERE status = 'running';
CREATE INDEX jobs_waiting ON jobs (id) WHERE not_before IS NOT NULL OR avoid_until IS NOT NULL;
CREATE INDEX jobs_ended ON jobs (status, completed_at) WHERE completed_at IS NOT NULL;
CREATE INDEX jobs_by_failure ON jobs (failure, priority, id) WHERE failure IS NOT NULL;
CREATE INDEX jobs_by_worker ON jobs (worker_id, priority, id) WHERE worker_id IS NOT NULL;

CREATE TABLE job_tags (
    tag     TEXT   COLLATE "C" NOT NULL,
    job_id  BIGINT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, job_id)
);
CREATE INDEX job_tags_by_job ON job_tags (job_id);

CREATE TABLE attempts (
    job_id      BIGINT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt     BIGINT NOT NULL,
    worker_id   TEXT   COLLATE "C" NOT NULL,
    lease       TEXT   COLLATE "C" NOT NULL,
    started_at  BIGINT NOT NULL,
    ended_at    BIGINT,
    outcome     TEXT   COLLATE "C",
    kind        TEXT   COLLATE "C",
    error       TEXT,
    traceback   TEXT,
    log_tail    TEXT,
    output_key  TEXT   COLLATE "C",  -- the key that it writes to, as it was given out
    ordinal     BIGINT,  -- how many attempts the job had when this one was made, itself included
    PRIMARY KEY (job_id, attempt)
) WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX attempts_by_worker ON attempts (worker_id, started_at, job_id, attempt);

-- Results too large to stand in the job itself, by the attempt that brought them.
CREATE TABLE results (
    job_id   BIGINT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt  BIGINT NOT NULL,
    result   TEXT   NOT NULL,
    PRIMARY KEY (job_id, attempt)
);

-- What is known of objects in the store. `checked_at` NULL: it was said, and not looked at yet. `keeping` 1: the
-- accepted bytes are to be put where no URL to upload reaches them; `kept`: the key under which they are served then.
CREATE TABLE files (
    key         TEXT     COLLATE "C" PRIMARY KEY,
    size        BIGINT,
    sha256      TEXT     COLLATE "C",
    job_id      BIGINT,
    attempt     BIGINT,
    created_at  BIGINT   NOT NULL,
    checked_at  BIGINT,
    etag        TEXT     COLLATE "C",
    version     TEXT     COLLATE "C",
    kept        TEXT     COLLATE "C",
    keeping     SMALLINT NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX files_unchecked ON files (key) WHERE checked_at IS NULL;
CREATE INDEX files_keeping ON files (key) WHERE keeping = 1;

-- The list of objects to delete.
CREATE TABLE doomed_objects (
    key     TEXT     COLLATE "C" PRIMARY KEY,
    state   TEXT     COLLATE "C" NOT NULL CHECK (state IN ('later', 'waiting', 'deleting', 'gone')),
    due_at  BIGINT   NOT NULL,
    tries   INTEGER  NOT NULL DEFAULT 0,
    epoch   BIGINT   NOT NULL DEFAULT 0,
    again   SMALLINT NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX doomed_objects_due ON doomed_objects (state, due_at);

CREATE TABLE workers (
    id              TEXT     COLLATE "C" PRIMARY KEY,
    type            TEXT     COLLATE "C" NOT NULL,
    status          TEXT     COLLATE "C" NOT NULL CHECK (status IN ('online', 'offline', 'draining')),
    created_at      BIGINT   NOT NULL,
    updated_at      BIGINT   NOT NULL,
    name            TEXT     COLLATE "C",
    enabled         SMALLINT NOT NULL DEFAULT 1,
    last_heartbeat  BIGINT,
    metadata        TEXT,
    labels          TEXT,
    version         TEXT,
    token_id        BIGINT,  -- no reference: a deleted token leaves its workers, which nobody can act as
    secret_hash     TEXT     COLLATE "C",
    drain           SMALLINT NOT NULL DEFAULT 0,
    registered      SMALLINT NOT NULL DEFAULT 0,
    instance        TEXT     COLLATE "C",
    contested_at    BIGINT,
    contested_by    TEXT,
    bound_type      TEXT     COLLATE "C"
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX workers_online ON workers (type, id) WHERE status = 'online';
CREATE INDEX workers_contested ON workers (contested_at) WHERE contested_at IS NOT NULL;

CREATE TABLE worker_types (
    worker_id  TEXT COLLATE "C" NOT NULL,
    type       TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (worker_id, type)
);
CREATE INDEX worker_types_by_type ON worker_types (type, worker_id);

CREATE TABLE claim_keys (
    worker_id   TEXT   COLLATE "C" NOT NULL,
    claim_key   TEXT   COLLATE "C" NOT NULL,
    jobs        TEXT   NOT NULL,  -- [[job_id, attempt], ...]
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (worker_id, claim_key)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX claim_keys_by_age ON claim_keys (created_at);

CREATE TABLE idempotency (
    subject      TEXT   COLLATE "C" NOT NULL,
    key          TEXT   COLLATE "C" NOT NULL,
    fingerprint  BYTEA  NOT NULL,  -- SHA-256 of method, path and body
    outcome      BYTEA  NOT NULL,  -- what was answered, as the typed value
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (subject, key)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

CREATE TABLE undos (
    token    TEXT   COLLATE "C" NOT NULL,
    job_id   BIGINT NOT NULL,
    was      TEXT   COLLATE "C" NOT NULL,
    became   TEXT   COLLATE "C" NOT NULL,
    at       BIGINT NOT NULL,
    PRIMARY KEY (token, job_id)
);
CREATE INDEX undos_by_age ON undos (at);

CREATE TABLE tokens (
    id            BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    name          TEXT   COLLATE "C" NOT NULL,
    hash          TEXT   COLLATE "C" NOT NULL UNIQUE,
    prefix        TEXT   COLLATE "C" NOT NULL,
    scopes        TEXT   COLLATE "C" NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    last_used_at  BIGINT,
    origin        TEXT   COLLATE "C" NOT NULL DEFAULT 'api'  -- 'start': for the first administrator
) WITH (fillfactor = 50);

CREATE TABLE users (
    id             BIGINT   GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    issuer         TEXT     COLLATE "C" NOT NULL,
    subject        TEXT     COLLATE "C" NOT NULL,
    email          TEXT     COLLATE "C",
    name           TEXT     COLLATE "C",
    groups         TEXT     NOT NULL,
    is_admin       SMALLINT NOT NULL,
    created_at     BIGINT   NOT NULL,
    last_login_at  BIGINT   NOT NULL,
    UNIQUE (issuer, subject)
);

CREATE TABLE sessions (
    hash         TEXT   COLLATE "C" PRIMARY KEY,
    user_id      BIGINT REFERENCES users (id) ON DELETE CASCADE,
    token_id     BIGINT REFERENCES tokens (id) ON DELETE CASCADE,
    created_at   BIGINT NOT NULL,
    seen_at      BIGINT NOT NULL,
    checked_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    sealed       BYTEA,
    address      TEXT,
    agent        TEXT,
    CHECK ((user_id IS NULL) <> (token_id IS NULL))
) WITH (fillfactor = 50);
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_by_token ON sessions (token_id) WHERE token_id IS NOT NULL;
CREATE INDEX sessions_by_seen ON sessions (seen_at);

CREATE TABLE audit (
    id       BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at       BIGINT NOT NULL,
    actor    TEXT   COLLATE "C" NOT NULL,
    name     TEXT   COLLATE "C" NOT NULL,
    address  TEXT   COLLATE "C" NOT NULL,
    action   TEXT   COLLATE "C" NOT NULL,
    subject  TEXT   COLLATE "C" NOT NULL,
    detail   TEXT
);
CREATE INDEX audit_by_subject ON audit (subject, id);
CREATE INDEX audit_by_time ON audit (at);

-- Kept by the writes, so that nothing that is shown counts or scans jobs: few rows, and written all the time.
CREATE TABLE job_counts (
    status    TEXT     COLLATE "C" NOT NULL,
    type      TEXT     COLLATE "C" NOT NULL,
    priority  SMALLINT NOT NULL,
    n         INTEGER  NOT NULL CHECK (n >= 0),
    PRIMARY KEY (status, type, priority)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE worker_counts (
    status  TEXT    COLLATE "C" PRIMARY KEY,
    n       INTEGER NOT NULL CHECK (n >= 0)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE happenings (
    step  INTEGER NOT NULL,
    slot  BIGINT  NOT NULL,
    type  TEXT    COLLATE "C" NOT NULL,
    what  TEXT    COLLATE "C" NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (step, slot, type, what)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE depths (
    step    INTEGER NOT NULL,
    slot    BIGINT  NOT NULL,
    type    TEXT    COLLATE "C" NOT NULL,
    status  TEXT    COLLATE "C" NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (step, slot, type, status)
) WITH (fillfactor = 50);
CREATE TABLE durations (
    week    BIGINT  NOT NULL,
    type    TEXT    COLLATE "C" NOT NULL,
    bucket  INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    PRIMARY KEY (week, type, bucket)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE worker_rates (
    hour       BIGINT  NOT NULL,
    worker_id  TEXT    COLLATE "C" NOT NULL,
    outcome    TEXT    COLLATE "C" NOT NULL,
    n          INTEGER NOT NULL,
    PRIMARY KEY (hour, worker_id, outcome)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
CREATE TABLE failures (
    id           BIGINT  PRIMARY KEY,
    fingerprint  TEXT    COLLATE "C" NOT NULL UNIQUE,
    kind         TEXT    COLLATE "C" NOT NULL,
    place        TEXT    NOT NULL,
    example      TEXT    NOT NULL,
    first_seen   BIGINT  NOT NULL,
    last_seen    BIGINT  NOT NULL,
    n            INTEGER NOT NULL
) WITH (fillfactor = 50);
CREATE TABLE failure_counts (
    failure  BIGINT  NOT NULL,
    status   TEXT    COLLATE "C" NOT NULL,
    n        INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (failure, status)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
-- Which ids were made in each hour: what a range of time is looked up by.
CREATE TABLE job_hours (
    hour      BIGINT PRIMARY KEY,
    first_id  BIGINT NOT NULL,
    last_id   BIGINT NOT NULL
) WITH (fillfactor = 50);

-- What is still to be counted of jobs that came with their past from another database.
CREATE TABLE backfill (
    id        SMALLINT PRIMARY KEY CHECK (id = 1),
    next_job  BIGINT   NOT NULL,
    last_job  BIGINT   NOT NULL,
    counts    SMALLINT NOT NULL,
    until     BIGINT
);

-- Written by health checks: can anything be?
CREATE TABLE pulse (
    id  SMALLINT PRIMARY KEY CHECK (id = 1),
    at  BIGINT   NOT NULL
) WITH (fillfactor = 10);

-- `restored_at`: this is a copy from another time, or history was lost, and the leases are not void yet.
-- `attempt_floor`: attempts are numbered from here on, above all that the lost ones may have had.
CREATE TABLE recovery (
    id             SMALLINT PRIMARY KEY CHECK (id = 1),
    restored_at    BIGINT,
    attempt_floor  BIGINT   NOT NULL DEFAULT 0
);
INSERT INTO recovery (id) VALUES (1);
CREATE TABLE backup_drills (
    id            BIGINT   GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    started_at    BIGINT   NOT NULL,
    ended_at      BIGINT   NOT NULL,
    ok            SMALLINT NOT NULL CHECK (ok IN (0, 1)),
    proven_until  BIGINT,
    detail        TEXT     NOT NULL,
    CHECK (ok = 0 OR proven_until IS NOT NULL)
);

-- As statements that both engines run call them. A search does not tell texts apart that differ in case alone.
CREATE FUNCTION casefold(TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN upper($1 COLLATE "und-x-icu") COLLATE "C";
CREATE FUNCTION instr(TEXT, TEXT) RETURNS INTEGER LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN strpos($1 COLLATE "C", $2 COLLATE "C");
