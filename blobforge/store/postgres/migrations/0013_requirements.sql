-- As in SQLite's schema (blobforge/store/sqlite/migrations/0027_requirements.sql). A server that knows none of it looks
-- into the lanes of jobs without requirements only, so it gives out none of the others.
CREATE TABLE requirement_sets (
    number    SMALLINT PRIMARY KEY CHECK (number BETWEEN 1 AND 16383),
    type      TEXT COLLATE "C" NOT NULL,
    requires  TEXT COLLATE "C" NOT NULL,
    UNIQUE (type, requires)
);
ALTER TABLE jobs ADD COLUMN requires TEXT COLLATE "C";
CREATE INDEX jobs_requiring ON jobs (lane) WHERE lane > 1;
