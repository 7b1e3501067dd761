-- What a job requires of the worker that runs it, as a sorted JSON array (blobforge/requirements.py). Jobs of a type with
-- the same requirements are in lanes of their own: that of the set's number times two, and the one beside it with
-- options. There are few sets; one that no job has any more is forgotten when there is no room for another.
ALTER TABLE jobs ADD COLUMN requires TEXT;
CREATE TABLE requirement_sets (
    number    INTEGER PRIMARY KEY CHECK (number BETWEEN 1 AND 16383),
    type      TEXT NOT NULL,
    requires  TEXT NOT NULL,
    UNIQUE (type, requires)
) STRICT;
CREATE INDEX jobs_requiring ON jobs (lane) WHERE lane > 1;
