-- Of a type: how many failures in a row pause it (0: none do), whether a document that two sound workers have failed the
-- same way is dead at once, and whether machines are quarantined for what they fail of it. NULL: not set.
ALTER TABLE type_settings ADD COLUMN breaker INTEGER;
ALTER TABLE type_settings ADD COLUMN own_fault INTEGER;
ALTER TABLE type_settings ADD COLUMN quarantine INTEGER;
-- The failures in a row of a type, as JSON (blobforge/breaker.py); `hour`, since the epoch, is that of the first one.
-- Both are NULL while there are none.
CREATE TABLE breakers (
    type   TEXT    PRIMARY KEY,
    hour   INTEGER,
    state  TEXT
) STRICT, WITHOUT ROWID;
