-- In which jobs a text is found, as in SQLite's schema (blobforge/store/sqlite/migrations/0040_texts.sql): trigrams of
-- each job, as numbers. An older server changes tags and adds paths without a word: once none writes any more, all is
-- made anew.
CREATE TABLE job_texts (
    job_id    BIGINT     PRIMARY KEY,
    trigrams  SMALLINT[] NOT NULL
);
CREATE INDEX job_texts_by_trigrams ON job_texts USING gin (trigrams);

-- Jobs that have all of these trigrams, so many at most. Nothing but an index of this kind can find them, which the
-- sessions of servers are kept from using.
CREATE FUNCTION jobs_with_trigrams(SMALLINT[], BIGINT) RETURNS SETOF BIGINT LANGUAGE plpgsql STABLE
    SET enable_bitmapscan = on
    AS $$ BEGIN RETURN QUERY SELECT job_id FROM job_texts WHERE trigrams @> $1 LIMIT $2; END $$;

CREATE TABLE texts_indexed (
    id    SMALLINT PRIMARY KEY CHECK (id = 1),
    upto  BIGINT   NOT NULL
);

CREATE TABLE texts_changed (
    job_id  BIGINT   PRIMARY KEY,
    large   SMALLINT NOT NULL DEFAULT 0
);
CREATE INDEX texts_to_index ON texts_changed (job_id) WHERE large = 0;
