-- Lanes of the queue, in each of which a claim takes the first ones: one today. What labels and groups keep apart later
-- are further lanes, and no further index.
ALTER TABLE jobs ADD COLUMN lane INTEGER NOT NULL DEFAULT 0;

-- What is ready and nothing else, in claim order.
DROP INDEX jobs_ready;
CREATE INDEX jobs_ready ON jobs (type, lane, priority, id)
    WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL;
