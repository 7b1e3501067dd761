-- Documents that are converted once more by a converter on trial, to compare the results. Their jobs have types of their
-- own (blobforge/canary.py), of which `made_by` says the converter of the workers that are given them; no worker is once
-- it is closed. `types` is JSON; `slower`: so many times as long counts as slower.
CREATE TABLE canaries (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    types         TEXT    NOT NULL,
    made_by       TEXT    NOT NULL,
    against       TEXT,
    asked         INTEGER NOT NULL,
    taken         INTEGER NOT NULL,
    slower        REAL    NOT NULL,
    priority      INTEGER NOT NULL,
    subject       TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    closed_at     INTEGER,
    cancelled_at  INTEGER
) STRICT;
CREATE INDEX canaries_open ON canaries (id) WHERE closed_at IS NULL;

-- Each of its jobs, and the result with which that job's is compared: of this job, by this attempt.
CREATE TABLE canary_jobs (
    canary_id    INTEGER NOT NULL REFERENCES canaries (id) ON DELETE CASCADE,
    job_id       INTEGER NOT NULL,
    original_id  INTEGER NOT NULL,
    against      INTEGER NOT NULL,
    PRIMARY KEY (canary_id, job_id)
) STRICT, WITHOUT ROWID;

ALTER TABLE type_settings ADD COLUMN made_by TEXT;
