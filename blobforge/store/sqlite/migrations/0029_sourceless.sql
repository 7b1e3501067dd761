-- Jobs that ended while their source was awaited: expired, or cancelled. `source_size` is what was announced of it, and
-- counts for nothing. Those from before stay as they are counted.
ALTER TABLE jobs ADD COLUMN sourceless INTEGER NOT NULL DEFAULT 0;
