-- What each group has ready in each lane, and how many of its jobs run: by that groups take turns
-- (blobforge/fairness.py). Triggers keep it, so that it follows jobs whatever changes them. A group without ready and
-- running jobs has no row.
CREATE TABLE group_lines (
    type      TEXT    NOT NULL,
    lane      INTEGER NOT NULL,
    priority  INTEGER NOT NULL,
    of_group  TEXT    NOT NULL,
    ready     INTEGER NOT NULL DEFAULT 0,
    turn      INTEGER,                     -- of the first of these, and its number
    job       INTEGER,
    running   INTEGER NOT NULL DEFAULT 0,  -- of this type and priority, in whatever lane
    weight    INTEGER NOT NULL DEFAULT 1,
    rounds    INTEGER NOT NULL GENERATED ALWAYS AS (running / weight) VIRTUAL,
    PRIMARY KEY (type, priority, of_group, lane)
) STRICT, WITHOUT ROWID;
CREATE INDEX group_lines_in_turn ON group_lines (type, lane, priority, rounds, turn, job) WHERE ready > 0;
-- How many running jobs of a type and priority have a group: the others that run have none.
CREATE TABLE group_runs (
    type      TEXT    NOT NULL,
    priority  INTEGER NOT NULL,
    running   INTEGER NOT NULL,
    PRIMARY KEY (type, priority)
) STRICT, WITHOUT ROWID;

DROP INDEX jobs_in_turn;
CREATE INDEX jobs_of_group ON jobs (type, lane, priority, of_group, turn, id)
    WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL AND turn > 0;

INSERT INTO group_lines (type, lane, priority, of_group, ready, running)
    SELECT type, lane, priority, of_group,
           sum(status = 'pending' AND not_before IS NULL AND avoid IS NULL), 0
      FROM jobs WHERE turn > 0 AND status IN ('pending', 'running') GROUP BY type, lane, priority, of_group;
UPDATE group_lines SET running = runs.n
  FROM (SELECT type, priority, of_group, count(*) AS n FROM jobs
         WHERE turn > 0 AND status = 'running' GROUP BY type, priority, of_group) AS runs
 WHERE runs.type = group_lines.type AND runs.priority = group_lines.priority AND runs.of_group = group_lines.of_group;
DELETE FROM group_lines WHERE ready = 0 AND running = 0;
UPDATE group_lines SET weight = w.value
  FROM type_settings AS t, json_each(t.group_weights) AS w
 WHERE t.type = group_lines.type AND w.key = group_lines.of_group;
UPDATE group_lines SET turn = first.turn, job = first.id
  FROM (SELECT type, lane, priority, of_group, turn, id,
               row_number() OVER (PARTITION BY type, lane, priority, of_group ORDER BY turn, id) AS n
          FROM jobs WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL AND turn > 0) AS first
 WHERE first.n = 1 AND first.type = group_lines.type AND first.lane = group_lines.lane
   AND first.priority = group_lines.priority AND first.of_group = group_lines.of_group;
INSERT INTO group_runs
    SELECT type, priority, count(*) FROM jobs WHERE turn > 0 AND status = 'running' GROUP BY type, priority;

-- A job is ready from now on.
CREATE TRIGGER group_job_made_ready AFTER INSERT ON jobs
WHEN NEW.turn > 0 AND NEW.status = 'pending' AND NEW.not_before IS NULL AND NEW.avoid IS NULL
BEGIN
    INSERT INTO group_lines (type, lane, priority, of_group, running, weight)
    SELECT NEW.type, NEW.lane, NEW.priority, NEW.of_group,
           coalesce((SELECT max(running) FROM group_lines
                      WHERE type = NEW.type AND priority = NEW.priority AND of_group = NEW.of_group), 0),
           coalesce((SELECT w.value FROM type_settings AS t, json_each(t.group_weights) AS w
                      WHERE t.type = NEW.type AND w.key = NEW.of_group), 1)
     WHERE NOT EXISTS (SELECT 1 FROM group_lines WHERE type = NEW.type AND priority = NEW.priority
                          AND of_group = NEW.of_group AND lane = NEW.lane);
    UPDATE group_lines
       SET ready = ready + 1,
           turn = CASE WHEN (turn, job) < (NEW.turn, NEW.id) THEN turn ELSE NEW.turn END,
           job = CASE WHEN (turn, job) < (NEW.turn, NEW.id) THEN job ELSE NEW.id END
     WHERE type = NEW.type AND priority = NEW.priority AND of_group = NEW.of_group AND lane = NEW.lane;
END;
CREATE TRIGGER group_job_becomes_ready AFTER UPDATE OF status, not_before, avoid, turn, type, lane, priority ON jobs
WHEN NEW.turn > 0 AND NEW.status = 'pending' AND NEW.not_before IS NULL AND NEW.avoid IS NULL
 AND NOT (OLD.status = 'pending' AND OLD.not_before IS NULL AND OLD.avoid IS NULL AND OLD.turn = NEW.turn
          AND OLD.type = NEW.type AND OLD.lane = NEW.lane AND OLD.priority = NEW.priority)
BEGIN
    INSERT INTO group_lines (type, lane, priority, of_group, running, weight)
    SELECT NEW.type, NEW.lane, NEW.priority, NEW.of_group,
           coalesce((SELECT max(running) FROM group_lines
                      WHERE type = NEW.type AND priority = NEW.priority AND of_group = NEW.of_group), 0),
           coalesce((SELECT w.value FROM type_settings AS t, json_each(t.group_weights) AS w
                      WHERE t.type = NEW.type AND w.key = NEW.of_group), 1)
     WHERE NOT EXISTS (SELECT 1 FROM group_lines WHERE type = NEW.type AND priority = NEW.priority
                          AND of_group = NEW.of_group AND lane = NEW.lane);
    UPDATE group_lines
       SET ready = ready + 1,
           turn = CASE WHEN (turn, job) < (NEW.turn, NEW.id) THEN turn ELSE NEW.turn END,
           job = CASE WHEN (turn, job) < (NEW.turn, NEW.id) THEN job ELSE NEW.id END
     WHERE type = NEW.type AND priority = NEW.priority AND of_group = NEW.of_group AND lane = NEW.lane;
END;

-- It is not any more, or not there. The first one of its group is then the next behind it, if it was that itself.
CREATE TRIGGER group_job_leaves AFTER UPDATE OF status, not_before, avoid, turn, type, lane, priority ON jobs
WHEN OLD.turn > 0 AND OLD.status = 'pending' AND OLD.not_before IS NULL AND OLD.avoid IS NULL
 AND NOT (NEW.status = 'pending' AND NEW.not_before IS NULL AND NEW.avoid IS NULL AND OLD.turn = NEW.turn
          AND OLD.type = NEW.type AND OLD.lane = NEW.lane AND OLD.priority = NEW.priority)
BEGIN
    UPDATE group_lines
       SET ready = ready - 1,
           (turn, job) = (SELECT j.turn, j.id FROM jobs AS j INDEXED BY jobs_of_group
                           WHERE j.status = 'pending' AND j.not_before IS NULL AND j.avoid IS NULL AND j.turn > 0
                             AND j.type = OLD.type AND j.lane = OLD.lane AND j.priority = OLD.priority
                             AND j.of_group = OLD.of_group AND j.turn >= group_lines.turn
                           ORDER BY j.turn, j.id LIMIT 1)
     WHERE type = OLD.type AND priority = OLD.priority AND of_group = OLD.of_group AND lane = OLD.lane;
    DELETE FROM group_lines
     WHERE type = OLD.type AND priority = OLD.priority AND of_group = OLD.of_group AND ready = 0 AND running = 0
       AND NEW.status <> 'running';
END;
CREATE TRIGGER group_job_ready_gone AFTER DELETE ON jobs
WHEN OLD.turn > 0 AND OLD.status = 'pending' AND OLD.not_before IS NULL AND OLD.avoid IS NULL
BEGIN
    UPDATE group_lines
       SET ready = ready - 1,
           (turn, job) = (SELECT j.turn, j.id FROM jobs AS j INDEXED BY jobs_of_group
                           WHERE j.status = 'pending' AND j.not_before IS NULL AND j.avoid IS NULL AND j.turn > 0
                             AND j.type = OLD.type AND j.lane = OLD.lane AND j.priority = OLD.priority
                             AND j.of_group = OLD.of_group AND j.turn >= group_lines.turn
                           ORDER BY j.turn, j.id LIMIT 1)
     WHERE type = OLD.type AND priority = OLD.priority AND of_group = OLD.of_group AND lane = OLD.lane;
    DELETE FROM group_lines
     WHERE type = OLD.type AND priority = OLD.priority AND of_group = OLD.of_group AND ready = 0 AND running = 0;
END;

-- It runs from now on.
CREATE TRIGGER group_job_made_running AFTER INSERT ON jobs WHEN NEW.turn > 0 AND NEW.status = 'running'
BEGIN
    UPDATE group_lines SET running = running + 1
     WHERE type = NEW.type AND priority = NEW.priority AND of_group = NEW.of_group;
    INSERT INTO group_lines (type, lane, priority, of_group, running, weight)
    SELECT NEW.type, NEW.lane, NEW.priority, NEW.of_group, 1,
           coalesce((SELECT w.value FROM type_settings AS t, json_each(t.group_weights) AS w
                      WHERE t.type = NEW.type AND w.key = NEW.of_group), 1)
     WHERE NOT EXISTS (SELECT 1 FROM group_lines
                        WHERE type = NEW.type AND priority = NEW.priority AND of_group = NEW.of_group);
    INSERT INTO group_runs (type, priority, running) VALUES (NEW.type, NEW.priority, 1)
        ON CONFLICT (type, priority) DO UPDATE SET running = running + 1;
END;
CREATE TRIGGER group_job_starts AFTER UPDATE OF status, turn, type, priority ON jobs
WHEN NEW.turn > 0 AND NEW.status = 'running'
 AND NOT (OLD.status = 'running' AND OLD.turn > 0 AND OLD.type = NEW.type AND OLD.priority = NEW.priority)
BEGIN
    UPDATE group_lines SET running = running + 1
     WHERE type = NEW.type AND priority = NEW.priority AND of_group = NEW.of_group;
    INSERT INTO group_lines (type, lane, priority, of_group, running, weight)
    SELECT NEW.type, NEW.lane, NEW.priority, NEW.of_group, 1,
           coalesce((SELECT w.value FROM type_settings AS t, json_each(t.group_weights) AS w
                      WHERE t.type = NEW.type AND w.key = NEW.of_group), 1)
     WHERE NOT EXISTS (SELECT 1 FROM group_lines
                        WHERE type = NEW.type AND priority = NEW.priority AND of_group = NEW.of_group);
    INSERT INTO group_runs (type, priority, running) VALUES (NEW.type, NEW.priority, 1)
        ON CONFLICT (type, priority) DO UPDATE SET running = running + 1;
END;

-- It runs no more, or not there.
CREATE TRIGGER group_job_stops AFTER UPDATE OF status, turn, type, priority ON jobs
WHEN OLD.turn > 0 AND OLD.status = 'running'
 AND NOT (NEW.status = 'running' AND NEW.turn > 0 AND OLD.type = NEW.type AND OLD.priority = NEW.priority)
BEGIN
    UPDATE group_lines SET running = running - 1
     WHERE type = OLD.type AND priority = OLD.priority AND of_group = OLD.of_group;
    DELETE FROM group_lines
     WHERE type = OLD.type AND priority = OLD.priority AND of_group = OLD.of_group AND ready = 0 AND running = 0;
    UPDATE group_runs SET running = running - 1 WHERE type = OLD.type AND priority = OLD.priority;
END;
CREATE TRIGGER group_job_running_gone AFTER DELETE ON jobs WHEN OLD.turn > 0 AND OLD.status = 'running'
BEGIN
    UPDATE group_lines SET running = running - 1
     WHERE type = OLD.type AND priority = OLD.priority AND of_group = OLD.of_group;
    DELETE FROM group_lines
     WHERE type = OLD.type AND priority = OLD.priority AND of_group = OLD.of_group AND ready = 0 AND running = 0;
    UPDATE group_runs SET running = running - 1 WHERE type = OLD.type AND priority = OLD.priority;
END;

-- Other weights count at once.
CREATE TRIGGER group_weights_set AFTER INSERT ON type_settings WHEN NEW.group_weights IS NOT NULL
BEGIN
    UPDATE group_lines
       SET weight = coalesce((SELECT w.value FROM json_each(NEW.group_weights) AS w WHERE w.key = of_group), 1)
     WHERE type = NEW.type;
END;
CREATE TRIGGER group_weights_changed AFTER UPDATE OF group_weights ON type_settings
WHEN NEW.group_weights IS NOT OLD.group_weights
BEGIN
    UPDATE group_lines
       SET weight = coalesce((SELECT w.value FROM json_each(NEW.group_weights) AS w WHERE w.key = of_group), 1)
     WHERE type = NEW.type;
END;
CREATE TRIGGER group_weights_gone AFTER DELETE ON type_settings WHEN OLD.group_weights IS NOT NULL
BEGIN
    UPDATE group_lines SET weight = 1 WHERE type = OLD.type;
END;
