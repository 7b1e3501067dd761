-- Searches through the object store, the latest of each name (blobforge/search.py): of several servers one carries it
-- out, and says so here. `folder` and `cursor` are where it goes on.
CREATE TABLE searches (
    name        TEXT    NOT NULL PRIMARY KEY,
    searcher    TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    doom        INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    heard_at    INTEGER NOT NULL,
    folder      TEXT    NOT NULL,
    cursor      TEXT    NOT NULL,
    ended_at    INTEGER,
    objects     INTEGER NOT NULL,
    orphans     INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    unfinished  INTEGER NOT NULL,
    named       INTEGER NOT NULL,
    error       TEXT
) STRICT;

-- The first objects that a search has found, some a row: `keys` is a list in JSON, `n` how many are named before these.
CREATE TABLE search_names (
    search  TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    keys    TEXT    NOT NULL,
    PRIMARY KEY (search, n)
) STRICT, WITHOUT ROWID;
