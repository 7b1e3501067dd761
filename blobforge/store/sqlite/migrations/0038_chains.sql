-- Chains (blobforge/chain.py): what follows a job, and what it came of, as JSON.
ALTER TABLE jobs ADD COLUMN chain TEXT;

-- Which job came of an output of an accepted attempt, by which step. `lent`: that output is its source, and is kept as
-- long as it needs it. No reference to the parent, which may be deleted before its children.
CREATE TABLE kin (
    parent   INTEGER NOT NULL,
    attempt  INTEGER NOT NULL,
    step     INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    job_id   INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    lent     INTEGER NOT NULL,
    PRIMARY KEY (parent, attempt, step, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX kin_by_job ON kin (job_id);
CREATE INDEX kin_lent ON kin (parent, attempt) WHERE lent = 1;

-- How many jobs have come of one that was submitted, with those that were deleted since.
CREATE TABLE families (
    root  INTEGER PRIMARY KEY,
    jobs  INTEGER NOT NULL CHECK (jobs >= 0)
) STRICT;
