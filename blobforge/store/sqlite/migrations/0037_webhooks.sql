-- Endpoints that are told of what happens (blobforge/webhook.py). `events`, `types` and `tags` are lists in JSON.
-- `sealed` and `former` are secrets, encrypted under that of the server. A deleted one stays until its deliveries are gone.
CREATE TABLE webhooks (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    url            TEXT    NOT NULL,
    events         TEXT    NOT NULL,
    types          TEXT,
    tags           TEXT,
    of_group       TEXT,
    batch          INTEGER,
    results        INTEGER NOT NULL DEFAULT 0,
    sealed         BLOB    NOT NULL,
    former         BLOB,
    former_until   INTEGER,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    failing_since  INTEGER,
    disabled_at    INTEGER,
    disabled_why   TEXT,
    deleted_at     INTEGER
) STRICT;

-- The outbox, and what became of it: written with what it tells of. `courier` has taken it up to `due_at`.
CREATE TABLE deliveries (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook   INTEGER NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event     TEXT    NOT NULL,
    at        INTEGER NOT NULL,
    data      TEXT    NOT NULL,
    state     TEXT    NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'delivered', 'failed')),
    due_at    INTEGER NOT NULL,
    tries     INTEGER NOT NULL DEFAULT 0,
    courier   TEXT,
    tried_at  INTEGER,
    status    INTEGER,
    error     TEXT,
    answer    TEXT,
    ended_at  INTEGER,
    CHECK ((state = 'waiting') = (ended_at IS NULL))
) STRICT;
CREATE INDEX deliveries_due ON deliveries (webhook, due_at, id) WHERE state = 'waiting';
CREATE INDEX deliveries_of_webhook ON deliveries (webhook, id);
CREATE INDEX deliveries_by_time ON deliveries (at, id);
