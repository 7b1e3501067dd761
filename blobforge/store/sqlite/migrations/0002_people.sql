-- People: who signs in, their sessions, and what was done by whom.

CREATE TABLE users (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    issuer         TEXT    NOT NULL,
    subject        TEXT    NOT NULL,  -- with the issuer, the only thing that never changes about a person
    email          TEXT,              -- may be absent, may be shared
    name           TEXT,
    groups         TEXT    NOT NULL,  -- JSON array, as the provider last said
    is_admin       INTEGER NOT NULL,
    created_at     INTEGER NOT NULL,
    last_login_at  INTEGER NOT NULL,
    UNIQUE (issuer, subject)
) STRICT;

CREATE TABLE sessions (
    hash         TEXT    PRIMARY KEY,  -- SHA-256 of what the cookie holds
    user_id      INTEGER REFERENCES users (id) ON DELETE CASCADE,
    token_id     INTEGER REFERENCES tokens (id) ON DELETE CASCADE,  -- signed in with an API token: ends with it
    created_at   INTEGER NOT NULL,
    seen_at      INTEGER NOT NULL,
    checked_at   INTEGER NOT NULL,  -- when the provider last confirmed the person and the groups
    expires_at   INTEGER NOT NULL,  -- whatever happens
    sealed       BLOB,              -- the provider's tokens, encrypted
    address      TEXT,
    agent        TEXT,
    CHECK ((user_id IS NULL) <> (token_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX sessions_by_token ON sessions (token_id) WHERE token_id IS NOT NULL;
CREATE INDEX sessions_by_seen ON sessions (seen_at);

CREATE TABLE audit (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    actor    TEXT    NOT NULL,  -- token:7, user:3; who signs in, by issuer and subject
    name     TEXT    NOT NULL,  -- how the actor is called
    address  TEXT    NOT NULL,
    action   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    detail   TEXT
) STRICT;
