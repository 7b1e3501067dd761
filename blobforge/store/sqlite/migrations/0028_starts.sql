-- Jobs that are not to be started before a time that their submission said, in the order in which that comes. (Those
-- that wait after a release for trouble have `releases`.)
CREATE INDEX jobs_to_start ON jobs (not_before, id)
    WHERE status = 'pending' AND releases = 0 AND not_before IS NOT NULL;
-- How many of them there are: what waits for a worker is what is pending but for these.
CREATE TABLE deferred_counts (
    type      TEXT    NOT NULL,
    priority  INTEGER NOT NULL,
    n         INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (type, priority)
) STRICT, WITHOUT ROWID;
-- Pending jobs that are neither ready nor to be started later: after a failure or a release for trouble. With the ready
-- ones they are those among which the oldest is looked for. (It is spelt as no other query is, so that no claim is led
-- along it.)
CREATE INDEX jobs_held_up ON jobs (type, priority, id)
    WHERE status = 'pending'
      AND CASE WHEN avoid IS NOT NULL THEN 1 WHEN releases > 0 AND not_before IS NOT NULL THEN 1 END = 1;
