-- What a restore leaves behind. `restored_at`: this file is a restored copy whose leases are not void yet.
-- `attempt_floor`: attempts are numbered from here on, above all that the lost ones may have had.
CREATE TABLE recovery (
    id             INTEGER PRIMARY KEY CHECK (id = 1),
    restored_at    INTEGER,
    attempt_floor  INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO recovery (id) VALUES (1);

-- Each drill: the backup was restored and compared. `proven_until`: everything up to then was found in it.
CREATE TABLE backup_drills (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at    INTEGER NOT NULL,
    ended_at      INTEGER NOT NULL,
    ok            INTEGER NOT NULL CHECK (ok IN (0, 1)),
    proven_until  INTEGER,
    detail        TEXT    NOT NULL,
    CHECK (ok = 0 OR proven_until IS NOT NULL)
) STRICT;
