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
-- are changed: how many more are ready and run, and of those that have become ready the lowest turn.
CREATE TYPE group_move AS (
    type TEXT, lane BIGINT, priority BIGINT, of_group TEXT, ready BIGINT, running BIGINT, turn BIGINT, job BIGINT);
CREATE FUNCTION group_move(job jobs, sign BIGINT) RETURNS group_move LANGUAGE sql IMMUTABLE AS $$
    SELECT ROW(job.type, job.lane, job.priority, job.of_group,
               CASE WHEN job.status = 'pending' AND job.not_before IS NULL AND job.avoid IS NULL THEN sign ELSE 0 END,
               CASE WHEN job.status = 'running' THEN sign ELSE 0 END, job.turn, job.id)::group_move $$;
CREATE FUNCTION group_moves(each group_move[]) RETURNS SETOF group_move LANGUAGE sql AS $$
    SELECT type, lane, priority, of_group, sum(ready)::bigint, sum(running)::bigint,
           min(turn) FILTER (WHERE ready > 0), NULL::bigint
      FROM unnest(each) WHERE ready <> 0 OR running <> 0
     GROUP BY type, lane, priority, of_group
    HAVING sum(ready) <> 0 OR sum(running) <> 0 OR sum(ready * turn::numeric * job) <> 0 $$;
CREATE FUNCTION group_lines_follow() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved group_move[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        moved := ARRAY(SELECT group_move(n, 1) FROM new_jobs AS n WHERE n.turn > 0);
    ELSIF TG_OP = 'DELETE' THEN
        moved := ARRAY(SELECT group_move(o, -1) FROM old_jobs AS o WHERE o.turn > 0);
    ELSE
        moved := ARRAY(SELECT group_move(o, -1) FROM old_jobs AS o WHERE o.turn > 0
                        UNION ALL SELECT group_move(n, 1) FROM new_jobs AS n WHERE n.turn > 0);
    END IF;
    IF moved = '{}' THEN
        RETURN NULL;
    END IF;
    moved := ARRAY(SELECT m FROM group_moves(moved) AS m);
    IF moved = '{}' THEN
        RETURN NULL;
    END IF;
    INSERT INTO group_runs AS r (type, priority, running)
    SELECT m.type, m.priority, sum(m.running) FROM unnest(moved) AS m GROUP BY 1, 2 HAVING sum(m.running) <> 0
        ON CONFLICT (type, priority) DO UPDATE SET running = r.running + excluded.running;
    WITH runs AS (
        SELECT m.type, m.priority, m.of_group, sum(m.running) AS n FROM unnest(moved) AS m GROUP BY 1, 2, 3),
    touched AS (
        SELECT m.type, m.lane, m.priority, m.of_group FROM unnest(moved) AS m
         UNION
        SELECT g.type, g.lane, g.priority, g.of_group FROM runs JOIN group_lines AS g USING (type, priority, of_group)
         WHERE runs.n <> 0)
    INSERT INTO group_lines AS g (type, lane, priority, of_group, ready, turn, job, running, weight)
    SELECT t.type, t.lane, t.priority, t.of_group, coalesce(former.ready, 0) + coalesce(m.ready, 0), first.turn,
           first.id,
           runs.n + coalesce((SELECT max(s.running) FROM group_lines AS s
                               WHERE s.type = t.type AND s.priority = t.priority AND s.of_group = t.of_group), 0),
           coalesce(former.weight, (SELECT group_weight(w.group_weights, t.of_group) FROM type_settings AS w
                                     WHERE w.type = t.type), 1)
      FROM touched AS t
      JOIN runs USING (type, priority, of_group)
      LEFT JOIN unnest(moved) AS m USING (type, lane, priority, of_group)
      LEFT JOIN group_lines AS former USING (type, lane, priority, of_group)
      LEFT JOIN LATERAL (
           SELECT j.turn, j.id FROM jobs AS j
            WHERE j.status = 'pending' AND j.not_before IS NULL AND j.avoid IS NULL AND j.turn > 0
              AND j.type = t.type AND j.lane = t.lane AND j.priority = t.priority AND j.of_group = t.of_group
              AND j.turn >= least(former.turn, m.turn)
            ORDER BY j.type, j.lane, j.priority, j.of_group, j.turn, j.id LIMIT 1) AS first ON true
        ON CONFLICT (type, priority, of_group, lane) DO UPDATE SET
           ready = excluded.ready, turn = excluded.turn, job = excluded.job, running = excluded.running;
    DELETE FROM group_lines AS g USING unnest(moved) AS m
     WHERE g.type = m.type AND g.priority = m.priority AND g.of_group = m.of_group AND g.ready = 0 AND g.running = 0;
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
