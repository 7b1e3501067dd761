-- Which process of a worker is the current one; and when another one last asked to be it, while this one was alive.
ALTER TABLE workers ADD COLUMN instance TEXT;
ALTER TABLE workers ADD COLUMN contested_at INTEGER;
ALTER TABLE workers ADD COLUMN contested_by TEXT;  -- the host that it named
CREATE INDEX workers_contested ON workers (contested_at) WHERE contested_at IS NOT NULL;
