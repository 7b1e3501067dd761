"""What a transaction needs, and what it has changed, each in one statement with one parameter, whatever its size: a
JSON array of records with the keys c0, c1 and so on. The columns are those of `store/sql/sql.py`."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from blobforge.store.needs import LATEST_ENDS
from blobforge.store.postgres.spelling import only, running_on, spelled
from blobforge.store.sql import sql
from blobforge.store.sql.sql import ATTEMPT_COLUMNS, BATCH_COLUMNS, FILE_COLUMNS, JOB_COLUMNS, WORKER_COLUMNS

# Columns of jobs. What is no text is a number.
TEXTS: Final = frozenset({
    "type", "status", "source_hash", "source_path", "tags", "avoid", "metadata", "worker_id", "lease", "last_error",
    "output_key", "result", "progress", "replaced", "submitter", "upload_key", "options", "converter", "made_by",
    "requires", "of_group", "batches", "chain",
})  # fmt: skip


def _records(kinds: str) -> str:
    """The parameter as a table `e`. `kinds`: one letter a column, t(ext) or n(umber)."""
    columns = ", ".join(f"c{at} {'text' if kind == 't' else 'bigint'}" for at, kind in enumerate(kinds))
    return f"json_to_recordset($1::json) AS e({columns})"


def _all(kinds: str) -> str:
    return ", ".join(f"c{at}" for at in range(len(kinds)))


_IDS: Final = "= ANY($1::bigint[])"
_NAMES: Final = "= ANY(ARRAY(SELECT json_array_elements_text($1::json)))"
_READY: Final = "status = 'pending' AND not_before IS NULL AND avoid IS NULL"

# --- what is needed
JOBS: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id {_IDS}"
OF_SOURCES: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE source_hash {_NAMES}"
BESIDE: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs WHERE source_hash IN (SELECT of.source_hash FROM jobs AS of WHERE of.id {_IDS})"""
OF_WORKERS: Final = f"""
    SELECT held.* FROM json_array_elements_text($1::json) AS asked, LATERAL (
        {running_on(JOB_COLUMNS, "asked")}) AS held"""
# (type, lane, how many), and one more for each job of which the next one of its type may be asked for: of the lane
# without options, and of that with them. In claim order.
_ASKED: Final = f"""
    (SELECT type, lane, sum(most) AS most
       FROM (SELECT c0 AS type, c1 AS lane, c2 AS most FROM {_records("tnn")}
             UNION ALL SELECT type, 0, 1 FROM jobs WHERE id = ANY($2::bigint[])
             UNION ALL SELECT type, 1, 1 FROM jobs WHERE id = ANY($3::bigint[])) AS each
      GROUP BY type, lane) AS asked"""
# Priority by priority, each from its floor on (the last parameter: type, lane, a floor for each priority). They are
# walked in the order of their priorities, and no further than needed: sorting would need all of them to the end.
READY: Final = f"""
    SELECT next.*, asked.most
      FROM {_ASKED} LEFT JOIN json_to_recordset($5::json)
           AS f(c0 text, c1 bigint, c2 bigint, c3 bigint, c4 bigint, c5 bigint, c6 bigint)
           ON f.c0 = asked.type AND f.c1 = asked.lane,
      LATERAL (
        SELECT {JOB_COLUMNS}
          FROM (VALUES (1, c2), (2, c3), (3, c4), (4, c5), (5, c6)) AS line(at, floor), LATERAL (
               SELECT * FROM jobs
                WHERE {_READY} AND type = asked.type AND jobs.lane = asked.lane AND {only("priority", "line.at")}
                  AND id >= coalesce(line.floor, 0)
                ORDER BY priority, id LIMIT least(asked.most, $4::bigint)) AS jobs
         LIMIT least(asked.most, $4::bigint)) AS next"""
KEPT: Final = f"""
    SELECT next.* FROM {_ASKED}, LATERAL (
        SELECT {JOB_COLUMNS} FROM jobs WHERE status = 'pending' AND avoid IS NOT NULL AND type = asked.type
               AND jobs.lane = asked.lane
         ORDER BY priority, id LIMIT $4::bigint) AS next"""
# The first of a group of lines (type, lane, a floor for each priority), as one in claim order.
_WHOLE: Final = ", ".join(f"jobs.{column}" for column in JOB_COLUMNS.split(", "))
_OF_NEXT: Final = ", ".join(f"next.{column}" for column in JOB_COLUMNS.split(", "))
_FLOORS: Final = """json_to_recordset($1::json)
           AS f(c0 text, c1 bigint, c2 bigint, c3 bigint, c4 bigint, c5 bigint, c6 bigint)"""
READY_OF_GROUP: Final = f"""
    SELECT {_WHOLE}
      FROM (SELECT next.id, next.priority
              FROM {_FLOORS}, LATERAL (
                   SELECT each.id, each.priority
                     FROM (VALUES (1, c2), (2, c3), (3, c4), (4, c5), (5, c6)) AS line(at, floor), LATERAL (
                          SELECT id, priority FROM jobs
                           WHERE {_READY} AND type = f.c0 AND jobs.lane = f.c1 AND {only("priority", "line.at")}
                             AND id >= coalesce(line.floor, 0)
                           ORDER BY priority, id LIMIT $2::bigint) AS each
                    LIMIT $2::bigint) AS next
             ORDER BY next.priority, next.id LIMIT $2::bigint) AS first
      JOIN jobs ON jobs.id = first.id ORDER BY first.priority, first.id"""
# Where none is kept, which is most of the time, it looks once, and not into each line.
KEPT_OF_GROUP: Final = f"""
    SELECT {_WHOLE}
      FROM (SELECT next.id, next.priority
              FROM {_records("tn")}, LATERAL (
                   SELECT id, priority FROM jobs
                    WHERE status = 'pending' AND avoid IS NOT NULL AND type = e.c0 AND jobs.lane = e.c1
                    ORDER BY priority, id LIMIT $2::bigint) AS next
             WHERE EXISTS (SELECT 1 FROM jobs WHERE status = 'pending' AND avoid IS NOT NULL)
             ORDER BY next.priority, next.id LIMIT $2::bigint) AS first
      JOIN jobs ON jobs.id = first.id ORDER BY first.priority, first.id"""
# Of lines whose jobs take turns, (type, lane): the groups whose first ready jobs come next, so many, with how many
# they have ready and how many run; and of each the jobs that may be among the next ones. `picks` are by the round
# that a group is in once as many more of its jobs run; of those of one round it is not known yet which come first.
# None of a group are looked at beyond the round (`reach`) up to which there are as many as are asked for.
# Before each job the group's priority, lane, name and figures, and the place of the last group, if there may be more.
_NEXT_OF_GROUP: Final = f"""
          SELECT {_OF_NEXT} FROM jobs AS next
           WHERE next.status = 'pending' AND next.not_before IS NULL AND next.avoid IS NULL AND next.turn > 0
             AND next.type = g.type AND next.lane = g.lane AND next.priority = g.priority
             AND {only("next.of_group", "g.of_group")} AND next.turn >= g.turn
           ORDER BY next.of_group, next.turn, next.id"""
READY_IN_TURN: Final = f"""
    WITH first AS MATERIALIZED (
        SELECT next.* FROM {_records("tn")}, LATERAL (
               SELECT type, lane, priority, of_group, ready, running, weight, rounds, turn, job FROM group_lines
                WHERE ready > 0 AND type = e.c0 AND group_lines.lane = e.c1
                ORDER BY priority, rounds, turn, job LIMIT $2::bigint) AS next
         ORDER BY next.priority, next.rounds, next.turn, next.job LIMIT $2::bigint),
    reach AS MATERIALIZED (
        SELECT priority, min(r) AS r FROM (
               SELECT priority, r, (SELECT sum(least(f.ready, greatest(0, (r + 1) * f.weight - f.running)))
                                      FROM first AS f WHERE f.priority = of.priority) AS upto
                 FROM (SELECT priority, min(rounds) + (1 << k) - 1 AS r FROM first, generate_series(0, 10) AS k
                        GROUP BY priority, k) AS of) AS each
         WHERE upto >= $2::bigint GROUP BY priority),
    picks AS (
        SELECT first.*, n, rank() OVER (ORDER BY first.priority, (running + n) / weight) AS at
          FROM first LEFT JOIN reach ON reach.priority = first.priority,
               LATERAL generate_series(0, least(
                   ready, $2::bigint, greatest(1, coalesce((reach.r + 1) * weight - running, ready))) - 1) AS n),
    g AS MATERIALIZED (
        SELECT type, lane, priority, of_group, ready, running, turn, count(*) AS many
          FROM picks WHERE at <= $2::bigint OR n = 0 GROUP BY 1, 2, 3, 4, 5, 6, 7),
    last AS (
        SELECT json_build_array(priority, rounds, turn, job)::text AS place FROM first
         WHERE (SELECT count(*) FROM first) >= $2::bigint
         ORDER BY priority DESC, rounds DESC, turn DESC, job DESC LIMIT 1)
    SELECT g.priority, g.of_group, g.lane, g.ready, g.running, (SELECT place FROM last), jobs.*
      FROM g, LATERAL ({_NEXT_OF_GROUP} LIMIT g.many) AS jobs"""
# The same for one job: the first one of the first group.
FIRST_IN_TURN: Final = f"""
    SELECT first.priority, first.of_group, first.lane, first.ready, first.running,
           json_build_array(first.priority, first.rounds, first.turn, first.job)::text, {_WHOLE}
      FROM (SELECT next.* FROM {_records("tn")}, LATERAL (
                   SELECT lane, priority, of_group, ready, running, rounds, turn, job FROM group_lines
                    WHERE ready > 0 AND type = e.c0 AND group_lines.lane = e.c1
                    ORDER BY priority, rounds, turn, job LIMIT 1) AS next
             ORDER BY next.priority, next.rounds, next.turn, next.job LIMIT 1) AS first
      JOIN jobs ON jobs.id = first.job"""
# The groups of jobs in hand that run, by their ids, in each lane: how many jobs are ready there, how many run of the
# group, and the first one that is ready, NULL where none is. Each is looked up by itself, however the plan was made.
GROUPS_IN_HAND: Final = f"""
    SELECT g.type, g.priority, g.of_group, g.lane, g.ready, g.running, {_WHOLE}
      FROM (SELECT DISTINCT type, priority, of_group FROM jobs
             WHERE id {_IDS} AND turn > 0 AND status = 'running') AS of,
           LATERAL (SELECT * FROM group_lines AS each
                     WHERE each.type = of.type AND each.priority = of.priority AND each.of_group = of.of_group
                     ORDER BY each.type, each.priority, each.of_group, each.lane) AS g
           LEFT JOIN LATERAL (SELECT * FROM jobs AS each WHERE each.id = g.job ORDER BY each.id) AS jobs ON true"""
# The last column: how many jobs without a group run.
CLOCKS: Final = f"""
    SELECT type, priority, now, alone,
           (SELECT coalesce(sum(n), 0)::bigint FROM job_counts AS k
             WHERE k.status = 'running' AND k.type = c.type AND k.priority = c.priority)
           - coalesce((SELECT running FROM group_runs AS r WHERE r.type = c.type AND r.priority = c.priority), 0)
      FROM group_clocks AS c WHERE c.type {_NAMES}"""
RUNS: Final = f"""
    SELECT DISTINCT type, priority, of_group, running FROM {_records("tnt")}
      JOIN group_lines ON type = c0 AND priority = c1 AND of_group = c2"""
TURNS: Final = f"""
    SELECT type, priority, of_group, turn FROM {_records("tnt")}
      JOIN group_turns ON type = c0 AND priority = c1 AND of_group = c2"""
# The last column: the types that it has asked for beside its own, a JSON array.
WORKERS: Final = f"""
    SELECT {WORKER_COLUMNS}, (SELECT json_agg(t.type)::text FROM worker_types AS t WHERE t.worker_id = workers.id)
      FROM workers WHERE id {_NAMES}"""
# (worker, JSON array of how its latest attempts have ended).
LATEST: Final = f"""
    SELECT asked, (
        SELECT json_agg(json_build_array(a.job_id, jobs.type, a.started_at, a.ended_at, a.outcome))::text
          FROM (SELECT * FROM attempts WHERE {only("worker_id", "asked")}
                 ORDER BY worker_id DESC, started_at DESC, job_id DESC, attempt DESC LIMIT {LATEST_ENDS}) AS a
          JOIN jobs ON jobs.id = a.job_id WHERE a.outcome IN ('completed', 'failed', 'lost'))
      FROM json_array_elements_text($1::json) AS asked"""
ATTEMPTS: Final = f"""
    SELECT {ATTEMPT_COLUMNS} FROM {_records("nn")} JOIN attempts ON job_id = c0 AND attempt = c1"""
FILES: Final = f"SELECT key, {FILE_COLUMNS} FROM files WHERE key {_NAMES}"
SOURCE_FILES: Final = f"""
    SELECT 'sources/' || jobs.source_hash, {FILE_COLUMNS}
      FROM jobs LEFT JOIN files ON files.key = 'sources/' || jobs.source_hash WHERE jobs.id {_IDS}"""
DOOMS: Final = f"SELECT key, state, tries, epoch, again FROM doomed_objects WHERE key {_NAMES}"
PATHS: Final = f"""
    SELECT jobs.source_hash, p.path, array_to_json(array_agg(jobs.id))::text
      FROM {_records("tt")} JOIN jobs ON jobs.source_hash = c0
      JOIN job_paths AS p ON p.job_id = jobs.id AND p.path = c1
     GROUP BY 1, 2"""
BATCHES: Final = f"SELECT {BATCH_COLUMNS} FROM batches AS b WHERE id {_IDS}"
CLAIM_KEYS: Final = f"""
    SELECT worker_id, claim_key, jobs FROM {_records("tt")} JOIN claim_keys ON worker_id = c0 AND claim_key = c1"""
# What those claims were given: a claim that is repeated looks at it.
OF_CLAIM_KEYS: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs WHERE id = ANY(ARRAY(
        SELECT (json_array_elements(k.jobs::json) ->> 0)::bigint
          FROM {_records("tt")} JOIN claim_keys AS k ON k.worker_id = c0 AND k.claim_key = c1))"""
REPEATED: Final = f"""
    SELECT subject, key, fingerprint, outcome, created_at FROM {_records("tt")}
      JOIN idempotency ON subject = c0 AND key = c1"""
CAUSES: Final = f"SELECT fingerprint, id FROM failures WHERE fingerprint {_NAMES}"
LOADS: Final = f"""
    SELECT type,
           (SELECT coalesce(sum(n), 0) FROM job_counts WHERE status = 'running' AND job_counts.type = t.type)::bigint,
           owed, owed_at
      FROM type_settings AS t WHERE type {_NAMES}"""


# How many were completed by hour, since the first failure in a row, and in the latest day: the clock may have been
# set back, and a row that begins now is of an earlier hour than the one before.
def _rows_in_a_row(types: str) -> str:
    return f"""
    SELECT asked.type, b.state, (
        SELECT json_agg(json_build_array(slot, n))::text FROM happenings AS h
         WHERE h.step = 3600 AND h.type = asked.type AND h.what = 'completed'
           AND h.slot >= least(b.hour, (SELECT max(slot) - 24 FROM happenings WHERE step = 3600)))
      FROM ({types}) AS asked LEFT JOIN breakers AS b ON b.type = asked.type"""


ROWS_OF_TYPES: Final = _rows_in_a_row("SELECT type FROM json_array_elements_text($1::json) AS each(type)")
ROWS_OF_JOBS: Final = _rows_in_a_row(f"SELECT DISTINCT type FROM jobs WHERE id {_IDS}")
CAUSES_SO_FAR: Final = "SELECT count(*), coalesce(max(id), 0) FROM failures"
# By so many of the last attempts of each.
FAILED: Final = """
    SELECT DISTINCT job_id, worker_id
      FROM unnest($1::bigint[]) AS asked, LATERAL (
           SELECT job_id, worker_id, outcome, kind FROM attempts WHERE job_id = asked
            ORDER BY attempt DESC LIMIT $2::bigint) AS last
     WHERE outcome = 'failed' OR (outcome = 'released' AND kind = 'trouble')
     ORDER BY job_id, worker_id"""
HIGHEST_JOB: Final = "SELECT job FROM turn WHERE one = 1"
GIVE_JOBS: Final = "UPDATE turn SET job = greatest(job, $1) WHERE one = 1"


# --- what has changed
def _guarded(write: str) -> str:
    """Fails where the write does not find all rows as they were read: nothing else can keep the COMMIT that is sent
    along from being done."""
    return f"WITH done AS ({write} RETURNING 1) SELECT 1 / (count(*) = json_array_length($1::json))::int FROM done"


@lru_cache(maxsize=256)
def move_jobs(columns: tuple[str, ...]) -> str:
    """Jobs that were read in that status and attempt (the first three values: id, status, attempt) get these
    columns."""
    moved = ", ".join(f"{column} = e.c{at}" for at, column in enumerate(columns, start=3))
    kinds = "ntn" + "".join("t" if column in TEXTS else "n" for column in columns)
    return _guarded(f"""
        UPDATE jobs SET {moved} FROM {_records(kinds)}
         WHERE jobs.id = e.c0 AND jobs.status = e.c1 AND jobs.attempt = e.c2""")


DELETE_JOBS: Final = _guarded(f"""
    DELETE FROM jobs USING {_records("ntn")}
     WHERE jobs.id = e.c0 AND jobs.status = e.c1 AND jobs.attempt = e.c2""")
JOB_STATES: Final = f"SELECT id, status, attempt FROM jobs WHERE id {_IDS}"


def _insert(table: str, columns: str, kinds: str, more: str = "") -> str:
    return f"INSERT INTO {table} ({columns}) SELECT {_all(kinds)} FROM {_records(kinds)} {more}"


INSERT_JOBS: Final = _insert(
    "jobs",
    "id, type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path, source_size, tags,"
    " metadata, submitter, output_bytes, options, options_hash, requires, lane, not_before, of_group, turn,"
    " expires_at, batches, chain",
    "nttntnnntntttntttnntnntt",
)
INSERT_JOB_TAGS: Final = _insert("job_tags", "tag, job_id", "tn", "ON CONFLICT DO NOTHING")
CHANGE_TEXTS: Final = _insert("texts_changed", "job_id", "n", "ON CONFLICT (job_id) DO UPDATE SET large = 0")
JOIN_BATCHES: Final = _insert("batch_jobs", "batch, job_id", "nn", "ON CONFLICT DO NOTHING")
ADD_KIN: Final = _insert("kin", "parent, attempt, step, name, job_id, lent", "nnntnn", "ON CONFLICT DO NOTHING")
COUNT_FAMILIES: Final = _insert(
    "families", "root, jobs", "nn", "ON CONFLICT (root) DO UPDATE SET jobs = families.jobs + excluded.jobs"
)
LESSEN_FAMILIES: Final = f"UPDATE families SET gone = gone + c1 FROM {_records('nn')} WHERE families.root = c0"
DROP_FAMILIES: Final = f"DELETE FROM families USING {_records('n')} WHERE families.root = c0 AND gone > jobs"
LEAVE_BATCHES: Final = f"""
    DELETE FROM batch_jobs USING {_records("nn")} WHERE batch_jobs.batch = c0 AND batch_jobs.job_id = c1"""
START_BATCHES: Final = f"""
    UPDATE batches SET started_at = c1 FROM {_records("nn")} WHERE batches.id = c0 AND started_at IS NULL"""
SAVE_BATCHES: Final = f"""
    UPDATE batches SET closed_at = c1, ended_at = c2, endings = c3 FROM {_records("nnnn")} WHERE batches.id = c0"""
DELETE_JOB_TAGS: Final = (
    f"DELETE FROM job_tags USING {_records('tn')} WHERE job_tags.tag = c0 AND job_tags.job_id = c1"
)
ADD_JOB_PATHS: Final = _insert("job_paths", "job_id, n, path", "nnt")
# The last value: which of its job's attempts in this statement it is, from 1 on.
START_ATTEMPTS: Final = f"""
    INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, output_key, converter, ordinal)
    SELECT c0, c1, c2, c3, c4, c5, c6, c7 + coalesce(
           (SELECT coalesce(ordinal, attempt) FROM attempts WHERE job_id = c0 ORDER BY attempt DESC LIMIT 1), 0)
      FROM {_records("nnttnttn")}"""
END_ATTEMPTS: Final = f"""
    UPDATE attempts SET ended_at = c2, outcome = c3, kind = c4, error = c5, traceback = c6, log_tail = c7,
                        converter = c8, failure = c9, given_back = c10
      FROM {_records("nnnttttttnn")} WHERE attempts.job_id = c0 AND attempts.attempt = c1"""
DROP_RESULTS: Final = f"""
    DELETE FROM results USING {_records("nn")} WHERE results.job_id = c0 AND results.attempt = c1"""
DROP_RESULTS_BUT: Final = f"""
    DELETE FROM results USING {_records("nn")} WHERE results.job_id = c0 AND results.attempt IS DISTINCT FROM c1"""
KEEP_RESULT: Final = "INSERT INTO results (job_id, attempt, result) VALUES ($1, $2, $3)"
FORGET_FILES: Final = f"DELETE FROM files WHERE key {_NAMES}"
RECORD_FILES: Final = _insert(
    "files",
    "key, size, sha256, job_id, attempt, created_at, checked_at, etag, version, keeping",
    "tntnnnnttn",
    """ON CONFLICT (key) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256,
        checked_at = excluded.checked_at, etag = excluded.etag, version = excluded.version,
        keeping = excluded.keeping""",
)
KEEP_FILES: Final = f"UPDATE files SET kept = c1, keeping = 0 FROM {_records('tt')} WHERE files.key = c0"
SAVE_WORKERS: Final = _insert(
    "workers",
    WORKER_COLUMNS,
    "tttnntnntttntnntntttttn",
    """ON CONFLICT (id) DO UPDATE SET type = excluded.type, status = excluded.status,
        updated_at = excluded.updated_at, name = excluded.name, enabled = excluded.enabled,
        last_heartbeat = excluded.last_heartbeat, metadata = excluded.metadata, labels = excluded.labels,
        version = excluded.version, token_id = excluded.token_id, secret_hash = excluded.secret_hash,
        drain = excluded.drain, registered = excluded.registered, instance = excluded.instance,
        contested_at = excluded.contested_at, contested_by = excluded.contested_by, accepts = excluded.accepts,
        converter = excluded.converter, quarantine = excluded.quarantine, readmitted_at = excluded.readmitted_at""",
)
BEAT_WORKERS: Final = f"""
    UPDATE workers SET last_heartbeat = c1, updated_at = c2 FROM {_records("tnn")} WHERE workers.id = c0"""
SAVE_OWED: Final = f"""
    UPDATE type_settings SET owed = c1, owed_at = c2 FROM {_records("tnn")} WHERE type_settings.type = c0"""
SAVE_ROWS: Final = _insert(
    "breakers",
    "type, hour, state",
    "tnt",
    "ON CONFLICT (type) DO UPDATE SET hour = excluded.hour, state = excluded.state",
)
SAVE_CLOCKS: Final = _insert(
    "group_clocks",
    "type, priority, now, alone",
    "tnnn",
    "ON CONFLICT (type, priority) DO UPDATE SET now = excluded.now, alone = excluded.alone",
)
SAVE_TURNS: Final = _insert(
    "group_turns",
    "type, priority, of_group, turn",
    "tntn",
    "ON CONFLICT (type, priority, of_group) DO UPDATE SET turn = excluded.turn",
)
FORGET_TURNS: Final = spelled(sql.FORGET_TURNS)
DELETE_WORKERS: Final = f"DELETE FROM workers WHERE id {_NAMES}"
FORGET_WORKER_TYPES: Final = f"DELETE FROM worker_types WHERE worker_id {_NAMES}"
ADD_WORKER_TYPES: Final = _insert("worker_types", "worker_id, type", "tt", "ON CONFLICT DO NOTHING")
INSERT_CAUSES: Final = _insert(
    "failures", "id, fingerprint, kind, place, example, first_seen, last_seen, n", "nttttnnn"
)
SEE_CAUSES: Final = f"""
    UPDATE failures SET last_seen = greatest(last_seen, c3), first_seen = least(first_seen, c2), n = n + c4,
                        example = CASE WHEN c3 >= last_seen THEN c1 ELSE example END
      FROM {_records("ntnnn")} WHERE failures.id = c0"""
SAVE_CLAIM_KEYS: Final = _insert(
    "claim_keys",
    "worker_id, claim_key, jobs, created_at",
    "tttn",
    "ON CONFLICT (worker_id, claim_key) DO UPDATE SET jobs = excluded.jobs, created_at = excluded.created_at",
)
SAVE_REPEATED: Final = """
    INSERT INTO idempotency (subject, key, fingerprint, outcome, created_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (subject, key) DO UPDATE SET fingerprint = excluded.fingerprint, outcome = excluded.outcome,
        created_at = excluded.created_at"""
SAVE_UNDOS: Final = _insert("undos", "token, job_id, was, became, at", "tnttn", "ON CONFLICT DO NOTHING")
INSERT_AUDIT: Final = _insert("audit", "at, actor, name, address, action, subject, detail", "ntttttt")
INSERT_DELIVERIES: Final = _insert("deliveries", "webhook, event, at, data, due_at, sealed", "ntntnt")


def _moved(table: str, keys: str, kinds: str, weighed: tuple[str, ...] = (), *, least: str = "") -> str:
    """A counter of what is there never falls below zero (the schema says so): an upsert of a negative number would be
    refused before it was added. `weighed`: further counters of the row, which may. `least`: of one that servers of an
    older release do not move, and may be too low."""
    at = len(kinds)
    n = f"coalesce(c.n, 0) + c{at}"
    same = " AND ".join(f"c.{key} = c{index}" for index, key in enumerate(keys.split(", ")))
    more = "".join(f", {name}" for name in weighed)
    values = "".join(f", e.c{index}" for index in range(at + 1, at + 1 + len(weighed)))
    added = "".join(f", {name} = {table}.{name} + excluded.{name}" for name in weighed)
    return f"""
    INSERT INTO {table} ({keys}, n{more}) SELECT {_all(kinds)}, {f"greatest({n}, {least})" if least else n}{values}
      FROM {_records(kinds + "n" * (1 + len(weighed)))} LEFT JOIN {table} AS c ON {same}
    ON CONFLICT ({keys}) DO UPDATE SET n = excluded.n{added}"""


def _added(table: str, keys: str, kinds: str) -> str:
    return _insert(table, f"{keys}, n", kinds + "n", f"ON CONFLICT ({keys}) DO UPDATE SET n = {table}.n + excluded.n")


_BYTES: Final = ("source_bytes", "output_bytes")
MOVE_JOB_COUNTS: Final = _moved("job_counts", "status, type, priority", "ttn", _BYTES)
MOVE_TAG_COUNTS: Final = _moved("tag_counts", "tag", "t", _BYTES, least="0")
MOVE_BATCH_COUNTS: Final = _moved("batch_counts", "batch, status, type", "ntt", least="0")
MOVE_CONVERTER_COUNTS: Final = _moved("converter_counts", "made_by, status, type, priority", "tttn", least="0")
MOVE_DEFERRED_COUNTS: Final = _moved("deferred_counts", "type, priority", "tn", least="0")
MOVE_FAILURE_COUNTS: Final = _moved("failure_counts", "failure, status", "nt")
MOVE_WORKER_COUNTS: Final = _moved("worker_counts", "status", "t")
ADD_HAPPENINGS: Final = _added("happenings", "step, slot, type, what", "nntt")
ADD_WORKER_RATES: Final = _added("worker_rates", "hour, worker_id, outcome", "ntt")
ADD_SPLITS: Final = _added("splits", "step, slot, type, what, part", "nnttn")
NOTE_HOURS: Final = _insert(
    "job_hours",
    "hour, first_id, last_id",
    "nnn",
    """ON CONFLICT (hour) DO UPDATE SET first_id = least(job_hours.first_id, excluded.first_id),
        last_id = greatest(job_hours.last_id, excluded.last_id)""",
)
