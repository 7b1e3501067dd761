-- Limits of types: how many of its jobs may run at once; and how many may be started in how long (`rate_count`, and
-- `rate_ms`). Of the bucket of that rate, `owed` is how much has been taken out at `owed_at` (ms) and not come back since
-- (blobforge/jobtype.py).
ALTER TABLE type_settings ADD COLUMN max_running INTEGER;
ALTER TABLE type_settings ADD COLUMN rate_count INTEGER;
ALTER TABLE type_settings ADD COLUMN rate_ms INTEGER;
ALTER TABLE type_settings ADD COLUMN owed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE type_settings ADD COLUMN owed_at INTEGER NOT NULL DEFAULT 0;
