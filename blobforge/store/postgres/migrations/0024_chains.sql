-- As in SQLite's schema (blobforge/store/sqlite/migrations/0038_chains.sql). A server that knows nothing of it accepts
-- completions that start nothing.
ALTER TABLE jobs ADD COLUMN chain TEXT COLLATE "C";
CREATE TABLE kin (
    parent   BIGINT   NOT NULL,
    attempt  BIGINT   NOT NULL,
    step     INTEGER  NOT NULL,
    name     TEXT     COLLATE "C" NOT NULL,
    job_id   BIGINT   NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    lent     SMALLINT NOT NULL,
    PRIMARY KEY (parent, attempt, step, name)
);
CREATE INDEX kin_by_job ON kin (job_id);
CREATE INDEX kin_lent ON kin (parent, attempt) WHERE lent = 1;
CREATE TABLE families (
    root  BIGINT PRIMARY KEY,
    jobs  BIGINT NOT NULL CHECK (jobs >= 0)
) WITH (fillfactor = 50);
