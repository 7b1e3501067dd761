-- The quarantine that a worker is in, as JSON (blobforge/quarantine.py), and when it was last let out of one: what it
-- has failed before does not count any more. `failure` is the number of the cause of an attempt that has failed since.
ALTER TABLE workers ADD COLUMN quarantine TEXT;
ALTER TABLE workers ADD COLUMN readmitted_at INTEGER;
ALTER TABLE attempts ADD COLUMN failure INTEGER;
CREATE INDEX workers_quarantined ON workers (id) WHERE quarantine IS NOT NULL;
