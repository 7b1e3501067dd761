-- As in SQLite's schema (blobforge/store/sqlite/migrations/0026_searches.sql). A server that knows none of it searches by
-- itself: twice is harmless.
CREATE TABLE searches (
    name        TEXT   COLLATE "C" PRIMARY KEY,
    searcher    TEXT   COLLATE "C" NOT NULL,
    state       TEXT   COLLATE "C" NOT NULL,
    doom        BIGINT NOT NULL,
    started_at  BIGINT NOT NULL,
    heard_at    BIGINT NOT NULL,
    folder      TEXT   COLLATE "C" NOT NULL,
    cursor      TEXT   COLLATE "C" NOT NULL,
    ended_at    BIGINT,
    objects     BIGINT NOT NULL,
    orphans     BIGINT NOT NULL,
    bytes       BIGINT NOT NULL,
    unfinished  BIGINT NOT NULL,
    named       BIGINT NOT NULL,
    error       TEXT   COLLATE "C"
);

CREATE TABLE search_names (
    search  TEXT   COLLATE "C" NOT NULL,
    n       BIGINT NOT NULL,
    keys    TEXT   COLLATE "C" NOT NULL,
    PRIMARY KEY (search, n)
);
