-- Whose job it is: within a priority jobs of different groups take turns (blobforge/fairness.py). A job of a group stands
-- in lanes of its own, whose order is that of the turns; one without a group has turn 0, and stands where it always did.
ALTER TABLE jobs ADD COLUMN of_group TEXT;
ALTER TABLE jobs ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_in_turn ON jobs (type, lane, priority, turn, id)
    WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL AND turn > 0;

-- The virtual time of each type and priority that had a job with a group, and the first place of the next job without.
CREATE TABLE group_clocks (
    type      TEXT    NOT NULL,
    priority  INTEGER NOT NULL,
    now       INTEGER NOT NULL,
    alone     INTEGER NOT NULL,
    PRIMARY KEY (type, priority)
) STRICT, WITHOUT ROWID;
-- The turn of the last job of each group that entered the queue; one that is long past is not kept.
CREATE TABLE group_turns (
    type      TEXT    NOT NULL,
    priority  INTEGER NOT NULL,
    of_group  TEXT    NOT NULL,
    turn      INTEGER NOT NULL,
    PRIMARY KEY (type, priority, of_group)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_turns_by_turn ON group_turns (type, priority, turn);
-- How much of the turns each group gets, as a JSON object; 1 where it is not there. After how long (ms) a job that waits
-- is treated as urgent.
ALTER TABLE type_settings ADD COLUMN group_weights TEXT;
ALTER TABLE type_settings ADD COLUMN urgent_after INTEGER;
