-- Jobs that wait for a time: pending, with `not_before`. And jobs that are kept from the workers that have failed them.

ALTER TABLE jobs ADD COLUMN releases INTEGER NOT NULL DEFAULT 0;  -- for trouble, in a row
ALTER TABLE jobs ADD COLUMN avoid_until INTEGER;                  -- until then, none of these workers gets the job:
ALTER TABLE jobs ADD COLUMN avoid TEXT;                           -- a JSON array of their ids

-- The claim order holds what anybody may have now, so that a claim takes its first rows and looks at no other.
DROP INDEX jobs_ready;
CREATE INDEX jobs_ready ON jobs (type, priority, id)
    WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL;
-- The same order of what only some may have: few, and each for minutes.
CREATE INDEX jobs_kept ON jobs (type, priority, id) WHERE status = 'pending' AND avoid IS NOT NULL;
-- What a start must wake again.
CREATE INDEX jobs_waiting ON jobs (id) WHERE not_before IS NOT NULL OR avoid_until IS NOT NULL;

-- Whether there is another worker for a type.
CREATE INDEX workers_online ON workers (type, id) WHERE status = 'online';
CREATE INDEX worker_types_by_type ON worker_types (type, worker_id);
