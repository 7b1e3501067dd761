-- As in SQLite's schema (blobforge/store/sqlite/migrations/0031_groups.sql). A server that knows none of it reads the lanes
-- of jobs with groups as what they require says, and gives them out by their age.
ALTER TABLE type_settings ADD COLUMN group_weights TEXT COLLATE "C", ADD COLUMN urgent_after BIGINT;
ALTER TABLE jobs ADD COLUMN of_group TEXT COLLATE "C", ADD COLUMN turn BIGINT NOT NULL DEFAULT 0;
CREATE TABLE group_clocks (
    type      TEXT   COLLATE "C" NOT NULL,
    priority  BIGINT NOT NULL,
    now       BIGINT NOT NULL,
    alone     BIGINT NOT NULL,
    PRIMARY KEY (type, priority)
);
CREATE TABLE group_turns (
    type      TEXT   COLLATE "C" NOT NULL,
    priority  BIGINT NOT NULL,
    of_group  TEXT   COLLATE "C" NOT NULL,
    turn      BIGINT NOT NULL,
    PRIMARY KEY (type, priority, of_group)
);
CREATE INDEX group_turns_by_turn ON group_turns (type, priority, turn);
CREATE INDEX jobs_in_turn ON jobs (type, lane, priority, turn, id)
    WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL AND turn > 0;
