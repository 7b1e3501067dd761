-- The outputs of attempts that have several, by name. `chosen`: the attempt has brought it, and it is part of the result
-- once that attempt is the accepted one. No reference to jobs: of a job that is deleted they go piece by piece, with
-- their objects.
CREATE TABLE outputs (
    job_id      INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    name        TEXT    NOT NULL,
    size        INTEGER,
    sha256      TEXT,
    media_type  TEXT,
    chosen      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, attempt, name)
) STRICT, WITHOUT ROWID;
