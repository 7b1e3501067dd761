-- When a job is given up (ms), until a worker is given it; and those that may come to that, in that order.
ALTER TABLE jobs ADD COLUMN expires_at INTEGER;
CREATE INDEX jobs_to_expire ON jobs (expires_at, id)
    WHERE expires_at IS NOT NULL AND status IN ('pending', 'uploading');
