-- What happened to jobs, split (blobforge/store/figures.py): attempts by how long their jobs had stood in the queue and
-- by how long they ran, in logarithmic buckets (blobforge/forecast.py), failures by their cause. At three widths
-- (`step`, seconds: 300, 3600, 21600), of each type and of all (''). `slot` is seconds / step. By how long completed
-- ones ran, by the week and type, too (604800): that was the table `durations`.
CREATE TABLE splits (
    step  INTEGER NOT NULL,
    slot  INTEGER NOT NULL,
    type  TEXT    NOT NULL,
    what  TEXT    NOT NULL,  -- queued, ran or cause
    part  INTEGER NOT NULL,  -- the bucket, or the number of the cause; 0: of those that stand under none
    n     INTEGER NOT NULL,
    PRIMARY KEY (step, slot, type, what, part)
) STRICT, WITHOUT ROWID;

INSERT INTO splits SELECT 604800, week, type, 'ran', bucket, n FROM durations;
DROP TABLE durations;

-- When the job last came into the queue (ms). NULL: with its submission, or before this was kept.
ALTER TABLE jobs ADD COLUMN queued_at INTEGER;

-- A fourth width of happenings and depths, of 6 hours, for a chart of 30 days: what there is of the last week.
INSERT INTO happenings
    SELECT 21600, slot / 6, type, what, sum(n) FROM happenings WHERE step = 3600 GROUP BY slot / 6, type, what;
INSERT INTO depths SELECT 21600, slot / 6, type, status, n FROM depths WHERE step = 3600 AND slot % 6 = 5;

-- When types were paused and resumed, and servers started and stopped: what a chart is marked with.
CREATE INDEX audit_of_marks ON audit (at, id)
    WHERE action IN ('type.pause', 'type.resume', 'type.set', 'server.started', 'server.stopped');
