-- One order of all that is written: a transaction takes the turn, and holds it until it ends.
CREATE TABLE turn (
    one     SMALLINT PRIMARY KEY CHECK (one = 1),
    n       BIGINT   NOT NULL,  -- of the last transaction that changed anything; no gaps
    at      BIGINT   NOT NULL,  -- the time that all servers agree on (ms): it never goes back
    schema  INTEGER  NOT NULL,  -- the version of this database
    oldest  INTEGER  NOT NULL,  -- servers that know no schema from here on may not take turns
    job     BIGINT   NOT NULL   -- the highest number that was given to a job: never given twice
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.02);

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
