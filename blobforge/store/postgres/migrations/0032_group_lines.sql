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

-- A job of a group, as it was and as it is; NULL: it was not there, or is gone.
CREATE FUNCTION group_lines_follow() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    was_ready BOOLEAN := FALSE; is_ready BOOLEAN := FALSE;
    was_running BOOLEAN := FALSE; is_running BOOLEAN := FALSE;
BEGIN
    IF TG_OP <> 'INSERT' THEN
        was_ready := OLD.turn > 0 AND OLD.status = 'pending' AND OLD.not_before IS NULL AND OLD.avoid IS NULL;
        was_running := OLD.turn > 0 AND OLD.status = 'running';
    END IF;
    IF TG_OP <> 'DELETE' THEN
        is_ready := NEW.turn > 0 AND NEW.status = 'pending' AND NEW.not_before IS NULL AND NEW.avoid IS NULL;
        is_running := NEW.turn > 0 AND NEW.status = 'running';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.type = NEW.type AND OLD.priority = NEW.priority THEN
        IF was_ready AND is_ready AND OLD.lane = NEW.lane AND OLD.turn = NEW.turn THEN
            was_ready := FALSE; is_ready := FALSE;
        END IF;
        IF was_running AND is_running THEN
            was_running := FALSE; is_running := FALSE;
        END IF;
    END IF;
    IF was_ready THEN
        UPDATE group_lines AS g SET ready = g.ready - 1, (turn, job) = (
            SELECT j.turn, j.id FROM jobs AS j
             WHERE j.status = 'pending' AND j.not_before IS NULL AND j.avoid IS NULL AND j.turn > 0
               AND j.type = OLD.type AND j.lane = OLD.lane AND j.priority = OLD.priority
               AND j.of_group = OLD.of_group AND j.turn >= g.turn
             ORDER BY j.type, j.lane, j.priority, j.of_group, j.turn, j.id LIMIT 1)
         WHERE g.type = OLD.type AND g.priority = OLD.priority AND g.of_group = OLD.of_group AND g.lane = OLD.lane;
    END IF;
    IF was_running THEN
        UPDATE group_lines AS g SET running = g.running - 1
         WHERE g.type = OLD.type AND g.priority = OLD.priority AND g.of_group = OLD.of_group;
        UPDATE group_runs AS r SET running = r.running - 1 WHERE r.type = OLD.type AND r.priority = OLD.priority;
    END IF;
    IF is_ready THEN
        INSERT INTO group_lines AS g (type, lane, priority, of_group, ready, turn, job, running, weight)
        VALUES (NEW.type, NEW.lane, NEW.priority, NEW.of_group, 1, NEW.turn, NEW.id,
                coalesce((SELECT max(s.running) FROM group_lines AS s WHERE s.type = NEW.type
                             AND s.priority = NEW.priority AND s.of_group = NEW.of_group), 0),
                coalesce((SELECT group_weight(t.group_weights, NEW.of_group) FROM type_settings AS t
                           WHERE t.type = NEW.type), 1))
        ON CONFLICT (type, priority, of_group, lane) DO UPDATE SET
            ready = g.ready + 1,
            turn = CASE WHEN (g.turn, g.job) < (excluded.turn, excluded.job) THEN g.turn ELSE excluded.turn END,
            job = CASE WHEN (g.turn, g.job) < (excluded.turn, excluded.job) THEN g.job ELSE excluded.job END;
    END IF;
    IF is_running THEN
        UPDATE group_lines AS g SET running = g.running + 1
         WHERE g.type = NEW.type AND g.priority = NEW.priority AND g.of_group = NEW.of_group;
        IF NOT FOUND THEN
            INSERT INTO group_lines (type, lane, priority, of_group, running, weight)
            VALUES (NEW.type, NEW.lane, NEW.priority, NEW.of_group, 1,
                    coalesce((SELECT group_weight(t.group_weights, NEW.of_group) FROM type_settings AS t
                               WHERE t.type = NEW.type), 1));
        END IF;
        INSERT INTO group_runs AS r (type, priority, running) VALUES (NEW.type, NEW.priority, 1)
        ON CONFLICT (type, priority) DO UPDATE SET running = r.running + 1;
    ELSIF was_ready OR was_running THEN
        DELETE FROM group_lines AS g
         WHERE g.type = OLD.type AND g.priority = OLD.priority AND g.of_group = OLD.of_group
           AND g.ready = 0 AND g.running = 0;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER group_job_made AFTER INSERT ON jobs FOR EACH ROW
    WHEN (NEW.turn > 0) EXECUTE FUNCTION group_lines_follow();
CREATE TRIGGER group_job_changed AFTER UPDATE OF status, not_before, avoid, turn, type, lane, priority ON jobs
    FOR EACH ROW WHEN (NEW.turn > 0 OR OLD.turn > 0) EXECUTE FUNCTION group_lines_follow();
CREATE TRIGGER group_job_gone AFTER DELETE ON jobs FOR EACH ROW
    WHEN (OLD.turn > 0) EXECUTE FUNCTION group_lines_follow();

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
