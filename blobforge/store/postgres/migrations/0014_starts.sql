-- As in SQLite's schema (blobforge/store/sqlite/migrations/0028_starts.sql). A server of the release before keeps such a
-- job from workers, too, but after a start of its own no longer than a back-off: times are for when all have this one. It
-- does not move the counter, which is counted anew when it is gone.
CREATE INDEX jobs_to_start ON jobs (not_before, id)
    WHERE status = 'pending' AND releases = 0 AND not_before IS NOT NULL;
CREATE TABLE deferred_counts (
    type      TEXT     COLLATE "C" NOT NULL,
    priority  SMALLINT NOT NULL,
    n         INTEGER  NOT NULL CHECK (n >= 0),
    PRIMARY KEY (type, priority)
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX jobs_held_up ON jobs (type, priority, id)
    WHERE status = 'pending'
      AND CASE WHEN avoid IS NOT NULL THEN 1 WHEN releases > 0 AND not_before IS NOT NULL THEN 1 END = 1;
