-- Each time that lost work was settled (actors/effects/recovery.py): a server that meets a fork of the history looks
-- whether there is one that it did not know before. `turn.settled` is the latest: by it, each knows whether there is
-- one that it has not read. An older server settles a fork by itself, and leaves no row.
CREATE TABLE settlements (
    id      TEXT   COLLATE "C" PRIMARY KEY,
    n       BIGINT NOT NULL,  -- the turn in which it was done
    at      BIGINT NOT NULL,
    server  TEXT   COLLATE "C" NOT NULL
);
ALTER TABLE turn ADD COLUMN settled TEXT COLLATE "C" NOT NULL DEFAULT '';
