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
