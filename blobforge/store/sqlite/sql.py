"""All SQL of the engine, named: no module outside this package spells or runs a statement. What opens the file, and
begins and ends a transaction, stands where that is done; what checks a database stands beside the sentence that it
proves, in `invariants.py`.

Updates are guarded by the state that the transition started from: `changes()` says whether it still held.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

JOB_COLUMNS: Final = (
    "id, type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path, source_size,"
    " tags, avoid, metadata, attempts, losses, attempt, worker_id, lease, heartbeat_at, started_at, completed_at,"
    " not_before, last_error, output_key, result, progress, failure, progress_at, releases, avoid_until,"
    " kept_attempt, replaced, submitter, upload_key, result_size, write_once"
)
# Of a list that shows no more than these: what submitters and workers write at length stays on the disk.
_LONG: Final = frozenset({"metadata", "last_error", "result", "replaced"})
SHORT_COLUMNS: Final = ", ".join(f"NULL AS {name}" if name in _LONG else name for name in JOB_COLUMNS.split(", "))
# Older releases stored no keys: they had them all alike.
_ATTEMPTS_KEY: Final = "coalesce(output_key, 'outputs/' || job_id || '/' || attempt || '/output')"
ATTEMPT_COLUMNS: Final = (
    "job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, error, traceback, log_tail,"
    f" {_ATTEMPTS_KEY}"
)
WORKER_COLUMNS: Final = (
    "id, type, status, created_at, updated_at, name, enabled, last_heartbeat, metadata, labels, version,"
    " token_id, secret_hash, drain, registered, instance, contested_at, contested_by,"
    " bound_type"
)
USER_COLUMNS: Final = "id, issuer, subject, email, name, groups, is_admin, created_at, last_login_at"
SESSION_COLUMNS: Final = (
    "hash, user_id, token_id, created_at, seen_at, checked_at, expires_at, sealed, address, agent"
)
FILE_COLUMNS: Final = "size, sha256, checked_at, etag, version, kept, keeping"
TOKEN_COLUMNS: Final = "id, name, hash, prefix, scopes, created_at, expires_at, last_used_at"

# --- jobs
JOB: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?"
# So many at once; of fewer, the last stands there again.
MANY: Final = 500
_ANY_OF_MANY: Final = f"IN ({', '.join('?' * MANY)})"
MANY_JOBS: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id {_ANY_OF_MANY}"
JOB_BY_SOURCE: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE source_hash = ? AND type = ?"
# Of these hashes, those whose source is held to be there.
HELD_SOURCES: Final = """
    SELECT asked.value FROM json_each(?) AS asked
     WHERE EXISTS (SELECT 1 FROM jobs WHERE source_hash = asked.value AND status <> 'uploading')"""
# There is one lane today.
_READY: Final = "status = 'pending' AND not_before IS NULL AND avoid IS NULL AND type = ? AND lane = 0"
# In the same order, those that are kept from some workers.
# The workers that have failed a job, or could not do it, by the last of its attempts.
# Some of them twice: those that have asked for their own type, too.
ONLINE_WORKERS: Final = """
    SELECT id FROM workers WHERE status = 'online' AND enabled AND type = ?1
    UNION ALL
    SELECT w.id FROM worker_types AS t JOIN workers AS w ON w.id = t.worker_id
     WHERE t.type = ?1 AND w.status = 'online' AND w.enabled
     LIMIT ?2"""
JOB_IN_SHORT: Final = f"SELECT {SHORT_COLUMNS} FROM jobs WHERE id = ?"
RUNNING_ON: Final = "SELECT id FROM jobs WHERE status = 'running' AND worker_id = ? ORDER BY id LIMIT ?"

# --- attempts
ATTEMPTS: Final = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? ORDER BY attempt"
ATTEMPTS_BELOW: Final = f"""
    SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? AND attempt < ? ORDER BY attempt DESC LIMIT ?"""
# Of a timeline: the beginning of the error is all of it that is shown.
ATTEMPTS_IN_SHORT: Final = f"""
    SELECT job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, substr(error, 1, 2000), NULL, NULL,
           {_ATTEMPTS_KEY}
      FROM attempts WHERE job_id = ? AND attempt < ? ORDER BY attempt DESC LIMIT ?"""
ATTEMPTS_SO_FAR: Final = """
    SELECT coalesce(ordinal, attempt) FROM attempts WHERE job_id = ? ORDER BY attempt DESC LIMIT 1"""
LATEST_ATTEMPTS: Final = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? ORDER BY attempt DESC LIMIT ?"
ATTEMPTS_OF_WORKER: Final = """
    SELECT a.job_id, a.attempt, jobs.type, a.started_at, a.ended_at, a.outcome, a.kind, substr(a.error, 1, 2000),
           jobs.source_path
      FROM attempts AS a INDEXED BY attempts_by_worker JOIN jobs ON jobs.id = a.job_id
     WHERE a.worker_id = ? AND (a.started_at, a.job_id, a.attempt) < (?, ?, ?)
     ORDER BY a.started_at DESC, a.job_id DESC, a.attempt DESC LIMIT ?"""
# Attempts of a job are added in their order.
_ORDINAL: Final = (
    "1 + coalesce((SELECT coalesce(ordinal, attempt) FROM attempts WHERE job_id = ?1 "
    "ORDER BY attempt DESC LIMIT 1), 0)"
)
OUTPUT_KEYS: Final = f"SELECT {_ATTEMPTS_KEY} FROM attempts WHERE job_id = ?"

# --- results that are kept aside
KEEP_RESULT: Final = "INSERT INTO results (job_id, attempt, result) VALUES (?, ?, ?)"
RESULTS_OF_JOB: Final = "SELECT attempt, result FROM results WHERE job_id = ? ORDER BY attempt"
RESULT: Final = "SELECT result FROM results WHERE job_id = ? AND attempt = ?"
# As JSON, the two members that say what the output is.
RESULT_NAMES: Final = """
    SELECT json_object('filename', result -> '$.filename', 'content_type', result -> '$.content_type')
      FROM results WHERE job_id = ? AND attempt = ?"""


# --- what a transaction needs, all of it in one statement: "SELECT" and those of these parts that are asked for, each
# one value, a JSON array of rows. SQLite hands the interpreter's lock over with each row that it gives.
def _rows_of(columns: str, rest: str) -> str:
    return f"(SELECT json_group_array(json_array({columns})) FROM {rest})"


_THESE: Final = "IN (SELECT value FROM json_each(?))"
# By their ids, by the hashes of their sources, by the workers that run them.
NEEDED_JOBS: Final = _rows_of(JOB_COLUMNS, f"jobs WHERE id {_THESE}")
NEEDED_OF_SOURCES: Final = _rows_of(
    JOB_COLUMNS, f"(SELECT * FROM jobs WHERE source_hash {_THESE} ORDER BY source_hash, type)"
)
NEEDED_OF_WORKERS: Final = _rows_of(
    JOB_COLUMNS, f"jobs INDEXED BY jobs_running WHERE status = 'running' AND worker_id {_THESE}"
)
NEEDED_READY: Final = _rows_of(
    JOB_COLUMNS,
    f"(SELECT * FROM jobs INDEXED BY jobs_ready WHERE {_READY} ORDER BY priority, id LIMIT ?)",
)
NEEDED_KEPT: Final = _rows_of(
    JOB_COLUMNS,
    "(SELECT * FROM jobs INDEXED BY jobs_kept WHERE status = 'pending' AND avoid IS NOT NULL AND type = ?"
    " ORDER BY priority, id LIMIT ?)",
)
NEEDED_WORKERS: Final = _rows_of(WORKER_COLUMNS, f"workers WHERE id {_THESE}")
# (job, attempt) pairs.
NEEDED_ATTEMPTS: Final = _rows_of(
    ATTEMPT_COLUMNS,
    "attempts WHERE (job_id, attempt) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
)
NEEDED_FILES: Final = _rows_of(f"key, {FILE_COLUMNS}", f"files WHERE key {_THESE}")
NEEDED_SOURCE_FILES: Final = _rows_of(
    f"'sources/' || jobs.source_hash, {FILE_COLUMNS}",
    f"jobs LEFT JOIN files ON files.key = 'sources/' || jobs.source_hash WHERE jobs.id {_THESE}",
)
NEEDED_DOOMS: Final = _rows_of("key, state, tries, epoch, again", f"doomed_objects WHERE key {_THESE}")
NEEDED_CLAIM_KEYS: Final = _rows_of(
    "worker_id, claim_key, jobs",
    "claim_keys WHERE (worker_id, claim_key) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))",
)
# By itself: an outcome has up to some MiB, and as JSON it would be there four times at once.
NEEDED_REPEATED: Final = """
    SELECT subject, key, fingerprint, outcome, created_at FROM idempotency
     WHERE (subject, key) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"""
# Which workers have failed each of these jobs, or could not do it, by the last of its attempts.
NEEDED_FAILED: Final = _rows_of(
    "job_id, worker_id",
    f"""(SELECT DISTINCT job_id, worker_id
           FROM (SELECT job_id, worker_id, outcome, kind,
                        row_number() OVER (PARTITION BY job_id ORDER BY attempt DESC) AS back
                   FROM attempts WHERE job_id {_THESE})
          WHERE back <= ? AND (outcome = 'failed' OR (outcome = 'released' AND kind = 'trouble'))
          ORDER BY job_id, worker_id)""",
)
NEEDED_SEQUENCE: Final = "(SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'jobs')"

# --- what a transaction has changed, each table in one statement: JSON arrays of values in the order of the columns
_EACH: Final = "FROM json_each(?) AS each"


def _values(first: int, last: int) -> str:
    return ", ".join(f"each.value ->> {at}" for at in range(first, last))


@lru_cache(maxsize=256)
def move_jobs(columns: tuple[str, ...]) -> str:
    """Jobs that were read in that status and attempt (the first three values: id, status, attempt) get these columns.

    A column that is named is written to each index that has it, changed or not: so only those are that have changed.
    """
    moved = ", ".join(f"{column} = each.value ->> {at}" for at, column in enumerate(columns, start=3))
    return f"""
        UPDATE jobs SET {moved} {_EACH}
         WHERE jobs.id = each.value ->> 0 AND jobs.status = each.value ->> 1 AND jobs.attempt = each.value ->> 2"""


@lru_cache(maxsize=256)
def move_job(columns: tuple[str, ...]) -> str:
    """The same of one job: the columns, then the guard."""
    moved = ", ".join(f"{column} = ?" for column in columns)
    return f"UPDATE jobs SET {moved} WHERE id = ? AND status = ? AND attempt = ?"


JOB_STATES: Final = f"SELECT id, status, attempt FROM jobs WHERE id {_THESE}"
INSERT_JOBS: Final = f"""
    INSERT INTO jobs (id, type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path,
                      source_size, tags, metadata, submitter)
    SELECT {_values(0, 13)} {_EACH} ORDER BY each.key"""
INSERT_JOB_TAGS: Final = f"INSERT OR IGNORE INTO job_tags (tag, job_id) SELECT {_values(0, 2)} {_EACH}"
# Their tags, attempts and results go along.
DELETE_JOBS: Final = """
    DELETE FROM jobs WHERE id IN (
        SELECT jobs.id FROM json_each(?) AS each JOIN jobs
            ON jobs.id = each.value ->> 0 AND jobs.status = each.value ->> 1 AND jobs.attempt = each.value ->> 2)"""
# Attempts of a job are added in their order; the first one needs no look at others.
START_ATTEMPTS: Final = f"""
    INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, output_key, ordinal)
    SELECT {_values(0, 6)},
           CASE WHEN each.value ->> 1 = 1 THEN 1 ELSE
               1 + coalesce((SELECT coalesce(ordinal, attempt) FROM attempts WHERE job_id = each.value ->> 0
                              ORDER BY attempt DESC LIMIT 1), 0) END
      {_EACH} WHERE true ORDER BY each.key"""
# An update in disguise: where ANALYZE has seen a small table, an UPDATE ... FROM walks all of it, and CROSS JOIN is
# the one way to tell the planner what comes first.
END_ATTEMPTS: Final = f"""
    INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, error, traceback,
                          log_tail)
    SELECT a.job_id, a.attempt, a.worker_id, a.lease, a.started_at, {_values(2, 8)}
      {_EACH} CROSS JOIN attempts AS a ON a.job_id = each.value ->> 0 AND a.attempt = each.value ->> 1 WHERE true
    ON CONFLICT (job_id, attempt) DO UPDATE SET ended_at = excluded.ended_at, outcome = excluded.outcome,
        kind = excluded.kind, error = excluded.error, traceback = excluded.traceback, log_tail = excluded.log_tail"""
DROP_RESULTS: Final = f"""
    DELETE FROM results WHERE (job_id, attempt) IN (SELECT {_values(0, 2)} {_EACH})"""
DROP_RESULTS_BUT: Final = f"""
    DELETE FROM results WHERE (job_id, attempt) IN (
        SELECT results.job_id, results.attempt {_EACH} JOIN results
            ON results.job_id = each.value ->> 0 AND results.attempt IS NOT each.value ->> 1)"""
FORGET_FILES: Final = "DELETE FROM files WHERE key IN (SELECT value FROM json_each(?))"
RECORD_FILES: Final = f"""
    INSERT INTO files (key, size, sha256, job_id, attempt, created_at, checked_at, etag, version, keeping)
    SELECT {_values(0, 10)} {_EACH} WHERE true
    ON CONFLICT (key) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, checked_at = excluded.checked_at,
        etag = excluded.etag, version = excluded.version, keeping = excluded.keeping"""
KEEP_FILES: Final = f"""
    UPDATE files SET kept = each.value ->> 1, keeping = 0 {_EACH} WHERE files.key = each.value ->> 0"""
SAVE_WORKERS: Final = f"""
    INSERT INTO workers ({WORKER_COLUMNS}) SELECT {_values(0, 19)} {_EACH} WHERE true
    ON CONFLICT (id) DO UPDATE SET type = excluded.type, status = excluded.status,
        updated_at = excluded.updated_at, name = excluded.name, enabled = excluded.enabled,
        last_heartbeat = excluded.last_heartbeat, metadata = excluded.metadata, labels = excluded.labels,
        version = excluded.version, token_id = excluded.token_id, secret_hash = excluded.secret_hash,
        drain = excluded.drain, registered = excluded.registered, instance = excluded.instance,
        contested_at = excluded.contested_at, contested_by = excluded.contested_by"""
BEAT_WORKERS: Final = f"""
    INSERT INTO workers (id, type, status, created_at, last_heartbeat, updated_at)
    SELECT w.id, w.type, w.status, w.created_at, {_values(1, 3)}
      {_EACH} CROSS JOIN workers AS w ON w.id = each.value ->> 0 WHERE true
    ON CONFLICT (id) DO UPDATE SET last_heartbeat = excluded.last_heartbeat, updated_at = excluded.updated_at"""
DELETE_WORKERS: Final = "DELETE FROM workers WHERE id IN (SELECT value FROM json_each(?))"
FORGET_WORKER_TYPES: Final = "DELETE FROM worker_types WHERE worker_id IN (SELECT value FROM json_each(?))"
ADD_WORKER_TYPES: Final = f"INSERT OR IGNORE INTO worker_types (worker_id, type) SELECT {_values(0, 2)} {_EACH}"
INSERT_CAUSES: Final = f"""
    INSERT INTO failures (id, fingerprint, kind, place, example, first_seen, last_seen, n)
    SELECT {_values(0, 8)} {_EACH}"""
SEE_CAUSES: Final = f"""
    UPDATE failures SET last_seen = max(last_seen, each.value ->> 3), first_seen = min(first_seen, each.value ->> 2),
                        n = n + (each.value ->> 4),
                        example = CASE WHEN each.value ->> 3 >= last_seen THEN each.value ->> 1 ELSE example END
      {_EACH} WHERE failures.id = each.value ->> 0"""
SAVE_CLAIM_KEYS: Final = f"""
    INSERT OR REPLACE INTO claim_keys (worker_id, claim_key, jobs, created_at)
    SELECT {_values(0, 4)} {_EACH} ORDER BY each.key"""
# One by one, for the same reason.
SAVE_REPEATED: Final = """
    INSERT OR REPLACE INTO idempotency (subject, key, fingerprint, outcome, created_at) VALUES (?, ?, ?, ?, ?)"""
SAVE_UNDOS: Final = f"""
    INSERT OR IGNORE INTO undos (token, job_id, was, became, at) SELECT {_values(0, 5)} {_EACH} ORDER BY each.key"""
INSERT_AUDIT: Final = f"""
    INSERT INTO audit (at, actor, name, address, action, subject, detail)
    SELECT {_values(0, 7)} {_EACH} ORDER BY each.key"""
# Counters, each moved by the last value. Those that count what is there never fall below zero (the schema says so):
# an upsert of a negative number would be refused before it was added.
MOVE_JOB_COUNTS: Final = f"""
    INSERT INTO job_counts (status, type, priority, n)
    SELECT {_values(0, 3)}, coalesce(c.n, 0) + (each.value ->> 3) {_EACH} LEFT JOIN job_counts AS c
        ON c.status = each.value ->> 0 AND c.type = each.value ->> 1 AND c.priority = each.value ->> 2 WHERE true
    ON CONFLICT (status, type, priority) DO UPDATE SET n = excluded.n"""
MOVE_FAILURE_COUNTS: Final = f"""
    INSERT INTO failure_counts (failure, status, n)
    SELECT {_values(0, 2)}, coalesce(c.n, 0) + (each.value ->> 2) {_EACH} LEFT JOIN failure_counts AS c
        ON c.failure = each.value ->> 0 AND c.status = each.value ->> 1 WHERE true
    ON CONFLICT (failure, status) DO UPDATE SET n = excluded.n"""
MOVE_WORKER_COUNTS: Final = f"""
    INSERT INTO worker_counts (status, n)
    SELECT {_values(0, 1)}, coalesce(c.n, 0) + (each.value ->> 1) {_EACH} LEFT JOIN worker_counts AS c
        ON c.status = each.value ->> 0 WHERE true
    ON CONFLICT (status) DO UPDATE SET n = excluded.n"""
ADD_HAPPENINGS: Final = f"""
    INSERT INTO happenings (step, slot, type, what, n) SELECT {_values(0, 5)} {_EACH} WHERE true
    ON CONFLICT (step, slot, type, what) DO UPDATE SET n = n + excluded.n"""
ADD_DURATIONS: Final = f"""
    INSERT INTO durations (week, type, bucket, n) SELECT {_values(0, 4)} {_EACH} WHERE true
    ON CONFLICT (week, type, bucket) DO UPDATE SET n = n + excluded.n"""
ADD_WORKER_RATES: Final = f"""
    INSERT INTO worker_rates (hour, worker_id, outcome, n) SELECT {_values(0, 4)} {_EACH} WHERE true
    ON CONFLICT (hour, worker_id, outcome) DO UPDATE SET n = n + excluded.n"""
NOTE_HOURS: Final = f"""
    INSERT INTO job_hours (hour, first_id, last_id) SELECT {_values(0, 3)} {_EACH} WHERE true
    ON CONFLICT (hour) DO UPDATE SET first_id = min(first_id, excluded.first_id),
                                     last_id = max(last_id, excluded.last_id)"""
HIGHEST_CAUSE: Final = "SELECT coalesce(max(id), 0) FROM failures"

# --- which database this is
HAD_JOBS: Final = "SELECT 1 FROM sqlite_sequence WHERE name = 'jobs' AND seq > 0"
NAME_INSTALLATION: Final = "INSERT OR IGNORE INTO installation (one, id) VALUES (1, ?)"
INSTALLATION: Final = "SELECT id FROM installation"

# --- files
FILE: Final = f"SELECT {FILE_COLUMNS} FROM files WHERE key = ?"
MANY_FILES: Final = f"SELECT key, {FILE_COLUMNS} FROM files WHERE key {_ANY_OF_MANY}"
RECORD_FILE: Final = """
    INSERT INTO files (key, size, sha256, job_id, attempt, created_at, checked_at, etag, version, keeping)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, checked_at = excluded.checked_at,
        etag = excluded.etag, version = excluded.version, keeping = excluded.keeping"""
KEEP_FILE: Final = "UPDATE files SET kept = ?, keeping = 0 WHERE key = ?"
TO_KEEP: Final = "SELECT job_id, attempt, key, size, sha256, etag FROM files WHERE keeping = 1"
UNCHECKED_OUTPUTS: Final = "SELECT job_id, attempt, key FROM files WHERE checked_at IS NULL AND job_id IS NOT NULL"

# --- workers
WORKER: Final = f"SELECT {WORKER_COLUMNS} FROM workers WHERE id = ?"
FORGETTABLE_WORKERS: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers
     WHERE status = 'offline' AND enabled AND secret_hash IS NULL AND coalesce(last_heartbeat, 0) < ?
       AND updated_at < ?
       AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.status = 'running' AND jobs.worker_id = workers.id)
     LIMIT ?"""
# A fleet is some thousand rows: SQLite walks them for what matches. `casefold` is ours (database.py).
_WORKERS_WANTED: Final = """
    (?1 IS NULL OR status = ?1) AND (?2 IS NULL OR enabled = ?2) AND (?3 IS NULL OR type = ?3)
    AND (?4 IS NULL OR instr(casefold(id), ?4) OR instr(casefold(coalesce(name, '')), ?4))
    AND (?5 IS NULL OR coalesce(last_heartbeat, created_at) < ?5)"""
COUNT_WORKERS: Final = f"SELECT count(*) FROM workers WHERE {_WORKERS_WANTED}"
WORKERS_BY_ID: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers WHERE id > ?6 AND {_WORKERS_WANTED} ORDER BY id LIMIT ?7"""
# For people: those that work first.
_RANK: Final = "CASE WHEN NOT enabled THEN 3 WHEN status = 'online' THEN 0 WHEN status = 'draining' THEN 1 ELSE 2 END"
WORKERS_BY_RANK: Final = f"""
    SELECT {WORKER_COLUMNS}, {_RANK} FROM workers WHERE ({_RANK}, id) > (?6, ?7) AND {_WORKERS_WANTED}
     ORDER BY {_RANK}, id LIMIT ?8"""
RUNNING_BY_WORKER: Final = """
    SELECT asked.value, jobs.id FROM json_each(?1) AS asked
      JOIN jobs ON jobs.id IN (SELECT id FROM jobs WHERE status = 'running' AND worker_id = asked.value
                                ORDER BY id LIMIT ?2)"""

# --- claims and requests that may be repeated
IDEMPOTENT: Final = "SELECT fingerprint, outcome FROM idempotency WHERE subject = ? AND key = ? AND created_at >= ?"
PURGE_CLAIM_KEYS: Final = """
    DELETE FROM claim_keys WHERE (worker_id, claim_key) IN (
        SELECT worker_id, claim_key FROM claim_keys WHERE created_at < ? ORDER BY created_at LIMIT ?)"""
PURGE_IDEMPOTENT: Final = """
    DELETE FROM idempotency WHERE (subject, key) IN (
        SELECT subject, key FROM idempotency WHERE created_at < ? ORDER BY created_at LIMIT ?)"""

# --- tokens
TOKEN_BY_HASH: Final = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE hash = ?"
# `scopes` are words in one text; ?4 is the time of now.
TOKENS: Final = f"""
    SELECT {TOKEN_COLUMNS} FROM tokens WHERE id > ?1
       AND (?2 IS NULL OR instr(casefold(name), ?2))
       AND (?3 IS NULL OR instr(' ' || scopes || ' ', ' ' || ?3 || ' '))
       AND (?5 IS NULL OR (expires_at IS NOT NULL AND expires_at <= ?4) = ?5)
     ORDER BY id LIMIT ?6"""
INSERT_TOKEN: Final = """
    INSERT INTO tokens (name, hash, prefix, scopes, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)"""
MAKE_START_TOKEN: Final = "UPDATE tokens SET scopes = ?, expires_at = NULL, origin = 'start' WHERE id = ?"
START_TOKENS: Final = "SELECT id, hash FROM tokens WHERE origin = 'start'"
WORKERS_OF_TOKEN: Final = "SELECT id FROM workers WHERE token_id = ?"
DELETE_TOKEN: Final = "DELETE FROM tokens WHERE id = ?"
TOUCH_TOKEN: Final = "UPDATE tokens SET last_used_at = ? WHERE id = ?"

# --- people
USER: Final = f"SELECT {USER_COLUMNS} FROM users WHERE id = ?"
USER_OF: Final = f"SELECT {USER_COLUMNS} FROM users WHERE issuer = ? AND subject = ?"
USERS: Final = f"""
    SELECT {USER_COLUMNS} FROM users WHERE id > ?1
       AND (?2 IS NULL OR instr(casefold(coalesce(name, '')), ?2) OR instr(casefold(coalesce(email, '')), ?2)
            OR instr(casefold(subject), ?2))
       AND (?3 IS NULL OR is_admin = ?3)
     ORDER BY id LIMIT ?4"""
SAVE_USER: Final = """
    INSERT INTO users (issuer, subject, email, name, groups, is_admin, created_at, last_login_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, name = excluded.name,
        groups = excluded.groups, is_admin = excluded.is_admin, last_login_at = excluded.last_login_at
    RETURNING id"""
UPDATE_USER: Final = """
    UPDATE users SET email = ?, name = ?, groups = ?, is_admin = ? WHERE issuer = ? AND subject = ?"""
SESSION: Final = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE hash = ?"
SESSIONS_OF_USER: Final = f"""
    SELECT {SESSION_COLUMNS} FROM sessions WHERE user_id = ? AND (created_at, hash) > (?, ?)
     ORDER BY created_at, hash LIMIT ?"""
LATEST_OF_USER: Final = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE user_id = ? ORDER BY created_at DESC LIMIT ?"
LATEST_OF_TOKEN: Final = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE token_id = ? ORDER BY created_at DESC LIMIT ?"
SESSION_HASHES: Final = "SELECT hash FROM sessions WHERE user_id = ? OR token_id = ?"
INSERT_SESSION: Final = f"INSERT INTO sessions ({SESSION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
CHECK_SESSION: Final = "UPDATE sessions SET checked_at = ?, seen_at = ?, sealed = ? WHERE hash = ?"
TOUCH_SESSION: Final = "UPDATE sessions SET seen_at = ? WHERE hash = ?"
DELETE_SESSION: Final = "DELETE FROM sessions WHERE hash = ?"
DELETE_SESSIONS_OF_USER: Final = "DELETE FROM sessions WHERE user_id = ?"
PURGE_SESSIONS: Final = "DELETE FROM sessions WHERE seen_at < ? OR expires_at <= ?"
_AUDIT: Final = "SELECT id, at, actor, name, address, action, subject, detail FROM audit"
AUDIT_BELOW: Final = f"{_AUDIT} WHERE id < ? ORDER BY id DESC"
AUDIT_OF: Final = f"{_AUDIT} WHERE subject = ? AND id < ? ORDER BY id DESC"
LOWEST_AUDIT_SINCE: Final = "SELECT min(+id) FROM audit WHERE at >= ?"  # by its index, not along the ids
AUDIT_OF_JOB: Final = f"{_AUDIT} WHERE subject = ? AND action GLOB 'job.*' AND id < ? ORDER BY id DESC LIMIT ?"
TOKEN: Final = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE id = ?"

# --- counters
PURGE_HAPPENINGS: Final = "DELETE FROM happenings WHERE step = ? AND slot < ?"
SAVE_DEPTH: Final = "INSERT OR REPLACE INTO depths (step, slot, type, status, n) VALUES (?, ?, ?, ?, ?)"
CLEAR_DEPTHS: Final = "DELETE FROM depths WHERE step = ? AND slot = ?"
PURGE_DEPTHS: Final = "DELETE FROM depths WHERE step = ? AND slot < ?"
PURGE_DURATIONS: Final = "DELETE FROM durations WHERE week < ?"
PURGE_WORKER_RATES: Final = "DELETE FROM worker_rates WHERE hour < ?"
FORGET_TYPES: Final = """
    DELETE FROM job_counts WHERE type IN (SELECT type FROM job_counts GROUP BY type HAVING sum(n) = 0)"""
JOB_COUNTS: Final = "SELECT status, type, priority, n FROM job_counts WHERE n > 0"
ALL_JOB_COUNTS: Final = "SELECT status, type, priority, n FROM job_counts"
WORKER_COUNTS: Final = "SELECT status, n FROM worker_counts"
RATES_SINCE: Final = """
    SELECT type, sum(n) FROM happenings WHERE step = 60 AND slot >= ? AND slot < ? AND what = 'completed'
     GROUP BY type"""
OLDEST_PENDING: Final = """
    SELECT created_at FROM jobs WHERE status = 'pending' AND type = ? AND priority = ? ORDER BY id LIMIT 1"""

# --- what the dashboard shows
HAPPENINGS: Final = "SELECT slot, type, what, n FROM happenings WHERE step = ? AND slot > ?"
DEPTHS: Final = "SELECT slot, type, status, n FROM depths WHERE step = ? AND slot > ?"
DURATIONS: Final = "SELECT type, bucket, sum(n) FROM durations WHERE week >= ? GROUP BY type, bucket"
WORKER_RATES: Final = "SELECT worker_id, outcome, sum(n) FROM worker_rates WHERE hour > ? GROUP BY worker_id, outcome"
WORKER_RATE: Final = "SELECT outcome, n FROM worker_rates WHERE hour = ? AND worker_id = ?"
RUNNING_JOBS: Final = f"SELECT {SHORT_COLUMNS} FROM jobs WHERE status = 'running' LIMIT ?"
LOST_WORKERS: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers AS w WHERE status = 'offline' AND registered AND enabled
       AND (EXISTS (SELECT 1 FROM jobs WHERE jobs.status = 'running' AND jobs.worker_id = w.id)
            OR id IN (SELECT worker_id FROM worker_rates WHERE hour > ? AND outcome = 'lost'))
     ORDER BY last_heartbeat DESC LIMIT ?"""
CONTESTED_WORKERS: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers WHERE contested_at > ? ORDER BY contested_at DESC LIMIT ?"""
FLEET: Final = """
    SELECT status, enabled, drain, registered, count(*) FROM workers
     WHERE type = ?1 OR id IN (SELECT worker_id FROM worker_types WHERE type = ?1) GROUP BY 1, 2, 3, 4"""
TYPES_WITH_WORKERS: Final = """
    SELECT type FROM workers WHERE status = 'online' AND enabled
    UNION
    SELECT t.type FROM worker_types AS t JOIN workers AS w ON w.id = t.worker_id
     WHERE w.status = 'online' AND w.enabled"""
AHEAD: Final = f"""
    SELECT count(*)
      FROM (SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE {_READY} AND priority = ? AND id < ? LIMIT ?)"""

# --- causes of failures
FAILURE_BY_FINGERPRINT: Final = "SELECT id FROM failures WHERE fingerprint = ?"
COUNT_FAILURES: Final = "SELECT count(*) FROM failures"
FAILURES: Final = """
    SELECT f.id, f.fingerprint, f.kind, f.place, f.example, f.first_seen, f.last_seen, f.n,
           coalesce(sum(c.n) FILTER (WHERE c.status = 'failed'), 0),
           coalesce(sum(c.n) FILTER (WHERE c.status = 'dead'), 0)
      FROM failures AS f LEFT JOIN failure_counts AS c ON c.failure = f.id GROUP BY f.id"""
# A cause that no job shows any more, not even one that waits or runs again; the least recent ones.
FORGET_FAILURES: Final = """
    DELETE FROM failures WHERE id IN (
        SELECT f.id FROM failures AS f
         WHERE f.fingerprint <> 'other' AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.failure = f.id)
         ORDER BY f.last_seen LIMIT ?)"""
PURGE_FAILURES: Final = """
    DELETE FROM failures WHERE last_seen < ? AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.failure = failures.id)"""
FORGET_FAILURE_COUNTS: Final = "DELETE FROM failure_counts WHERE n = 0 OR failure NOT IN (SELECT id FROM failures)"

# --- what an older database has not kept
BACKFILL: Final = "SELECT next_job, last_job, counts, until FROM backfill WHERE id = 1"
BEGIN_BACKFILL: Final = "UPDATE backfill SET until = coalesce(until, ?)"
BACKFILLED: Final = "UPDATE backfill SET next_job = ?"
END_BACKFILL: Final = "DELETE FROM backfill"
JOBS_BETWEEN: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"

# --- what can be undone
UNDOS: Final = """
    SELECT job_id, was, became, at FROM undos WHERE token = ? AND at >= ? ORDER BY job_id LIMIT ?"""
DELETE_UNDO: Final = "DELETE FROM undos WHERE token = ? AND job_id = ?"
PURGE_UNDOS: Final = """
    DELETE FROM undos WHERE (token, job_id) IN (SELECT token, job_id FROM undos WHERE at < ? ORDER BY at LIMIT ?)"""

# --- workers' types, and hours of ids
WORKER_TYPES: Final = "SELECT type FROM worker_types WHERE worker_id = ?"
FIRST_ID: Final = "SELECT min(first_id) FROM job_hours WHERE hour >= ?"
LAST_ID: Final = "SELECT max(last_id) FROM job_hours WHERE hour <= ?"

# --- lists: one range of an index for each (status, type, priority), newest first. The planner is told which index:
# with a bound on both sides of the id it might take the table itself, and look at every job in between.
STRATUM: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_listed
     WHERE status = ? AND type = ? AND priority = ? AND id < ? AND id > ? ORDER BY id DESC"""
OF_FAILURE: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_failure
     WHERE failure = ? AND priority = ? AND id < ? AND id > ? ORDER BY id DESC"""
OF_WORKER: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_worker
     WHERE worker_id = ? AND priority = ? AND id < ? AND id > ? ORDER BY id DESC"""
IDS_OF_TAG: Final = "SELECT job_id FROM job_tags WHERE tag = ? LIMIT ?"

# --- what a start reads
RUNNING: Final = "SELECT id, attempt, heartbeat_at FROM jobs WHERE status = 'running'"
WAITING_FOR_TIME: Final = """
    SELECT id, coalesce(not_before, avoid_until) FROM jobs WHERE not_before IS NOT NULL OR avoid_until IS NOT NULL"""
AWAITED_SOURCES: Final = "SELECT id, source_hash, updated_at FROM jobs WHERE status = 'uploading'"
LIVE_WORKERS: Final = "SELECT id, last_heartbeat FROM workers WHERE status <> 'offline'"

TYPES: Final = "SELECT DISTINCT type FROM job_counts WHERE n > 0"
PULSE: Final = "INSERT INTO pulse (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at"
SANITY: Final = "SELECT 1"

# --- housekeeping
ENDED_BEFORE: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs WHERE status = ? AND completed_at < ? ORDER BY completed_at LIMIT ?"""
HAS_SOURCE: Final = "SELECT 1 FROM jobs WHERE source_hash = ? LIMIT 1"
PRUNE_AUDIT: Final = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at, id LIMIT ?)"
DOOM: Final = "SELECT state, tries, epoch, again FROM doomed_objects WHERE key = ?"
ADD_DOOM: Final = """
    INSERT INTO doomed_objects (key, state, due_at, again) VALUES (?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET state = excluded.state, due_at = excluded.due_at, again = excluded.again,
                                    tries = 0
     WHERE doomed_objects.state IN (?, ?)"""
DUE_DOOMS: Final = "SELECT key FROM doomed_objects WHERE state = ? AND due_at <= ? ORDER BY due_at LIMIT ?"
NEXT_DOOM: Final = "SELECT min(due_at) FROM doomed_objects WHERE state = ?"
PUT_DOOM: Final = "UPDATE doomed_objects SET state = ?, due_at = ?, tries = ?, epoch = ?, again = ? WHERE key = ?"
DROP_DOOM: Final = "DELETE FROM doomed_objects WHERE key = ?"
HASTEN_DOOMS: Final = "UPDATE doomed_objects SET due_at = ? WHERE state = ? AND due_at > ?"
DROP_DUE_DOOMS: Final = "DELETE FROM doomed_objects WHERE state = ? AND again = ? AND due_at <= ?"
MOVE_DUE_DOOMS: Final = """
    UPDATE doomed_objects SET state = ?, again = 1, tries = 0 WHERE state = ? AND again = ? AND due_at <= ?"""
FORGET_EPOCHS: Final = "UPDATE doomed_objects SET epoch = 0 WHERE epoch > 0"
PAGES: Final = "SELECT (SELECT page_count FROM pragma_page_count), (SELECT freelist_count FROM pragma_freelist_count)"
FREE_PAGES: Final = "PRAGMA incremental_vacuum({most:d})"
AUTO_VACUUM: Final = "PRAGMA auto_vacuum=INCREMENTAL"
NO_JOURNAL: Final = "PRAGMA journal_mode=OFF"
VACUUM: Final = "VACUUM"
CHECKPOINT: Final = "PRAGMA wal_checkpoint(TRUNCATE)"
TABLES: Final = """
    SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"""
SCHEMA_SIZE: Final = "SELECT count(*) FROM sqlite_schema"
COUNT_ROWS: Final = 'SELECT count(*) FROM "{table}"'
JOB_SPAN: Final = "SELECT min(created_at), max(created_at), max(updated_at) FROM jobs"
AUDIT_SPAN: Final = """
    SELECT (SELECT min(at) FROM audit), (SELECT max(at) FROM audit)"""

# --- the original's database: the columns are those that it has, as bytes where they are text
COLUMNS_OF: Final = "SELECT name FROM pragma_table_info(?)"
ORIGINAL_COLUMN: Final = "CASE typeof({column}) WHEN 'text' THEN CAST({column} AS BLOB) ELSE {column} END"
ORIGINAL_ROWS: Final = "SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT ?"

# --- what comes with its past from another database
JOB_SEQUENCE: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'jobs'"
INSERT_WHOLE_JOB: Final = f"INSERT INTO jobs ({JOB_COLUMNS}) VALUES ({', '.join('?' * len(JOB_COLUMNS.split(',')))})"
INSERT_WHOLE_ATTEMPT: Final = f"""
    INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, error, traceback,
                          log_tail, output_key, ordinal)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, {_ORDINAL})"""
TO_BACKFILL: Final = """
    INSERT INTO backfill (id, next_job, last_job, counts) VALUES (1, ?1, ?2, 1)
    ON CONFLICT (id) DO UPDATE SET next_job = min(next_job, excluded.next_job),
                                   last_job = max(last_job, excluded.last_job)"""
RAISE_IDS: Final = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'jobs'"
RAISE_FLOOR: Final = "UPDATE recovery SET attempt_floor = max(attempt_floor, ?) WHERE id = 1"
RENAME_INSTALLATION: Final = "UPDATE installation SET id = ?"

CACHE_SIZE: Final = "PRAGMA cache_size=-{kib:d}"
AUTO_CHECKPOINT: Final = "PRAGMA wal_autocheckpoint={pages:d}"

# --- what a restore leaves behind, and drills
RECOVERY: Final = "SELECT restored_at, attempt_floor FROM recovery WHERE id = 1"
ATTEMPT_FLOOR: Final = "SELECT attempt_floor FROM recovery WHERE id = 1"
MARK_RESTORED: Final = "UPDATE recovery SET restored_at = ? WHERE id = 1"
END_RECOVERY: Final = "UPDATE recovery SET restored_at = NULL, attempt_floor = ? WHERE id = 1"
ALL_RUNNING: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE status = 'running' ORDER BY id"
VOID_LATE_LEASES: Final = """
    UPDATE jobs SET lease = NULL, updated_at = ? WHERE status IN ('pending', 'dead') AND lease IS NOT NULL"""
# The newest moment that the database knows of, and the highest attempt number.
NEWEST_RECORD: Final = """
    SELECT max(coalesce((SELECT max(updated_at) FROM jobs), 0), coalesce((SELECT max(at) FROM audit), 0),
               coalesce((SELECT max(updated_at) FROM workers), 0), coalesce((SELECT max(at) FROM pulse), 0))"""
HIGHEST_ATTEMPT: Final = "SELECT coalesce(max(attempt), 0) FROM jobs"
FORGET_INSTANCES: Final = "UPDATE workers SET instance = NULL WHERE instance IS NOT NULL"
SKIP_IDS: Final = "UPDATE sqlite_sequence SET seq = seq + ?"
SEED_IDS: Final = """
    INSERT INTO sqlite_sequence (name, seq) SELECT ?, 0
     WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?)"""
INSERT_DRILL: Final = """
    INSERT INTO backup_drills (started_at, ended_at, ok, proven_until, detail) VALUES (?, ?, ?, ?, ?)"""
# By their order, not by their numbers: a restore leaves a gap in those (SKIP_IDS).
TRIM_DRILLS: Final = """
    DELETE FROM backup_drills WHERE id NOT IN (SELECT id FROM backup_drills ORDER BY id DESC LIMIT ?)"""
DRILLS: Final = """
    SELECT id, started_at, ended_at, ok, proven_until, detail FROM backup_drills
     WHERE id < ?1 AND (?2 IS NULL OR ok = ?2) ORDER BY id DESC LIMIT ?3"""
PROVEN_UNTIL: Final = "SELECT max(proven_until) FROM backup_drills"

# --- a restored copy, attached as `copy`, beside the live database: what should be in it and is not
ATTACH_COPY: Final = "ATTACH DATABASE ? AS copy"
HIGHEST_JOB: Final = "SELECT coalesce(max(id), 0) FROM main.jobs"
NEXT_JOB: Final = "SELECT min(id) FROM main.jobs WHERE id > ?"
MISSING_JOBS: Final = """
    SELECT l.id FROM main.jobs AS l LEFT JOIN copy.jobs AS c ON c.id = l.id
     WHERE l.id > ? AND l.id <= ? AND l.updated_at <= ?
       AND (c.id IS NULL OR (c.status, c.attempt, c.attempts, c.losses, c.priority, c.updated_at)
                         <> (l.status, l.attempt, l.attempts, l.losses, l.priority, l.updated_at)
            OR c.lease IS NOT l.lease OR c.worker_id IS NOT l.worker_id OR c.output_key IS NOT l.output_key
            OR c.result IS NOT l.result OR c.result_size IS NOT l.result_size
            OR (l.result_size IS NOT NULL AND NOT EXISTS (
                   SELECT 1 FROM copy.results AS r
                    WHERE r.job_id = l.id AND r.attempt = coalesce(l.kept_attempt, l.attempt))))"""
MISSING_ATTEMPTS: Final = """
    SELECT l.job_id FROM main.attempts AS l
      LEFT JOIN copy.attempts AS c ON c.job_id = l.job_id AND c.attempt = l.attempt
     WHERE l.job_id > ? AND l.job_id <= ? AND l.started_at <= ? AND (l.ended_at IS NULL OR l.ended_at <= ?)
       AND (c.job_id IS NULL OR c.lease <> l.lease OR (c.outcome IS NOT l.outcome AND l.ended_at IS NOT NULL))"""
MISSING_RECORDS: Final = (
    ("audit records", """SELECT l.id FROM main.audit AS l LEFT JOIN copy.audit AS c ON c.id = l.id
        WHERE l.at <= ? AND (c.id IS NULL OR c.action <> l.action OR c.at <> l.at)"""),
    ("API tokens", """SELECT l.name FROM main.tokens AS l LEFT JOIN copy.tokens AS c ON c.hash = l.hash
        WHERE l.created_at <= ? AND c.hash IS NULL"""),
    ("workers", """SELECT l.id FROM main.workers AS l LEFT JOIN copy.workers AS c ON c.id = l.id
        WHERE l.created_at <= ? AND c.id IS NULL"""),
    ("users", """SELECT l.id FROM main.users AS l LEFT JOIN copy.users AS c ON c.id = l.id
        WHERE l.created_at <= ? AND c.id IS NULL"""),
)  # fmt: skip
