-- As in SQLite's schema (blobforge/store/sqlite/migrations/0046_group_lines.sql). The triggers follow what servers do that
-- know none of it; these give the jobs of groups out by their turns alone, from jobs_in_turn, which stays for them.
CREATE TABLE group_lines (
    type      TEXT   COLLATE "C" NOT NULL,
    lane      BIGINT NOT NULL,
    priority  BIGINT NOT NULL,
    of_group  TEXT   COLLATE "C" NOT NULL,
    ready     BIGINT NOT NULL DEFAULT 0,
    turn      BIGINT,
    job       BIGINT,
    running   BIGINT NOT NULL DEFAULT 0,
    weight    BIGINT NOT NULL DEFAULT 1,
    rounds    BIGINT NOT NULL GENERATED ALWAYS AS (running / weight) STORED,
    PRIMARY KEY (type, priority, of_group, lane)
) WITH (autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX group_lines_in_turn ON group_lines (type, lane, priority, rounds, turn, job) WHERE ready > 0;
CREATE TABLE group_runs (
    type      TEXT   COLLATE "C" NOT NULL,
    priority  BIGINT NOT NULL,
    running   BIGINT NOT NULL,
    PRIMARY KEY (type, priority)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

CREATE FUNCTION group_weight(weights TEXT, named TEXT) RETURNS BIGINT LANGUAGE sql IMMUTABLE
    AS $$ SELECT coalesce((weights::json ->> named)::bigint, 1) $$;

-- What a statement has changed, summed up, so that one row is written for a group and lane, however many of its jobs
-- are changed: how many jobs more are ready, of those that have become so the lowest turn, and how many more run, of the
-- group in whatever lane; and in which lanes any were changed.
CREATE TYPE group_move AS (
    type TEXT, lane BIGINT, priority BIGINT, of_group TEXT, ready BIGINT, turn BIGINT, running BIGINT, lanes BIGINT[]);
CREATE FUNCTION group_lines_follow() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved group_move[];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        moved := ARRAY(SELECT ROW(s.type, s.lane, s.priority, s.of_group, s.ready, s.turn,
                                  sum(s.running) OVER whole, array_agg(s.lane) OVER whole)::group_move
          FROM (SELECT e.type, e.lane, e.priority, e.of_group, sum(e.sign) FILTER (WHERE NOT e.runs) AS ready,
                       min(e.turn) FILTER (WHERE e.sign > 0 AND NOT e.runs) AS turn,
                       coalesce(sum(e.sign) FILTER (WHERE e.runs), 0) AS running
                  FROM (SELECT o.type, o.lane, o.priority, o.of_group, o.turn, o.id, -1 AS sign,
                       o.status = 'running' AS runs
                  FROM old_jobs AS o
                 WHERE o.turn > 0 AND (o.status = 'running' OR o.status = 'pending'
                       AND o.not_before IS NULL AND o.avoid IS NULL)
                 UNION ALL
                SELECT n.type, n.lane, n.priority, n.of_group, n.turn, n.id, 1 AS sign,
                       n.status = 'running' AS runs
                  FROM new_jobs AS n
                 WHERE n.turn > 0 AND (n.status = 'running' OR n.status = 'pending'
                       AND n.not_before IS NULL AND n.avoid IS NULL)) AS e
                 GROUP BY e.type, e.lane, e.priority, e.of_group
                HAVING sum(CASE WHEN e.runs THEN 0 ELSE e.sign END) <> 0
                    OR sum(CASE WHEN e.runs THEN e.sign ELSE 0 END) <> 0
                    OR sum(CASE WHEN e.runs THEN 0 ELSE e.sign * hashint8extended(e.id, e.turn)::numeric END) <> 0) AS s
        WINDOW whole AS (PARTITION BY s.type, s.priority, s.of_group));
    ELSIF TG_OP = 'INSERT' THEN
        moved := ARRAY(SELECT ROW(s.type, s.lane, s.priority, s.of_group, s.ready, s.turn,
                                  sum(s.running) OVER whole, array_agg(s.lane) OVER whole)::group_move
          FROM (SELECT e.type, e.lane, e.priority, e.of_group, count(*) FILTER (WHERE NOT e.runs) AS ready,
                       min(e.turn) FILTER (WHERE NOT e.runs) AS turn, count(*) FILTER (WHERE e.runs) AS running
                  FROM (SELECT n.type, n.lane, n.priority, n.of_group, n.turn, n.id, 1 AS sign,
                       n.status = 'running' AS runs
                  FROM new_jobs AS n
                 WHERE n.turn > 0 AND (n.status = 'running' OR n.status = 'pending'
                       AND n.not_before IS NULL AND n.avoid IS NULL)) AS e
                 GROUP BY e.type, e.lane, e.priority, e.of_group) AS s
        WINDOW whole AS (PARTITION BY s.type, s.priority, s.of_group));
    ELSE
        moved := ARRAY(SELECT ROW(s.type, s.lane, s.priority, s.of_group, -s.ready, NULL,
                                  -sum(s.running) OVER whole, array_agg(s.lane) OVER whole)::group_move
          FROM (SELECT e.type, e.lane, e.priority, e.of_group, count(*) FILTER (WHERE NOT e.runs) AS ready,
                       count(*) FILTER (WHERE e.runs) AS running
                  FROM (SELECT o.type, o.lane, o.priority, o.of_group, o.turn, o.id, -1 AS sign,
                       o.status = 'running' AS runs
                  FROM old_jobs AS o
                 WHERE o.turn > 0 AND (o.status = 'running' OR o.status = 'pending'
                       AND o.not_before IS NULL AND o.avoid IS NULL)) AS e
                 GROUP BY e.type, e.lane, e.priority, e.of_group) AS s
        WINDOW whole AS (PARTITION BY s.type, s.priority, s.of_group));
    END IF;
    IF moved = '{}' THEN
        RETURN NULL;
    END IF;
    INSERT INTO group_runs AS r (type, priority, running)
    SELECT m.type, m.priority, sum(m.running) FROM unnest(moved) AS m WHERE m.lane = m.lanes[1]
     GROUP BY m.type, m.priority HAVING sum(m.running) <> 0
        ON CONFLICT (type, priority) DO UPDATE SET running = r.running + excluded.running;
    INSERT INTO group_lines AS g (type, lane, priority, of_group, ready, turn, job, running, weight)
    SELECT m.type, m.lane, m.priority, m.of_group, coalesce(m.ready, 0), first.turn, first.id,
           m.running + coalesce(former.running, (
               SELECT max(s.running) FROM group_lines AS s
                WHERE s.type = m.type AND s.priority = m.priority AND s.of_group = m.of_group), 0),
           coalesce(former.weight, (SELECT group_weight(w.group_weights, m.of_group) FROM type_settings AS w
                                     WHERE w.type = m.type), 1)
      FROM unnest(moved) AS m
      LEFT JOIN group_lines AS former ON former.type = m.type AND former.priority = m.priority
           AND former.of_group = m.of_group AND former.lane = m.lane
      LEFT JOIN LATERAL (
           SELECT j.turn, j.id FROM jobs AS j
            WHERE j.status = 'pending' AND j.not_before IS NULL AND j.avoid IS NULL AND j.turn > 0
              AND j.type = m.type AND j.lane = m.lane AND j.priority = m.priority AND j.of_group = m.of_group
              AND j.turn >= least(former.turn, m.turn)
            ORDER BY j.type, j.lane, j.priority, j.of_group, j.turn, j.id LIMIT 1) AS first ON true
        ON CONFLICT (type, priority, of_group, lane) DO UPDATE SET
           ready = g.ready + excluded.ready, turn = excluded.turn, job = excluded.job, running = excluded.running;
    UPDATE group_lines AS g SET running = g.running + m.running
      FROM unnest(moved) AS m
     WHERE m.running <> 0 AND m.lane = m.lanes[1] AND g.type = m.type AND g.priority = m.priority
       AND g.of_group = m.of_group AND g.lane <> ALL (m.lanes);
    DELETE FROM group_lines AS g USING unnest(moved) AS m
     WHERE m.lane = m.lanes[1] AND g.type = m.type AND g.priority = m.priority AND g.of_group = m.of_group
       AND g.ready = 0 AND g.running = 0;
    RETURN NULL;
END $$;
CREATE TRIGGER group_jobs_made AFTER INSERT ON jobs REFERENCING NEW TABLE AS new_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION group_lines_follow();
CREATE TRIGGER group_jobs_changed AFTER UPDATE ON jobs REFERENCING OLD TABLE AS old_jobs NEW TABLE AS new_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION group_lines_follow();
CREATE TRIGGER group_jobs_gone AFTER DELETE ON jobs REFERENCING OLD TABLE AS old_jobs
    FOR EACH STATEMENT EXECUTE FUNCTION group_lines_follow();

CREATE FUNCTION group_weights_follow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        UPDATE group_lines SET weight = 1 WHERE type = OLD.type;
    ELSE
        UPDATE group_lines SET weight = group_weight(NEW.group_weights, of_group) WHERE type = NEW.type;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER group_weights_set AFTER INSERT ON type_settings FOR EACH ROW
    WHEN (NEW.group_weights IS NOT NULL) EXECUTE FUNCTION group_weights_follow();
CREATE TRIGGER group_weights_changed AFTER UPDATE OF group_weights ON type_settings FOR EACH ROW
    WHEN (NEW.group_weights IS DISTINCT FROM OLD.group_weights) EXECUTE FUNCTION group_weights_follow();
CREATE TRIGGER group_weights_gone AFTER DELETE ON type_settings FOR EACH ROW
    WHEN (OLD.group_weights IS NOT NULL) EXECUTE FUNCTION group_weights_follow();

CREATE INDEX jobs_of_group ON jobs (type, lane, priority, of_group, turn, id)
    WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL AND turn > 0;
INSERT INTO group_lines (type, lane, priority, of_group, ready)
    SELECT type, lane, priority, of_group,
           count(*) FILTER (WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL)
      FROM jobs WHERE turn > 0 AND status IN ('pending', 'running') GROUP BY type, lane, priority, of_group;
UPDATE group_lines AS g SET running = runs.n
  FROM (SELECT type, priority, of_group, count(*) AS n FROM jobs
         WHERE turn > 0 AND status = 'running' GROUP BY type, priority, of_group) AS runs
 WHERE runs.type = g.type AND runs.priority = g.priority AND runs.of_group = g.of_group;
DELETE FROM group_lines WHERE ready = 0 AND running = 0;
UPDATE group_lines AS g SET weight = group_weight(t.group_weights, g.of_group)
  FROM type_settings AS t WHERE t.type = g.type AND t.group_weights IS NOT NULL;
UPDATE group_lines AS g SET turn = first.turn, job = first.id
  FROM (SELECT DISTINCT ON (type, lane, priority, of_group) type, lane, priority, of_group, turn, id
          FROM jobs WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL AND turn > 0
         ORDER BY type, lane, priority, of_group, turn, id) AS first
 WHERE first.type = g.type AND first.lane = g.lane AND first.priority = g.priority AND first.of_group = g.of_group;
INSERT INTO group_runs
    SELECT type, priority, count(*) FROM jobs WHERE turn > 0 AND status = 'running' GROUP BY type, priority;
