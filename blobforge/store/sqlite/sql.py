"""All SQL of the engine, named: no module outside this package spells or runs a statement. What opens the file, and
begins and ends a transaction, stands where that is done; what checks a database stands beside the sentence that it
proves, in `invariants.py`.

Updates are guarded by the state that the transition started from: `changes()` says whether it still held.
"""

from __future__ import annotations

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
TOKEN_COLUMNS: Final = "id, name, hash, prefix, scopes, created_at, expires_at, last_used_at"

# --- jobs
JOB: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?"
JOB_BY_SOURCE: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE source_hash = ? AND type = ?"
# Of these hashes, those that have left a trace.
KNOWN_SOURCES: Final = """
    SELECT asked.value FROM json_each(?) AS asked
     WHERE EXISTS (SELECT 1 FROM jobs WHERE source_hash = asked.value)
        OR EXISTS (SELECT 1 FROM files WHERE key = 'sources/' || asked.value)
        OR EXISTS (SELECT 1 FROM doomed_objects WHERE key = 'sources/' || asked.value)"""
# Of these hashes, those whose source is held to be there.
HELD_SOURCES: Final = """
    SELECT asked.value FROM json_each(?) AS asked
     WHERE EXISTS (SELECT 1 FROM jobs WHERE source_hash = asked.value AND status <> 'uploading')"""
JOBS_BY_HASH: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE source_hash = ?"
_READY: Final = "status = 'pending' AND not_before IS NULL AND avoid IS NULL AND type = ?"
PICK_READY: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE {_READY} ORDER BY priority, id LIMIT ?"
# In the same order, those that are kept from some workers.
PICK_KEPT: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs WHERE status = 'pending' AND avoid IS NOT NULL AND type = ?
     ORDER BY priority, id LIMIT ?"""
# Who has failed a job, or could not do it, by the last of its attempts.
FAILED_BY: Final = """
    SELECT DISTINCT worker_id
      FROM (SELECT worker_id, outcome, kind FROM attempts WHERE job_id = ? ORDER BY attempt DESC LIMIT ?)
     WHERE outcome = 'failed' OR (outcome = 'released' AND kind = 'trouble')"""
ANOTHER_WORKER: Final = """
    SELECT 1 FROM workers WHERE status = 'online' AND enabled AND type = ?1
                            AND id NOT IN (SELECT value FROM json_each(?2))
    UNION ALL
    SELECT 1 FROM worker_types AS t JOIN workers AS w ON w.id = t.worker_id
     WHERE t.type = ?1 AND w.status = 'online' AND w.enabled AND w.id NOT IN (SELECT value FROM json_each(?2))
     LIMIT 1"""
JOB_IN_SHORT: Final = f"SELECT {SHORT_COLUMNS} FROM jobs WHERE id = ?"
JOBS_OF_WORKER: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE status = 'running' AND worker_id = ? ORDER BY id"
RUNNING_ON: Final = "SELECT id FROM jobs WHERE status = 'running' AND worker_id = ? ORDER BY id LIMIT ?"
# Many at once, as JSON arrays in the order of the columns: a batch is one statement, and not a thousand.
INSERT_JOBS: Final = """
    INSERT INTO jobs (type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path,
                      source_size, tags, metadata, submitter)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
           value ->> 8, value ->> 9, value ->> 10, value ->> 11
      FROM json_each(?) ORDER BY key"""
INSERT_JOB_TAGS: Final = (
    "INSERT OR IGNORE INTO job_tags (tag, job_id) SELECT value ->> 0, value ->> 1 FROM json_each(?)"
)
_MOVED: Final = """
    UPDATE jobs SET status = ?, source_size = ?, attempts = ?, losses = ?, attempt = ?, lease = ?, heartbeat_at = ?,
                    started_at = ?, completed_at = ?, not_before = ?, last_error = ?, output_key = ?, result = ?,
                    progress = ?, progress_at = ?, updated_at = ?, kept_attempt = ?, replaced = ?, releases = ?,
                    avoid_until = ?, avoid = ?, upload_key = ?, result_size = ?, write_once = ?"""
_GUARD: Final = "WHERE id = ? AND status = ? AND attempt = ?"
# A column that is named is written to each index that has it, changed or not; a completion changes none of the three.
UPDATE_JOB: Final = f"{_MOVED}, priority = ?, worker_id = ?, failure = ? {_GUARD}"
MOVE_JOB: Final = f"{_MOVED} {_GUARD}"
BEAT_JOB: Final = """
    UPDATE jobs SET heartbeat_at = ?, progress = coalesce(?, progress), progress_at = coalesce(?, progress_at),
                    updated_at = ?
     WHERE id = ? AND status = 'running' AND attempt = ?"""

# --- attempts
ATTEMPT: Final = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? AND attempt = ?"
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
INSERT_ATTEMPT: Final = f"""
    INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, output_key, ordinal)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, {_ORDINAL})"""
OUTPUT_KEYS: Final = f"SELECT {_ATTEMPTS_KEY} FROM attempts WHERE job_id = ?"
END_ATTEMPT: Final = """
    UPDATE attempts SET ended_at = ?, outcome = ?, kind = ?, error = ?, traceback = ?, log_tail = ?
     WHERE job_id = ? AND attempt = ?"""

# --- results that are kept aside
KEEP_RESULT: Final = "INSERT INTO results (job_id, attempt, result) VALUES (?, ?, ?)"
DROP_RESULT: Final = "DELETE FROM results WHERE job_id = ? AND attempt = ?"
DROP_RESULTS_BUT: Final = "DELETE FROM results WHERE job_id = ? AND attempt IS NOT ?"
RESULTS_OF_JOB: Final = "SELECT attempt, result FROM results WHERE job_id = ? ORDER BY attempt"
RESULT: Final = "SELECT result FROM results WHERE job_id = ? AND attempt = ?"
# As JSON, the two members that say what the output is.
RESULT_NAMES: Final = """
    SELECT json_object('filename', result -> '$.filename', 'content_type', result -> '$.content_type')
      FROM results WHERE job_id = ? AND attempt = ?"""

# --- which database this is
HAD_JOBS: Final = "SELECT 1 FROM sqlite_sequence WHERE name = 'jobs' AND seq > 0"
NAME_INSTALLATION: Final = "INSERT OR IGNORE INTO installation (one, id) VALUES (1, ?)"
INSTALLATION: Final = "SELECT id FROM installation"

# --- files
FILE: Final = "SELECT size, sha256, checked_at, etag, version, kept, keeping FROM files WHERE key = ?"
RECORD_FILE: Final = """
    INSERT INTO files (key, size, sha256, job_id, attempt, created_at, checked_at, etag, version, keeping)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256, checked_at = excluded.checked_at,
        etag = excluded.etag, version = excluded.version, keeping = excluded.keeping"""
KEEP_FILE: Final = "UPDATE files SET kept = ?, keeping = 0 WHERE key = ?"
TO_KEEP: Final = "SELECT job_id, attempt, key, size, sha256, etag FROM files WHERE keeping = 1"
FORGET_FILE: Final = "DELETE FROM files WHERE key = ?"
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
SAVE_WORKER: Final = f"""
    INSERT INTO workers ({WORKER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET type = excluded.type, status = excluded.status,
        updated_at = excluded.updated_at, name = excluded.name, enabled = excluded.enabled,
        last_heartbeat = excluded.last_heartbeat, metadata = excluded.metadata, labels = excluded.labels,
        version = excluded.version, token_id = excluded.token_id, secret_hash = excluded.secret_hash,
        drain = excluded.drain, registered = excluded.registered, instance = excluded.instance,
        contested_at = excluded.contested_at, contested_by = excluded.contested_by"""
BEAT_WORKER: Final = "UPDATE workers SET last_heartbeat = ?, updated_at = ? WHERE id = ?"
DELETE_WORKER: Final = "DELETE FROM workers WHERE id = ?"
RUNNING_BY_WORKER: Final = """
    SELECT asked.value, jobs.id FROM json_each(?1) AS asked
      JOIN jobs ON jobs.id IN (SELECT id FROM jobs WHERE status = 'running' AND worker_id = asked.value
                                ORDER BY id LIMIT ?2)"""

# --- claims and requests that may be repeated
CLAIM_KEY: Final = "SELECT jobs FROM claim_keys WHERE worker_id = ? AND claim_key = ?"
SAVE_CLAIM_KEY: Final = (
    "INSERT OR REPLACE INTO claim_keys (worker_id, claim_key, jobs, created_at) VALUES (?, ?, ?, ?)"
)
PURGE_CLAIM_KEYS: Final = """
    DELETE FROM claim_keys WHERE (worker_id, claim_key) IN (
        SELECT worker_id, claim_key FROM claim_keys WHERE created_at < ? ORDER BY created_at LIMIT ?)"""
IDEMPOTENT: Final = "SELECT fingerprint, outcome FROM idempotency WHERE subject = ? AND key = ? AND created_at >= ?"
SAVE_IDEMPOTENT: Final = (
    "INSERT OR REPLACE INTO idempotency (subject, key, fingerprint, outcome, created_at) VALUES (?, ?, ?, ?, ?)"
)
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
DELETE_START_TOKENS: Final = "DELETE FROM tokens WHERE origin = 'start' AND hash <> ?"
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
INSERT_AUDIT: Final = """
    INSERT INTO audit (at, actor, name, address, action, subject, detail) VALUES (?, ?, ?, ?, ?, ?, ?)"""
_AUDIT: Final = "SELECT id, at, actor, name, address, action, subject, detail FROM audit"
AUDIT_BELOW: Final = f"{_AUDIT} WHERE id < ? ORDER BY id DESC"
AUDIT_OF: Final = f"{_AUDIT} WHERE subject = ? AND id < ? ORDER BY id DESC"
AUDIT_OF_JOB: Final = f"{_AUDIT} WHERE subject = ? AND action GLOB 'job.*' AND id < ? ORDER BY id DESC LIMIT ?"
TOKEN: Final = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE id = ?"

# --- counters
ADD_JOB_COUNT: Final = """
    INSERT INTO job_counts (status, type, priority, n) VALUES (?, ?, ?, ?)
    ON CONFLICT (status, type, priority) DO UPDATE SET n = n + excluded.n"""
TAKE_JOB_COUNT: Final = "UPDATE job_counts SET n = n - ? WHERE status = ? AND type = ? AND priority = ?"
ADD_WORKER_COUNT: Final = """
    INSERT INTO worker_counts (status, n) VALUES (?, ?)
    ON CONFLICT (status) DO UPDATE SET n = n + excluded.n"""
TAKE_WORKER_COUNT: Final = "UPDATE worker_counts SET n = n - ? WHERE status = ?"
ADD_HAPPENING: Final = """
    INSERT INTO happenings (step, slot, type, what, n) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (step, slot, type, what) DO UPDATE SET n = n + excluded.n"""
PURGE_HAPPENINGS: Final = "DELETE FROM happenings WHERE step = ? AND slot < ?"
SAVE_DEPTH: Final = "INSERT OR REPLACE INTO depths (step, slot, type, status, n) VALUES (?, ?, ?, ?, ?)"
CLEAR_DEPTHS: Final = "DELETE FROM depths WHERE step = ? AND slot = ?"
PURGE_DEPTHS: Final = "DELETE FROM depths WHERE step = ? AND slot < ?"
ADD_DURATION: Final = """
    INSERT INTO durations (week, type, bucket, n) VALUES (?, ?, ?, ?)
    ON CONFLICT (week, type, bucket) DO UPDATE SET n = n + excluded.n"""
PURGE_DURATIONS: Final = "DELETE FROM durations WHERE week < ?"
ADD_WORKER_RATE: Final = """
    INSERT INTO worker_rates (hour, worker_id, outcome, n) VALUES (?, ?, ?, ?)
    ON CONFLICT (hour, worker_id, outcome) DO UPDATE SET n = n + excluded.n"""
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
SEE_FAILURE: Final = """
    UPDATE failures SET last_seen = max(last_seen, ?1), first_seen = min(first_seen, ?1), n = n + 1,
                        example = CASE WHEN ?1 >= last_seen THEN ?2 ELSE example END
     WHERE id = ?3"""
INSERT_FAILURE: Final = """
    INSERT INTO failures (fingerprint, kind, place, example, first_seen, last_seen, n) VALUES (?, ?, ?, ?, ?, ?, 1)"""
COUNT_FAILURES: Final = "SELECT count(*) FROM failures"
ADD_FAILURE_COUNT: Final = """
    INSERT INTO failure_counts (failure, status, n) VALUES (?, ?, ?)
    ON CONFLICT (failure, status) DO UPDATE SET n = n + excluded.n"""
TAKE_FAILURE_COUNT: Final = "UPDATE failure_counts SET n = n - ? WHERE failure = ? AND status = ?"
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
SAVE_UNDO: Final = "INSERT OR IGNORE INTO undos (token, job_id, was, became, at) VALUES (?, ?, ?, ?, ?)"
UNDOS: Final = """
    SELECT job_id, was, became, at FROM undos WHERE token = ? AND at >= ? ORDER BY job_id LIMIT ?"""
DELETE_UNDO: Final = "DELETE FROM undos WHERE token = ? AND job_id = ?"
PURGE_UNDOS: Final = """
    DELETE FROM undos WHERE (token, job_id) IN (SELECT token, job_id FROM undos WHERE at < ? ORDER BY at LIMIT ?)"""

# --- workers' types, and hours of ids
WORKER_TYPES: Final = "SELECT type FROM worker_types WHERE worker_id = ?"
ADD_WORKER_TYPE: Final = "INSERT OR IGNORE INTO worker_types (worker_id, type) VALUES (?, ?)"
DELETE_WORKER_TYPES: Final = "DELETE FROM worker_types WHERE worker_id = ?"
NOTE_HOUR: Final = """
    INSERT INTO job_hours (hour, first_id, last_id) VALUES (?, ?, ?)
    ON CONFLICT (hour) DO UPDATE SET first_id = min(first_id, excluded.first_id),
                                     last_id = max(last_id, excluded.last_id)"""
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
DELETE_JOB: Final = "DELETE FROM jobs WHERE id = ? AND status = ? AND attempt = ?"  # its tags and attempts go along
ENDED_BEFORE: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs WHERE status = ? AND completed_at < ? ORDER BY completed_at LIMIT ?"""
HAS_SOURCE: Final = "SELECT 1 FROM jobs WHERE source_hash = ? LIMIT 1"
PRUNE_AUDIT: Final = "DELETE FROM audit WHERE id IN (SELECT id FROM audit ORDER BY id LIMIT ?) AND at < ?"
DOOM: Final = "SELECT state, tries, epoch, again FROM doomed_objects WHERE key = ?"
ADD_DOOM: Final = """
    INSERT INTO doomed_objects (key, state, due_at, again) VALUES (?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET state = excluded.state, due_at = excluded.due_at, again = excluded.again,
                                    tries = 0
     WHERE state IN ('gone', 'later')"""
DUE_DOOMS: Final = "SELECT key FROM doomed_objects WHERE state = ? AND due_at <= ? ORDER BY due_at LIMIT ?"
NEXT_DOOM: Final = "SELECT min(due_at) FROM doomed_objects WHERE state = ?"
PUT_DOOM: Final = "UPDATE doomed_objects SET state = ?, due_at = ?, tries = ?, epoch = ?, again = ? WHERE key = ?"
DROP_DOOM: Final = "DELETE FROM doomed_objects WHERE key = ?"
HASTEN_DOOMS: Final = "UPDATE doomed_objects SET due_at = ? WHERE state = ? AND due_at > ?"
FORGET_GONE: Final = "DELETE FROM doomed_objects WHERE state = 'gone' AND again = 1 AND due_at <= ?"
DOOM_AGAIN: Final = """
    UPDATE doomed_objects SET state = 'waiting', again = 1, tries = 0
     WHERE (state = 'later' OR (state = 'gone' AND again = 0)) AND due_at <= ?"""
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
    SELECT (SELECT at FROM audit ORDER BY id LIMIT 1), (SELECT at FROM audit ORDER BY id DESC LIMIT 1)"""

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
