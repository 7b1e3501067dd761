-- As in SQLite's schema (blobforge/store/sqlite/migrations/0045_splits.sql). A server that knows none of it splits
-- nothing of what it commits, but for how long attempts ran by week, in `durations`, which no later one reads; it leaves
-- a job's `queued_at` as it was; what it counts is missing in the widest slots.
CREATE TABLE splits (
    step  INTEGER NOT NULL,
    slot  BIGINT  NOT NULL,
    type  TEXT    COLLATE "C" NOT NULL,
    what  TEXT    COLLATE "C" NOT NULL,
    part  BIGINT  NOT NULL,
    n     INTEGER NOT NULL,
    PRIMARY KEY (step, slot, type, what, part)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);
INSERT INTO splits SELECT 604800, week, type, 'ran', bucket, n FROM durations;
ALTER TABLE jobs ADD COLUMN queued_at BIGINT;
INSERT INTO happenings
    SELECT 21600, slot / 6, type, what, sum(n) FROM happenings WHERE step = 3600 GROUP BY slot / 6, type, what;
INSERT INTO depths SELECT 21600, slot / 6, type, status, n FROM depths WHERE step = 3600 AND slot % 6 = 5;
CREATE INDEX audit_of_marks ON audit (at, id)
    WHERE action IN ('type.pause', 'type.resume', 'type.set', 'server.started', 'server.stopped');
