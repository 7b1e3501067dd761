-- What an older database has not kept is filled in by the server, job by job (actors/effects/backfill.py); while there is
-- a row here, pages say that it is not done. `until`: what ended later was counted as it ended. `counts`: nothing was
-- ever counted by how long attempts took and who made them; else only causes of failures are missing.
CREATE TABLE backfill (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    next_job  INTEGER NOT NULL,
    last_job  INTEGER NOT NULL,
    counts    INTEGER NOT NULL,
    until     INTEGER
) STRICT;
INSERT INTO backfill (id, next_job, last_job, counts)
    SELECT 1, min(id), max(id), NOT EXISTS (SELECT 1 FROM durations) AND NOT EXISTS (SELECT 1 FROM worker_rates)
      FROM jobs HAVING max(id) IS NOT NULL;

-- What each worker has had, by time.
CREATE INDEX attempts_by_worker ON attempts (worker_id, started_at, job_id, attempt);
