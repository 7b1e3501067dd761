-- 0034_failing_time.sql b8b64a9b128c39f7aa7267e9d01e5c4fa06acc2bcae9f4088d1c1d9ed1690484
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE TYPE public.group_move AS (
	type text,
	lane bigint,
	priority bigint,
	of_group text,
	ready bigint,
	turn bigint,
	running bigint,
	lanes bigint[]
);
CREATE FUNCTION public.casefold(text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (upper(($1 COLLATE "und-x-icu")) COLLATE "C");
CREATE FUNCTION public.group_lines_follow() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.group_weight(weights text, named text) RETURNS bigint
    LANGUAGE sql IMMUTABLE
    AS $$ SELECT coalesce((weights::json ->> named)::bigint, 1) $$;
CREATE FUNCTION public.group_weights_follow() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        UPDATE group_lines SET weight = 1 WHERE type = OLD.type;
    ELSE
        UPDATE group_lines SET weight = group_weight(NEW.group_weights, of_group) WHERE type = NEW.type;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.instr(text, text) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN strpos(($1 COLLATE "C"), ($2 COLLATE "C"));
CREATE FUNCTION public.jobs_with_trigrams(smallint[], bigint) RETURNS SETOF bigint
    LANGUAGE plpgsql STABLE
    SET enable_bitmapscan TO 'on'
    AS $_$ BEGIN RETURN QUERY SELECT job_id FROM job_texts WHERE trigrams @> $1 LIMIT $2; END $_$;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public.attempts (
    job_id bigint NOT NULL,
    attempt bigint NOT NULL,
    worker_id text NOT NULL COLLATE pg_catalog."C",
    lease text NOT NULL COLLATE pg_catalog."C",
    started_at bigint NOT NULL,
    ended_at bigint,
    outcome text COLLATE pg_catalog."C",
    kind text COLLATE pg_catalog."C",
    error text,
    traceback text,
    log_tail text,
    output_key text COLLATE pg_catalog."C",
    ordinal bigint,
    converter text,
    failure bigint,
    given_back bigint
)
WITH (fillfactor='85', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.audit (
    id bigint NOT NULL,
    at bigint NOT NULL,
    actor text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    address text NOT NULL COLLATE pg_catalog."C",
    action text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    detail text
);
ALTER TABLE public.audit ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.audit_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.backfill (
    id smallint NOT NULL,
    next_job bigint NOT NULL,
    last_job bigint NOT NULL,
    counts smallint NOT NULL,
    until bigint,
    CONSTRAINT backfill_id_check CHECK ((id = 1))
);
CREATE TABLE public.backup_drills (
    id bigint NOT NULL,
    started_at bigint NOT NULL,
    ended_at bigint NOT NULL,
    ok smallint NOT NULL,
    proven_until bigint,
    detail text NOT NULL,
    CONSTRAINT backup_drills_check CHECK (((ok = 0) OR (proven_until IS NOT NULL))),
    CONSTRAINT backup_drills_ok_check CHECK ((ok = ANY (ARRAY[0, 1])))
);
ALTER TABLE public.backup_drills ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.backup_drills_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.batch_counts (
    batch bigint NOT NULL,
    status text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    n bigint NOT NULL,
    CONSTRAINT batch_counts_n_check CHECK ((n >= 0))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.batch_jobs (
    batch bigint NOT NULL,
    job_id bigint NOT NULL
);
CREATE TABLE public.batches (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    metadata text COLLATE pg_catalog."C",
    submitter text COLLATE pg_catalog."C",
    closed_at bigint,
    started_at bigint,
    ended_at bigint,
    endings bigint DEFAULT 0 NOT NULL,
    callback_to bigint,
    callback text,
    CONSTRAINT batches_check CHECK (((ended_at IS NULL) OR (closed_at IS NOT NULL)))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
ALTER TABLE public.batches ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.batches_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.breakers (
    type text NOT NULL COLLATE pg_catalog."C",
    hour bigint,
    state text
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.canaries (
    id bigint NOT NULL,
    types text NOT NULL,
    made_by text NOT NULL COLLATE pg_catalog."C",
    against text,
    asked integer NOT NULL,
    taken integer NOT NULL,
    slower double precision NOT NULL,
    priority integer NOT NULL,
    subject text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    created_at bigint NOT NULL,
    closed_at bigint,
    cancelled_at bigint
);
ALTER TABLE public.canaries ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.canaries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.canary_jobs (
    canary_id bigint NOT NULL,
    job_id bigint NOT NULL,
    original_id bigint NOT NULL,
    against bigint NOT NULL
);
CREATE TABLE public.claim_keys (
    worker_id text NOT NULL COLLATE pg_catalog."C",
    claim_key text NOT NULL COLLATE pg_catalog."C",
    jobs text NOT NULL,
    created_at bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.converter_counts (
    made_by text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    priority smallint NOT NULL,
    n integer NOT NULL,
    CONSTRAINT converter_counts_n_check CHECK ((n >= 0))
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.deferred_counts (
    type text NOT NULL COLLATE pg_catalog."C",
    priority smallint NOT NULL,
    n integer NOT NULL,
    CONSTRAINT deferred_counts_n_check CHECK ((n >= 0))
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.deliveries (
    id bigint NOT NULL,
    webhook bigint NOT NULL,
    event text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL,
    data text NOT NULL,
    state text DEFAULT 'waiting'::text NOT NULL COLLATE pg_catalog."C",
    due_at bigint NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    courier text COLLATE pg_catalog."C",
    tried_at bigint,
    status integer,
    error text,
    answer text,
    ended_at bigint,
    sealed text,
    CONSTRAINT deliveries_check CHECK (((state = 'waiting'::text) = (ended_at IS NULL))),
    CONSTRAINT deliveries_state_check CHECK ((state = ANY (ARRAY['waiting'::text, 'delivered'::text, 'failed'::text])))
)
WITH (fillfactor='85', autovacuum_vacuum_scale_factor='0.02');
ALTER TABLE public.deliveries ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.deliveries_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.depths (
    step integer NOT NULL,
    slot bigint NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    n integer NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.depths_of_all (
    step integer NOT NULL,
    slot bigint NOT NULL,
    status text NOT NULL COLLATE pg_catalog."C",
    n bigint NOT NULL
);
CREATE TABLE public.doomed_objects (
    key text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    due_at bigint NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    epoch bigint DEFAULT 0 NOT NULL,
    again smallint DEFAULT 0 NOT NULL,
    CONSTRAINT doomed_objects_state_check CHECK ((state = ANY (ARRAY['later'::text, 'waiting'::text, 'deleting'::text, 'gone'::text])))
)
WITH (autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.durations (
    week bigint NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    bucket integer NOT NULL,
    n integer NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.failure_counts (
    failure bigint NOT NULL,
    status text NOT NULL COLLATE pg_catalog."C",
    n integer NOT NULL,
    CONSTRAINT failure_counts_n_check CHECK ((n >= 0))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.failures (
    id bigint NOT NULL,
    fingerprint text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    place text NOT NULL,
    example text NOT NULL,
    first_seen bigint NOT NULL,
    last_seen bigint NOT NULL,
    n integer NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.families (
    root bigint NOT NULL,
    jobs bigint NOT NULL,
    gone bigint DEFAULT 0 NOT NULL,
    CONSTRAINT families_jobs_check CHECK ((jobs >= 0))
)
WITH (fillfactor='50');
CREATE TABLE public.files (
    key text NOT NULL COLLATE pg_catalog."C",
    size bigint,
    sha256 text COLLATE pg_catalog."C",
    job_id bigint,
    attempt bigint,
    created_at bigint NOT NULL,
    checked_at bigint,
    etag text COLLATE pg_catalog."C",
    version text COLLATE pg_catalog."C",
    kept text COLLATE pg_catalog."C",
    keeping smallint DEFAULT 0 NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.group_clocks (
    type text NOT NULL COLLATE pg_catalog."C",
    priority bigint NOT NULL,
    now bigint NOT NULL,
    alone bigint NOT NULL
);
CREATE TABLE public.group_lines (
    type text NOT NULL COLLATE pg_catalog."C",
    lane bigint NOT NULL,
    priority bigint NOT NULL,
    of_group text NOT NULL COLLATE pg_catalog."C",
    ready bigint DEFAULT 0 NOT NULL,
    turn bigint,
    job bigint,
    running bigint DEFAULT 0 NOT NULL,
    weight bigint DEFAULT 1 NOT NULL,
    rounds bigint GENERATED ALWAYS AS ((running / weight)) STORED NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.group_runs (
    type text NOT NULL COLLATE pg_catalog."C",
    priority bigint NOT NULL,
    running bigint NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.group_turns (
    type text NOT NULL COLLATE pg_catalog."C",
    priority bigint NOT NULL,
    of_group text NOT NULL COLLATE pg_catalog."C",
    turn bigint NOT NULL
);
CREATE UNLOGGED TABLE public.guesses (
    name bytea NOT NULL,
    failures double precision NOT NULL,
    at bigint NOT NULL,
    over double precision NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.happenings (
    step integer NOT NULL,
    slot bigint NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    what text NOT NULL COLLATE pg_catalog."C",
    n integer NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.happenings_of_all (
    step integer NOT NULL,
    slot bigint NOT NULL,
    what text NOT NULL COLLATE pg_catalog."C",
    n bigint NOT NULL
);
CREATE UNLOGGED TABLE public.holds (
    name text NOT NULL COLLATE pg_catalog."C",
    holder text NOT NULL COLLATE pg_catalog."C",
    until bigint NOT NULL
);
CREATE TABLE public.idempotency (
    subject text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    fingerprint bytea NOT NULL,
    outcome bytea NOT NULL,
    created_at bigint NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.installation (
    one smallint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT installation_one_check CHECK ((one = 1))
);
CREATE TABLE public.job_counts (
    status text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    priority smallint NOT NULL,
    n integer NOT NULL,
    source_bytes bigint DEFAULT 0 NOT NULL,
    output_bytes bigint DEFAULT 0 NOT NULL,
    CONSTRAINT job_counts_n_check CHECK ((n >= 0))
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.job_hours (
    hour bigint NOT NULL,
    first_id bigint NOT NULL,
    last_id bigint NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.job_paths (
    job_id bigint NOT NULL,
    n integer NOT NULL,
    path text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.job_tags (
    tag text NOT NULL COLLATE pg_catalog."C",
    job_id bigint NOT NULL
);
CREATE TABLE public.job_texts (
    job_id bigint NOT NULL,
    trigrams smallint[] NOT NULL
);
CREATE TABLE public.jobs (
    id bigint NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    priority smallint NOT NULL,
    source_hash text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    max_attempts integer NOT NULL,
    source_path text COLLATE pg_catalog."C",
    source_size bigint,
    tags text,
    metadata text,
    attempts integer DEFAULT 0 NOT NULL,
    losses integer DEFAULT 0 NOT NULL,
    attempt bigint DEFAULT 0 NOT NULL,
    worker_id text COLLATE pg_catalog."C",
    lease text COLLATE pg_catalog."C",
    heartbeat_at bigint,
    started_at bigint,
    completed_at bigint,
    not_before bigint,
    last_error text,
    output_key text COLLATE pg_catalog."C",
    result text,
    progress text,
    failure bigint,
    progress_at bigint,
    kept_attempt bigint,
    replaced text,
    releases integer DEFAULT 0 NOT NULL,
    avoid_until bigint,
    avoid text,
    upload_key text COLLATE pg_catalog."C",
    write_once smallint DEFAULT 0 NOT NULL,
    submitter text COLLATE pg_catalog."C",
    result_size bigint,
    lane smallint DEFAULT 0 NOT NULL,
    more_paths integer DEFAULT 0 NOT NULL,
    output_bytes bigint,
    options text,
    options_hash text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    converter text,
    made_by text COLLATE pg_catalog."C",
    compare smallint DEFAULT 0 NOT NULL,
    compare_until bigint,
    requires text COLLATE pg_catalog."C",
    sourceless smallint DEFAULT 0 NOT NULL,
    of_group text COLLATE pg_catalog."C",
    turn bigint DEFAULT 0 NOT NULL,
    expires_at bigint,
    batches text COLLATE pg_catalog."C",
    chain text COLLATE pg_catalog."C",
    queued_at bigint,
    CONSTRAINT jobs_check CHECK (((status <> 'running'::text) OR ((worker_id IS NOT NULL) AND (lease IS NOT NULL)))),
    CONSTRAINT jobs_priority_check CHECK (((priority >= 1) AND (priority <= 5))),
    CONSTRAINT jobs_status_check CHECK ((status = ANY (ARRAY['uploading'::text, 'pending'::text, 'running'::text, 'completed'::text, 'failed'::text, 'dead'::text, 'cancelled'::text])))
)
WITH (fillfactor='85', autovacuum_vacuum_scale_factor='0.02', autovacuum_analyze_scale_factor='0.02');
CREATE TABLE public.kin (
    parent bigint NOT NULL,
    attempt bigint NOT NULL,
    step integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    job_id bigint NOT NULL,
    lent smallint NOT NULL
);
CREATE TABLE public.log (
    n bigint NOT NULL,
    server text NOT NULL COLLATE pg_catalog."C",
    nonce bytea NOT NULL,
    at bigint NOT NULL,
    told text NOT NULL
);
CREATE TABLE public.manifests (
    source_hash text NOT NULL COLLATE pg_catalog."C",
    manifest text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.operation_pages (
    operation_id bigint NOT NULL,
    page bigint NOT NULL,
    jobs text NOT NULL,
    changes text
);
CREATE TABLE public.operations (
    id bigint NOT NULL,
    verb text NOT NULL COLLATE pg_catalog."C",
    work text NOT NULL,
    state text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL,
    token_id bigint,
    user_id bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    told_at bigint NOT NULL,
    ended_at bigint,
    cursor text,
    matched bigint DEFAULT 0 NOT NULL,
    total bigint DEFAULT 0 NOT NULL,
    done bigint DEFAULT 0 NOT NULL,
    changed bigint DEFAULT 0 NOT NULL,
    pages bigint DEFAULT 0 NOT NULL,
    page bigint DEFAULT 0 NOT NULL,
    reason text,
    undo_of bigint,
    undone_by bigint,
    undo_until bigint,
    CONSTRAINT operations_check CHECK (((ended_at IS NULL) = (state = ANY (ARRAY['selecting'::text, 'running'::text])))),
    CONSTRAINT operations_state_check CHECK ((state = ANY (ARRAY['selecting'::text, 'running'::text, 'completed'::text, 'cancelled'::text, 'failed'::text])))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
ALTER TABLE public.operations ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.operations_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.outputs (
    job_id bigint NOT NULL,
    attempt bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    size bigint,
    sha256 text,
    media_type text,
    chosen smallint DEFAULT 0 NOT NULL
);
CREATE UNLOGGED TABLE public.presences (
    id text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    version text NOT NULL,
    objects text NOT NULL,
    admin text NOT NULL,
    url text NOT NULL,
    started_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    turn bigint,
    turn_at bigint,
    read bigint,
    clock bigint NOT NULL,
    long_polls integer NOT NULL,
    streams integer NOT NULL
)
WITH (fillfactor='50');
CREATE TABLE public.pulse (
    id smallint NOT NULL,
    at bigint NOT NULL,
    CONSTRAINT pulse_id_check CHECK ((id = 1))
)
WITH (fillfactor='10');
CREATE TABLE public.recovery (
    id smallint NOT NULL,
    restored_at bigint,
    attempt_floor bigint DEFAULT 0 NOT NULL,
    CONSTRAINT recovery_id_check CHECK ((id = 1))
);
CREATE TABLE public.requirement_sets (
    number smallint NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    requires text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT requirement_sets_number_check CHECK (((number >= 1) AND (number <= 16383)))
);
CREATE TABLE public.results (
    job_id bigint NOT NULL,
    attempt bigint NOT NULL,
    result text NOT NULL
);
CREATE TABLE public.search_names (
    search text NOT NULL COLLATE pg_catalog."C",
    n bigint NOT NULL,
    keys text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.searches (
    name text NOT NULL COLLATE pg_catalog."C",
    searcher text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    doom bigint NOT NULL,
    started_at bigint NOT NULL,
    heard_at bigint NOT NULL,
    folder text NOT NULL COLLATE pg_catalog."C",
    cursor text NOT NULL COLLATE pg_catalog."C",
    ended_at bigint,
    objects bigint NOT NULL,
    orphans bigint NOT NULL,
    bytes bigint NOT NULL,
    unfinished bigint NOT NULL,
    named bigint NOT NULL,
    error text COLLATE pg_catalog."C"
);
CREATE TABLE public.secrets (
    name text NOT NULL COLLATE pg_catalog."C",
    value text NOT NULL
);
CREATE TABLE public.servers (
    id text NOT NULL COLLATE pg_catalog."C",
    incarnation bigint NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.sessions (
    hash text NOT NULL COLLATE pg_catalog."C",
    user_id bigint,
    token_id bigint,
    created_at bigint NOT NULL,
    seen_at bigint NOT NULL,
    checked_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    sealed bytea,
    address text,
    agent text,
    CONSTRAINT sessions_check CHECK (((user_id IS NULL) <> (token_id IS NULL)))
)
WITH (fillfactor='50');
CREATE TABLE public.settlements (
    id text NOT NULL COLLATE pg_catalog."C",
    n bigint NOT NULL,
    at bigint NOT NULL,
    server text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.signing_keys (
    public_key text NOT NULL COLLATE pg_catalog."C",
    sealed bytea NOT NULL,
    made_at bigint NOT NULL
);
CREATE TABLE public.splits (
    step integer NOT NULL,
    slot bigint NOT NULL,
    type text NOT NULL COLLATE pg_catalog."C",
    what text NOT NULL COLLATE pg_catalog."C",
    part bigint NOT NULL,
    n integer NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.superseded (
    job_id bigint NOT NULL,
    attempt bigint NOT NULL,
    at bigint NOT NULL,
    key text NOT NULL COLLATE pg_catalog."C",
    size bigint,
    newer integer NOT NULL
);
CREATE TABLE public.superseding (
    id smallint NOT NULL,
    next_job bigint NOT NULL,
    last_job bigint NOT NULL,
    CONSTRAINT superseding_id_check CHECK ((id = 1))
);
CREATE TABLE public.tag_counts (
    tag text NOT NULL COLLATE pg_catalog."C",
    n integer NOT NULL,
    source_bytes bigint NOT NULL,
    output_bytes bigint NOT NULL,
    CONSTRAINT tag_counts_n_check CHECK ((n >= 0))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.texts_changed (
    job_id bigint NOT NULL,
    large smallint DEFAULT 0 NOT NULL
);
CREATE TABLE public.texts_indexed (
    id smallint NOT NULL,
    upto bigint NOT NULL,
    CONSTRAINT texts_indexed_id_check CHECK ((id = 1))
);
CREATE TABLE public.tokens (
    id bigint NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    hash text NOT NULL COLLATE pg_catalog."C",
    prefix text NOT NULL COLLATE pg_catalog."C",
    scopes text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    expires_at bigint,
    last_used_at bigint,
    origin text DEFAULT 'api'::text NOT NULL COLLATE pg_catalog."C"
)
WITH (fillfactor='50');
ALTER TABLE public.tokens ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.tokens_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.turn (
    one smallint NOT NULL,
    n bigint NOT NULL,
    at bigint NOT NULL,
    schema integer NOT NULL,
    oldest integer NOT NULL,
    job bigint NOT NULL,
    wrote bigint DEFAULT 0 NOT NULL,
    wrote_schema integer DEFAULT 0 NOT NULL,
    older bigint DEFAULT 0 NOT NULL,
    recounted bigint DEFAULT 0 NOT NULL,
    recounted_schema integer DEFAULT 0 NOT NULL,
    settled text DEFAULT ''::text NOT NULL COLLATE pg_catalog."C",
    type_settings bigint DEFAULT 0 NOT NULL,
    CONSTRAINT turn_one_check CHECK ((one = 1))
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.type_settings (
    type text NOT NULL COLLATE pg_catalog."C",
    paused_at bigint,
    paused_by text COLLATE pg_catalog."C",
    reason text COLLATE pg_catalog."C",
    max_attempts integer,
    retry_backoff bigint,
    max_running bigint,
    rate_count bigint,
    rate_ms bigint,
    owed bigint DEFAULT 0 NOT NULL,
    owed_at bigint DEFAULT 0 NOT NULL,
    worker_timeout bigint,
    group_weights text COLLATE pg_catalog."C",
    urgent_after bigint,
    breaker bigint,
    own_fault smallint,
    quarantine smallint,
    made_by text COLLATE pg_catalog."C",
    then_steps text COLLATE pg_catalog."C"
);
CREATE TABLE public.undos (
    token text NOT NULL COLLATE pg_catalog."C",
    job_id bigint NOT NULL,
    was text NOT NULL COLLATE pg_catalog."C",
    became text NOT NULL COLLATE pg_catalog."C",
    at bigint NOT NULL
);
CREATE TABLE public.users (
    id bigint NOT NULL,
    issuer text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    email text COLLATE pg_catalog."C",
    name text COLLATE pg_catalog."C",
    groups text NOT NULL,
    is_admin smallint NOT NULL,
    created_at bigint NOT NULL,
    last_login_at bigint NOT NULL
);
ALTER TABLE public.users ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.users_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.webhooks (
    id bigint NOT NULL,
    url text NOT NULL,
    events text NOT NULL,
    types text,
    tags text,
    of_group text COLLATE pg_catalog."C",
    batch bigint,
    results smallint DEFAULT 0 NOT NULL,
    sealed bytea NOT NULL,
    former bytea,
    former_until bigint,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    failing_since bigint,
    disabled_at bigint,
    disabled_why text,
    deleted_at bigint,
    host text COLLATE pg_catalog."C",
    failed_at bigint,
    failing_ms bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');
ALTER TABLE public.webhooks ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME public.webhooks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.weighing (
    id smallint NOT NULL,
    next_job bigint NOT NULL,
    last_job bigint NOT NULL,
    CONSTRAINT weighing_id_check CHECK ((id = 1))
);
CREATE TABLE public.worker_counts (
    status text NOT NULL COLLATE pg_catalog."C",
    n integer NOT NULL,
    CONSTRAINT worker_counts_n_check CHECK ((n >= 0))
)
WITH (fillfactor='10', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.worker_rates (
    hour bigint NOT NULL,
    worker_id text NOT NULL COLLATE pg_catalog."C",
    outcome text NOT NULL COLLATE pg_catalog."C",
    n integer NOT NULL
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
CREATE TABLE public.worker_types (
    worker_id text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.workers (
    id text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    name text COLLATE pg_catalog."C",
    enabled smallint DEFAULT 1 NOT NULL,
    last_heartbeat bigint,
    metadata text,
    labels text,
    version text,
    token_id bigint,
    secret_hash text COLLATE pg_catalog."C",
    drain smallint DEFAULT 0 NOT NULL,
    registered smallint DEFAULT 0 NOT NULL,
    instance text COLLATE pg_catalog."C",
    contested_at bigint,
    contested_by text,
    bound_type text COLLATE pg_catalog."C",
    accepts text,
    converter text,
    quarantine text,
    readmitted_at bigint,
    CONSTRAINT workers_status_check CHECK ((status = ANY (ARRAY['online'::text, 'offline'::text, 'draining'::text])))
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.02');
INSERT INTO public.attempts VALUES (1, 1, 'w1', 'lease 1', 1794971201000, 1794971261000, 'failed', 'ValueError', 'no page 1', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 1
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (2, 1, 'w1', 'lease 2', 1794971202000, 1794971262000, 'failed', 'ValueError', 'no page 2', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 2
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (4, 1, 'w1', 'lease 4', 1794971204000, 1794971264000, 'cancelled', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (6, 1, 'w1', 'lease 6', 1794971206000, 1794971266000, 'lost', NULL, 'worker w1 was lost', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (7, 1, 'w1', 'lease 7', 1794971207000, 1794971267000, 'failed', 'ValueError', 'no page 7', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 7
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (8, 1, 'w1', 'lease 8', 1794971208000, 1794971268000, 'completed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (9, 1, 'w1', 'lease 9', 1794971209000, 1794971269000, 'failed', 'ValueError', 'no page 9', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 9
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (10, 1, 'w1', 'lease 10', 1794971210000, 1794971270000, 'failed', 'ValueError', 'no page 10', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 10
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (12, 1, 'w1', 'lease 12', 1794971212000, 1794971272000, 'cancelled', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (14, 1, 'w1', 'lease 14', 1794971214000, 1794971274000, 'failed', 'ValueError', 'no page 14', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 14
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (15, 1, 'w1', 'lease 15', 1794971215000, 1794971275000, 'failed', 'ValueError', 'no page 15', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 15
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (16, 1, 'w1', 'lease 16', 1794971216000, 1794971276000, 'completed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (17, 1, 'w1', 'lease 17', 1794971217000, 1794971277000, 'failed', 'ValueError', 'no page 17', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 17
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (18, 1, 'w1', 'lease 18', 1794971218000, 1794971278000, 'lost', NULL, 'worker w1 was lost', NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (20, 1, 'w1', 'lease 20', 1794971220000, 1794971280000, 'cancelled', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (22, 1, 'w1', 'lease 22', 1794971222000, 1794971282000, 'failed', 'ValueError', 'no page 22', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 22
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (23, 1, 'w1', 'lease 23', 1794971223000, 1794971283000, 'failed', 'ValueError', 'no page 23', 'Traceback (most recent call last):
  File "convert.py", line 7, in pages
ValueError: no page 23
', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.attempts VALUES (24, 1, 'w1', 'lease 24', 1794971224000, 1794971284000, 'completed', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.installation VALUES (1, 'b116d4c2af45a2d33');
INSERT INTO public.job_counts VALUES ('cancelled', 'pdf', 3, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('cancelled', 'pdf', 5, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('cancelled', 'scan', 1, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('completed', 'pdf', 2, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('completed', 'pdf', 4, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('completed', 'pdf', 5, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('dead', 'pdf', 2, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('dead', 'pdf', 3, 2, 0, 0);
INSERT INTO public.job_counts VALUES ('dead', 'pdf', 4, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('dead', 'pdf', 5, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('dead', 'scan', 1, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('failed', 'pdf', 2, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('failed', 'pdf', 3, 2, 0, 0);
INSERT INTO public.job_counts VALUES ('failed', 'pdf', 4, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('failed', 'pdf', 5, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('failed', 'scan', 1, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('pending', 'pdf', 2, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('pending', 'pdf', 4, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('pending', 'pdf', 5, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('uploading', 'pdf', 2, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('uploading', 'pdf', 4, 1, 0, 0);
INSERT INTO public.job_counts VALUES ('uploading', 'scan', 1, 1, 0, 0);
INSERT INTO public.job_hours VALUES (498603, 1, 24);
INSERT INTO public.job_tags VALUES ('old', 1);
INSERT INTO public.job_tags VALUES ('old', 2);
INSERT INTO public.job_tags VALUES ('old', 3);
INSERT INTO public.job_tags VALUES ('old', 4);
INSERT INTO public.job_tags VALUES ('old', 5);
INSERT INTO public.job_tags VALUES ('old', 6);
INSERT INTO public.job_tags VALUES ('old', 7);
INSERT INTO public.job_tags VALUES ('old', 8);
INSERT INTO public.job_tags VALUES ('old', 9);
INSERT INTO public.job_tags VALUES ('old', 10);
INSERT INTO public.job_tags VALUES ('old', 11);
INSERT INTO public.job_tags VALUES ('old', 12);
INSERT INTO public.job_tags VALUES ('old', 13);
INSERT INTO public.job_tags VALUES ('old', 14);
INSERT INTO public.job_tags VALUES ('old', 15);
INSERT INTO public.job_tags VALUES ('old', 16);
INSERT INTO public.job_tags VALUES ('old', 17);
INSERT INTO public.job_tags VALUES ('old', 18);
INSERT INTO public.job_tags VALUES ('old', 19);
INSERT INTO public.job_tags VALUES ('old', 20);
INSERT INTO public.job_tags VALUES ('old', 21);
INSERT INTO public.job_tags VALUES ('old', 22);
INSERT INTO public.job_tags VALUES ('old', 23);
INSERT INTO public.job_tags VALUES ('old', 24);
INSERT INTO public.jobs VALUES (1, 'pdf', 'failed', 2, '66053dc1b3e6c36d47315289817e3accadbc8941d5880fa75eacbfff0d835c4d', 1794971201000, 1794971261000, 3, 'in/1.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971201000, NULL, 1795003600000, 'no page 1', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (2, 'pdf', 'dead', 3, '44fb9c5e4ca0bd1c552611414956acd43e2bf6e653cae7a22ea2438ea5b607ca', 1794971202000, 1794971262000, 3, 'in/2.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971202000, 1794971262000, NULL, 'no page 2', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (3, 'pdf', 'pending', 4, '861f5c081f615ea9b298f0e724e120e716391cb7ea8cf12c14fa29b946e7e0bd', 1794971203000, 1794971263000, 3, 'in/3.pdf', NULL, '["old"]', NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (4, 'pdf', 'cancelled', 5, '555bcc08cf941ac688b22c54b9303f28561c274bdc0b2647f1b31925f6821f33', 1794971204000, 1794971264000, 3, 'in/4.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971204000, 1794971264000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (5, 'scan', 'uploading', 1, 'c773e70ba5e3793bdc6767f4794cdc71161b724ce1322ef0d15daa0ef705ebd3', 1794971205000, 1794971265000, 3, 'in/5.pdf', NULL, '["old"]', NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (6, 'pdf', 'dead', 2, 'cd1094f0eaea3b3069d8f2ce44eb6c3a711adeae18f01f802f1a48b15fb0fda3', 1794971206000, 1794971266000, 3, 'in/6.pdf', NULL, '["old"]', NULL, 0, 1, 1, NULL, NULL, NULL, 1794971206000, 1794971266000, NULL, 'worker w1 was lost', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (7, 'pdf', 'failed', 3, '804949ed9ad48097c7900ee885f975c518e5fd791caf345eb9d8842493d313ec', 1794971207000, 1794971267000, 3, 'in/7.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971207000, NULL, 1795003600000, 'no page 7', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (8, 'pdf', 'completed', 4, '09d4dbc6ac64d6a994f791cdb0b671b08975e848c51cda24ad36da412f1307cd', 1794971208000, 1794971268000, 3, 'in/8.pdf', NULL, '["old"]', NULL, 1, 0, 1, 'w1', NULL, NULL, 1794971208000, 1794971268000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (9, 'pdf', 'failed', 5, 'b83f4de6d923d771edbbd17fbc7ac2e24523a208527ae5075db5665424708f40', 1794971209000, 1794971269000, 3, 'in/9.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971209000, NULL, 1795003600000, 'no page 9', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (10, 'scan', 'dead', 1, '7c725eacc6f754d8a1775cad07fbab8caca730bc0541fcea52c8a07c5768ca43', 1794971210000, 1794971270000, 3, 'in/10.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971210000, 1794971270000, NULL, 'no page 10', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (11, 'pdf', 'pending', 2, '1675333165d62357da15e699a6f5b8677d55c3be1a073766cf8e9fded8aefc76', 1794971211000, 1794971271000, 3, 'in/11.pdf', NULL, '["old"]', NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (12, 'pdf', 'cancelled', 3, '3d917325a05ae31c5ae02a0de8d0aa599604b63b9db26b8a81276e7a12051ff9', 1794971212000, 1794971272000, 3, 'in/12.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971212000, 1794971272000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (13, 'pdf', 'uploading', 4, 'c839b52bfd73726b6a5231fd81effc9de9b4d4851cbc76acbda96e291e3a8e73', 1794971213000, 1794971273000, 3, 'in/13.pdf', NULL, '["old"]', NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (14, 'pdf', 'dead', 5, 'bae3b52a911bbf639ea1347f193e4b8b4430b644c9a54d275b4be9326d1f315c', 1794971214000, 1794971274000, 3, 'in/14.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971214000, 1794971274000, NULL, 'no page 14', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (15, 'scan', 'failed', 1, '02b02dd9901e2807642d32b32909c3813734c31196c4b75706d15bde49211a86', 1794971215000, 1794971275000, 3, 'in/15.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971215000, NULL, 1795003600000, 'no page 15', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (16, 'pdf', 'completed', 2, '1188d3631cce46fcdb21083539e62e2fda7e9595d7a33cb7b00b3d747d3cc087', 1794971216000, 1794971276000, 3, 'in/16.pdf', NULL, '["old"]', NULL, 1, 0, 1, 'w1', NULL, NULL, 1794971216000, 1794971276000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (17, 'pdf', 'failed', 3, 'c0e32d07920a5f647e2390ba0f5dc241a11eeb1b1cc48d115c94e3cb353b12e7', 1794971217000, 1794971277000, 3, 'in/17.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971217000, NULL, 1795003600000, 'no page 17', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (18, 'pdf', 'dead', 4, '7b59d0f2092546ce7fe358308bca415241818eaae75ee179d93e8c1af52af4ff', 1794971218000, 1794971278000, 3, 'in/18.pdf', NULL, '["old"]', NULL, 0, 1, 1, NULL, NULL, NULL, 1794971218000, 1794971278000, NULL, 'worker w1 was lost', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (19, 'pdf', 'pending', 5, '759825d38448c4013551d49216539213675cc433c4a1081c9b31c50c97af5428', 1794971219000, 1794971279000, 3, 'in/19.pdf', NULL, '["old"]', NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (20, 'scan', 'cancelled', 1, '6e7a3c5c1a4af44a40f3656dd6c3ad94083ca04d610a24bdb8a5ec3d3f2ff1b3', 1794971220000, 1794971280000, 3, 'in/20.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971220000, 1794971280000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (21, 'pdf', 'uploading', 2, '73d953daa735df32d5e8756296beb082d655185ee93b8936e46945886ea7b26b', 1794971221000, 1794971281000, 3, 'in/21.pdf', NULL, '["old"]', NULL, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (22, 'pdf', 'dead', 3, 'a80c4bb0a55e62b0de0443e01ca6b10d3461d1d874bc08c33fc67a38ebbf7fb1', 1794971222000, 1794971282000, 3, 'in/22.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971222000, 1794971282000, NULL, 'no page 22', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (23, 'pdf', 'failed', 4, '613d45ebf094de08a1fe289285f1012a6e883e90086a424a178d844b7aba1dcc', 1794971223000, 1794971283000, 3, 'in/23.pdf', NULL, '["old"]', NULL, 1, 0, 1, NULL, NULL, NULL, 1794971223000, NULL, 1795003600000, 'no page 23', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.jobs VALUES (24, 'pdf', 'completed', 5, 'cbe5fce0d38a59ccad9dd09241705457dd4e3cb331eb3ae17ddc0cef6bdf74ef', 1794971224000, 1794971284000, 3, 'in/24.pdf', NULL, '["old"]', NULL, 1, 0, 1, 'w1', NULL, NULL, 1794971224000, 1794971284000, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, NULL, NULL, 0, 0, NULL, NULL, '', NULL, NULL, 0, NULL, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL);
INSERT INTO public.recovery VALUES (1, NULL, 0);
INSERT INTO public.turn VALUES (1, 0, 0, 34, 1, 24, 0, 0, 0, 0, 0, '', 0);
INSERT INTO public.worker_counts VALUES ('offline', 1);
INSERT INTO public.workers VALUES ('w1', 'pdf', 'offline', 1794222400000, 1794913600000, NULL, 1, 1794913600000, NULL, NULL, NULL, NULL, NULL, 0, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
SELECT pg_catalog.setval('public.audit_id_seq', 1, false);
SELECT pg_catalog.setval('public.backup_drills_id_seq', 1, false);
SELECT pg_catalog.setval('public.batches_id_seq', 1, false);
SELECT pg_catalog.setval('public.canaries_id_seq', 1, false);
SELECT pg_catalog.setval('public.deliveries_id_seq', 1, false);
SELECT pg_catalog.setval('public.operations_id_seq', 1, false);
SELECT pg_catalog.setval('public.tokens_id_seq', 1, false);
SELECT pg_catalog.setval('public.users_id_seq', 1, false);
SELECT pg_catalog.setval('public.webhooks_id_seq', 1, false);
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_pkey PRIMARY KEY (job_id, attempt);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.backfill
    ADD CONSTRAINT backfill_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.backup_drills
    ADD CONSTRAINT backup_drills_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.batch_counts
    ADD CONSTRAINT batch_counts_pkey PRIMARY KEY (batch, status, type);
ALTER TABLE ONLY public.batch_jobs
    ADD CONSTRAINT batch_jobs_pkey PRIMARY KEY (batch, job_id);
ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.breakers
    ADD CONSTRAINT breakers_pkey PRIMARY KEY (type);
ALTER TABLE ONLY public.canaries
    ADD CONSTRAINT canaries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.canary_jobs
    ADD CONSTRAINT canary_jobs_pkey PRIMARY KEY (canary_id, job_id);
ALTER TABLE ONLY public.claim_keys
    ADD CONSTRAINT claim_keys_pkey PRIMARY KEY (worker_id, claim_key);
ALTER TABLE ONLY public.converter_counts
    ADD CONSTRAINT converter_counts_pkey PRIMARY KEY (made_by, status, type, priority);
ALTER TABLE ONLY public.deferred_counts
    ADD CONSTRAINT deferred_counts_pkey PRIMARY KEY (type, priority);
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.depths_of_all
    ADD CONSTRAINT depths_of_all_pkey PRIMARY KEY (step, slot, status);
ALTER TABLE ONLY public.depths
    ADD CONSTRAINT depths_pkey PRIMARY KEY (step, slot, type, status);
ALTER TABLE ONLY public.doomed_objects
    ADD CONSTRAINT doomed_objects_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.durations
    ADD CONSTRAINT durations_pkey PRIMARY KEY (week, type, bucket);
ALTER TABLE ONLY public.failure_counts
    ADD CONSTRAINT failure_counts_pkey PRIMARY KEY (failure, status);
ALTER TABLE ONLY public.failures
    ADD CONSTRAINT failures_fingerprint_key UNIQUE (fingerprint);
ALTER TABLE ONLY public.failures
    ADD CONSTRAINT failures_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.families
    ADD CONSTRAINT families_pkey PRIMARY KEY (root);
ALTER TABLE ONLY public.files
    ADD CONSTRAINT files_pkey PRIMARY KEY (key);
ALTER TABLE ONLY public.group_clocks
    ADD CONSTRAINT group_clocks_pkey PRIMARY KEY (type, priority);
ALTER TABLE ONLY public.group_lines
    ADD CONSTRAINT group_lines_pkey PRIMARY KEY (type, priority, of_group, lane);
ALTER TABLE ONLY public.group_runs
    ADD CONSTRAINT group_runs_pkey PRIMARY KEY (type, priority);
ALTER TABLE ONLY public.group_turns
    ADD CONSTRAINT group_turns_pkey PRIMARY KEY (type, priority, of_group);
ALTER TABLE ONLY public.guesses
    ADD CONSTRAINT guesses_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.happenings_of_all
    ADD CONSTRAINT happenings_of_all_pkey PRIMARY KEY (step, slot, what);
ALTER TABLE ONLY public.happenings
    ADD CONSTRAINT happenings_pkey PRIMARY KEY (step, slot, type, what);
ALTER TABLE ONLY public.holds
    ADD CONSTRAINT holds_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.idempotency
    ADD CONSTRAINT idempotency_pkey PRIMARY KEY (subject, key);
ALTER TABLE ONLY public.installation
    ADD CONSTRAINT installation_pkey PRIMARY KEY (one);
ALTER TABLE ONLY public.job_counts
    ADD CONSTRAINT job_counts_pkey PRIMARY KEY (status, type, priority);
ALTER TABLE ONLY public.job_hours
    ADD CONSTRAINT job_hours_pkey PRIMARY KEY (hour);
ALTER TABLE ONLY public.job_paths
    ADD CONSTRAINT job_paths_pkey PRIMARY KEY (job_id, n);
ALTER TABLE ONLY public.job_tags
    ADD CONSTRAINT job_tags_pkey PRIMARY KEY (tag, job_id);
ALTER TABLE ONLY public.job_texts
    ADD CONSTRAINT job_texts_pkey PRIMARY KEY (job_id);
ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.kin
    ADD CONSTRAINT kin_pkey PRIMARY KEY (parent, attempt, step, name);
ALTER TABLE ONLY public.log
    ADD CONSTRAINT log_pkey PRIMARY KEY (n);
ALTER TABLE ONLY public.manifests
    ADD CONSTRAINT manifests_pkey PRIMARY KEY (source_hash);
ALTER TABLE ONLY public.operation_pages
    ADD CONSTRAINT operation_pages_pkey PRIMARY KEY (operation_id, page);
ALTER TABLE ONLY public.operations
    ADD CONSTRAINT operations_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.outputs
    ADD CONSTRAINT outputs_pkey PRIMARY KEY (job_id, attempt, name);
ALTER TABLE ONLY public.presences
    ADD CONSTRAINT presences_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.pulse
    ADD CONSTRAINT pulse_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.recovery
    ADD CONSTRAINT recovery_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.requirement_sets
    ADD CONSTRAINT requirement_sets_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.requirement_sets
    ADD CONSTRAINT requirement_sets_type_requires_key UNIQUE (type, requires);
ALTER TABLE ONLY public.results
    ADD CONSTRAINT results_pkey PRIMARY KEY (job_id, attempt);
ALTER TABLE ONLY public.search_names
    ADD CONSTRAINT search_names_pkey PRIMARY KEY (search, n);
ALTER TABLE ONLY public.searches
    ADD CONSTRAINT searches_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.secrets
    ADD CONSTRAINT secrets_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.servers
    ADD CONSTRAINT servers_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY public.settlements
    ADD CONSTRAINT settlements_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.signing_keys
    ADD CONSTRAINT signing_keys_pkey PRIMARY KEY (public_key);
ALTER TABLE ONLY public.splits
    ADD CONSTRAINT splits_pkey PRIMARY KEY (step, slot, type, what, part);
ALTER TABLE ONLY public.superseded
    ADD CONSTRAINT superseded_pkey PRIMARY KEY (job_id, attempt);
ALTER TABLE ONLY public.superseding
    ADD CONSTRAINT superseding_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tag_counts
    ADD CONSTRAINT tag_counts_pkey PRIMARY KEY (tag);
ALTER TABLE ONLY public.texts_changed
    ADD CONSTRAINT texts_changed_pkey PRIMARY KEY (job_id);
ALTER TABLE ONLY public.texts_indexed
    ADD CONSTRAINT texts_indexed_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_hash_key UNIQUE (hash);
ALTER TABLE ONLY public.tokens
    ADD CONSTRAINT tokens_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.turn
    ADD CONSTRAINT turn_pkey PRIMARY KEY (one);
ALTER TABLE ONLY public.type_settings
    ADD CONSTRAINT type_settings_pkey PRIMARY KEY (type);
ALTER TABLE ONLY public.undos
    ADD CONSTRAINT undos_pkey PRIMARY KEY (token, job_id);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_issuer_subject_key UNIQUE (issuer, subject);
ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.webhooks
    ADD CONSTRAINT webhooks_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.weighing
    ADD CONSTRAINT weighing_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.worker_counts
    ADD CONSTRAINT worker_counts_pkey PRIMARY KEY (status);
ALTER TABLE ONLY public.worker_rates
    ADD CONSTRAINT worker_rates_pkey PRIMARY KEY (hour, worker_id, outcome);
ALTER TABLE ONLY public.worker_types
    ADD CONSTRAINT worker_types_pkey PRIMARY KEY (worker_id, type);
ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);
CREATE INDEX attempts_by_worker ON public.attempts USING btree (worker_id, started_at, job_id, attempt);
CREATE INDEX audit_by_subject ON public.audit USING btree (subject, id);
CREATE INDEX audit_by_time ON public.audit USING btree (at);
CREATE INDEX audit_of_marks ON public.audit USING btree (at, id) WHERE (action = ANY (ARRAY['type.pause'::text, 'type.resume'::text, 'type.set'::text, 'server.started'::text, 'server.stopped'::text]));
CREATE INDEX batch_jobs_by_job ON public.batch_jobs USING btree (job_id);
CREATE INDEX batches_by_callback ON public.batches USING btree (callback_to) WHERE ((callback_to IS NOT NULL) AND (ended_at IS NULL));
CREATE INDEX batches_by_name ON public.batches USING btree (name, id);
CREATE INDEX batches_going ON public.batches USING btree (id) WHERE (ended_at IS NULL);
CREATE UNIQUE INDEX batches_open ON public.batches USING btree (name) WHERE (closed_at IS NULL);
CREATE INDEX canaries_open ON public.canaries USING btree (id) WHERE (closed_at IS NULL);
CREATE INDEX claim_keys_by_age ON public.claim_keys USING btree (created_at);
CREATE INDEX deliveries_by_time ON public.deliveries USING btree (at, id);
CREATE INDEX deliveries_due ON public.deliveries USING btree (webhook, due_at, id) WHERE (state = 'waiting'::text);
CREATE INDEX deliveries_of_webhook ON public.deliveries USING btree (webhook, id);
CREATE INDEX doomed_objects_due ON public.doomed_objects USING btree (state, due_at);
CREATE INDEX files_keeping ON public.files USING btree (key) WHERE (keeping = 1);
CREATE INDEX files_unchecked ON public.files USING btree (key) WHERE (checked_at IS NULL);
CREATE INDEX group_lines_in_turn ON public.group_lines USING btree (type, lane, priority, rounds, turn, job) WHERE (ready > 0);
CREATE INDEX group_turns_by_turn ON public.group_turns USING btree (type, priority, turn);
CREATE INDEX idempotency_by_age ON public.idempotency USING btree (created_at);
CREATE INDEX job_tags_by_job ON public.job_tags USING btree (job_id);
CREATE INDEX job_texts_by_trigrams ON public.job_texts USING gin (trigrams);
CREATE INDEX jobs_by_converter ON public.jobs USING btree (made_by, status, type, priority, id) WHERE (made_by IS NOT NULL);
CREATE INDEX jobs_by_duration ON public.jobs USING btree (((completed_at - started_at)), id) WHERE (status = 'completed'::text);
CREATE INDEX jobs_by_failure ON public.jobs USING btree (failure, priority, id) WHERE (failure IS NOT NULL);
CREATE INDEX jobs_by_size ON public.jobs USING btree (source_size, id) WHERE (source_size >= 8388608);
CREATE UNIQUE INDEX jobs_by_source ON public.jobs USING btree (source_hash, type, options_hash);
CREATE INDEX jobs_by_tries ON public.jobs USING btree (attempts, id) WHERE (attempts > 1);
CREATE INDEX jobs_by_worker ON public.jobs USING btree (worker_id, priority, id) WHERE (worker_id IS NOT NULL);
CREATE INDEX jobs_compared ON public.jobs USING btree (priority, id) WHERE (compare_until IS NOT NULL);
CREATE INDEX jobs_compared_until ON public.jobs USING btree (compare_until) WHERE (compare_until IS NOT NULL);
CREATE INDEX jobs_ended ON public.jobs USING btree (status, completed_at) WHERE (completed_at IS NOT NULL);
CREATE INDEX jobs_held_up ON public.jobs USING btree (type, priority, id) WHERE ((status = 'pending'::text) AND (
CASE
    WHEN (avoid IS NOT NULL) THEN 1
    WHEN ((releases > 0) AND (not_before IS NOT NULL)) THEN 1
    ELSE NULL::integer
END = 1));
CREATE INDEX jobs_in_turn ON public.jobs USING btree (type, lane, priority, turn, id) WHERE ((status = 'pending'::text) AND (not_before IS NULL) AND (avoid IS NULL) AND (turn > 0));
CREATE INDEX jobs_kept ON public.jobs USING btree (type, priority, id) WHERE ((status = 'pending'::text) AND (avoid IS NOT NULL));
CREATE INDEX jobs_kept_in_lanes ON public.jobs USING btree (type, lane, priority, id) WHERE ((status = 'pending'::text) AND (avoid IS NOT NULL));
CREATE INDEX jobs_listed ON public.jobs USING btree (status, type, priority, id);
CREATE INDEX jobs_of_group ON public.jobs USING btree (type, lane, priority, of_group, turn, id) WHERE ((status = 'pending'::text) AND (not_before IS NULL) AND (avoid IS NULL) AND (turn > 0));
CREATE INDEX jobs_ready ON public.jobs USING btree (type, lane, priority, id) WHERE ((status = 'pending'::text) AND (not_before IS NULL) AND (avoid IS NULL));
CREATE INDEX jobs_requiring ON public.jobs USING btree (lane) WHERE (lane > 1);
CREATE INDEX jobs_running ON public.jobs USING btree (worker_id, id) WHERE (status = 'running'::text);
CREATE INDEX jobs_to_expire ON public.jobs USING btree (expires_at, id) WHERE ((expires_at IS NOT NULL) AND (status = ANY (ARRAY['pending'::text, 'uploading'::text])));
CREATE INDEX jobs_to_start ON public.jobs USING btree (not_before, id) WHERE ((status = 'pending'::text) AND (releases = 0) AND (not_before IS NOT NULL));
CREATE INDEX jobs_waiting ON public.jobs USING btree (id) WHERE ((not_before IS NOT NULL) OR (avoid_until IS NOT NULL));
CREATE INDEX kin_by_job ON public.kin USING btree (job_id);
CREATE INDEX kin_lent ON public.kin USING btree (parent, attempt) WHERE (lent = 1);
CREATE INDEX operations_ended ON public.operations USING btree (ended_at) WHERE (ended_at IS NOT NULL);
CREATE INDEX operations_open ON public.operations USING btree (id) WHERE (ended_at IS NULL);
CREATE INDEX operations_undoable ON public.operations USING btree (undo_until) WHERE (undo_until IS NOT NULL);
CREATE INDEX sessions_by_seen ON public.sessions USING btree (seen_at);
CREATE INDEX sessions_by_token ON public.sessions USING btree (token_id) WHERE (token_id IS NOT NULL);
CREATE INDEX sessions_by_user ON public.sessions USING btree (user_id) WHERE (user_id IS NOT NULL);
CREATE INDEX superseded_by_age ON public.superseded USING btree (at, job_id, attempt);
CREATE INDEX superseded_by_number ON public.superseded USING btree (newer, job_id, attempt);
CREATE INDEX tag_counts_by_bytes ON public.tag_counts USING btree (((source_bytes + output_bytes)) DESC, tag);
CREATE INDEX texts_to_index ON public.texts_changed USING btree (job_id) WHERE (large = 0);
CREATE INDEX undos_by_age ON public.undos USING btree (at);
CREATE INDEX worker_types_by_type ON public.worker_types USING btree (type, worker_id);
CREATE INDEX workers_contested ON public.workers USING btree (contested_at) WHERE (contested_at IS NOT NULL);
CREATE INDEX workers_online ON public.workers USING btree (type, id) WHERE (status = 'online'::text);
CREATE INDEX workers_quarantined ON public.workers USING btree (id) WHERE (quarantine IS NOT NULL);
CREATE TRIGGER group_jobs_changed AFTER UPDATE ON public.jobs REFERENCING OLD TABLE AS old_jobs NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION public.group_lines_follow();
CREATE TRIGGER group_jobs_gone AFTER DELETE ON public.jobs REFERENCING OLD TABLE AS old_jobs FOR EACH STATEMENT EXECUTE FUNCTION public.group_lines_follow();
CREATE TRIGGER group_jobs_made AFTER INSERT ON public.jobs REFERENCING NEW TABLE AS new_jobs FOR EACH STATEMENT EXECUTE FUNCTION public.group_lines_follow();
CREATE TRIGGER group_weights_changed AFTER UPDATE OF group_weights ON public.type_settings FOR EACH ROW WHEN ((new.group_weights IS DISTINCT FROM old.group_weights)) EXECUTE FUNCTION public.group_weights_follow();
CREATE TRIGGER group_weights_gone AFTER DELETE ON public.type_settings FOR EACH ROW WHEN ((old.group_weights IS NOT NULL)) EXECUTE FUNCTION public.group_weights_follow();
CREATE TRIGGER group_weights_set AFTER INSERT ON public.type_settings FOR EACH ROW WHEN ((new.group_weights IS NOT NULL)) EXECUTE FUNCTION public.group_weights_follow();
ALTER TABLE ONLY public.attempts
    ADD CONSTRAINT attempts_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.batch_counts
    ADD CONSTRAINT batch_counts_batch_fkey FOREIGN KEY (batch) REFERENCES public.batches(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.batch_jobs
    ADD CONSTRAINT batch_jobs_batch_fkey FOREIGN KEY (batch) REFERENCES public.batches(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.batch_jobs
    ADD CONSTRAINT batch_jobs_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.canary_jobs
    ADD CONSTRAINT canary_jobs_canary_id_fkey FOREIGN KEY (canary_id) REFERENCES public.canaries(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.deliveries
    ADD CONSTRAINT deliveries_webhook_fkey FOREIGN KEY (webhook) REFERENCES public.webhooks(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.job_paths
    ADD CONSTRAINT job_paths_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.job_tags
    ADD CONSTRAINT job_tags_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.kin
    ADD CONSTRAINT kin_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.operation_pages
    ADD CONSTRAINT operation_pages_operation_id_fkey FOREIGN KEY (operation_id) REFERENCES public.operations(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.results
    ADD CONSTRAINT results_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_token_id_fkey FOREIGN KEY (token_id) REFERENCES public.tokens(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.superseded
    ADD CONSTRAINT superseded_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;
