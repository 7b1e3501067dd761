-- As in SQLite's schema (blobforge/store/sqlite/migrations/0047_sums_of_all_types.sql). A server that knows none of it sums
-- nothing: what it counts and samples is summed later, with all other slots behind the last one that has sums.
CREATE TABLE happenings_of_all (
    step  INTEGER NOT NULL,
    slot  BIGINT  NOT NULL,
    what  TEXT    COLLATE "C" NOT NULL,
    n     BIGINT  NOT NULL,
    PRIMARY KEY (step, slot, what)
);
CREATE TABLE depths_of_all (
    step    INTEGER NOT NULL,
    slot    BIGINT  NOT NULL,
    status  TEXT    COLLATE "C" NOT NULL,
    n       BIGINT  NOT NULL,
    PRIMARY KEY (step, slot, status)
);
