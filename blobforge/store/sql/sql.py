"""Statements that both engines run, named: no module outside this package and the engines' own spells or runs one.

They are spelled as SQLite takes them; where PostgreSQL needs another spelling, that stands in its room under the same
name. Updates are guarded by the state that the transition started from: how many rows they change says whether it
still held.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from blobforge.job import JobStatus
from blobforge.store.figures import FLOWS, FRESH, LEVELS, NARROWEST, ONLINE, WEEK
from blobforge.store.sorting import LARGE
from blobforge.store.tallies import MOST_COUNTED

JOB_COLUMNS: Final = (
    "id, type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path, source_size,"
    " tags, avoid, metadata, attempts, losses, attempt, worker_id, lease, heartbeat_at, started_at, completed_at,"
    " not_before, last_error, output_key, result, progress, failure, progress_at, releases, avoid_until,"
    " kept_attempt, replaced, submitter, upload_key, result_size, write_once, more_paths,"
    " output_bytes, options, converter, made_by, compare, compare_until, requires, lane, sourceless,"
    " of_group, turn, expires_at, queued_at, batches, chain"
)
# Of a list that shows no more than these: what submitters and workers write at length stays on the disk.
_LONG: Final = frozenset({"metadata", "last_error", "result", "replaced", "options"})
SHORT_COLUMNS: Final = ", ".join(f"NULL AS {name}" if name in _LONG else name for name in JOB_COLUMNS.split(", "))
# Older releases stored no keys: they had them all alike.
_ATTEMPTS_KEY: Final = "coalesce(output_key, 'outputs/' || job_id || '/' || attempt || '/output')"
ATTEMPT_COLUMNS: Final = (
    "job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, error, traceback, log_tail,"
    f" {_ATTEMPTS_KEY}, converter, given_back"
)
WORKER_COLUMNS: Final = (
    "id, type, status, created_at, updated_at, name, enabled, last_heartbeat, metadata, labels, version,"
    " token_id, secret_hash, drain, registered, instance, contested_at, contested_by,"
    " bound_type, accepts, converter, quarantine, readmitted_at"
)
USER_COLUMNS: Final = "id, issuer, subject, email, name, groups, is_admin, created_at, last_login_at"
SESSION_COLUMNS: Final = (
    "hash, user_id, token_id, created_at, seen_at, checked_at, expires_at, sealed, address, agent"
)
FILE_COLUMNS: Final = "size, sha256, checked_at, etag, version, kept, keeping"
TOKEN_COLUMNS: Final = "id, name, hash, prefix, scopes, created_at, expires_at, last_used_at"


def _delete_page(table: str, key: str, where: str) -> str:
    """Rows are deleted some at a time: the last parameter says how many."""
    return f"DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {where} LIMIT ?)"


def _update_page(table: str, key: str, change: str, where: str) -> str:
    """The same of a change."""
    return f"UPDATE {table} SET {change} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {where} LIMIT ?)"


def _one_of(names: Iterable[str]) -> str:
    quoted = (f"'{name}'" for name in names)
    return f"IN ({', '.join(quoted)})"


# --- jobs
JOB: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?"
# So many at once; of fewer, the last stands there again. Of the texts that may be long, only the result is read.
MANY: Final = 100
_ANY_OF_MANY: Final = f"IN ({', '.join('?' * MANY)})"
_NAMING_COLUMNS: Final = ", ".join(
    f"NULL AS {name}" if name in _LONG - {"result"} else name for name in JOB_COLUMNS.split(", ")
)
MANY_JOBS: Final = f"SELECT {_NAMING_COLUMNS} FROM jobs WHERE id {_ANY_OF_MANY}"
SAME_JOB: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE source_hash = ? AND type = ? AND options_hash = ?"
# Of these hashes, those whose source is held to be there.
HELD_SOURCES: Final = """
    SELECT asked.value FROM json_each(?) AS asked
     WHERE EXISTS (SELECT 1 FROM jobs WHERE source_hash = asked.value AND status <> 'uploading')"""
RUNNING_OF_THESE: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_running
     WHERE status = 'running' AND worker_id IN (SELECT value FROM json_each(?)) ORDER BY worker_id, id LIMIT ?"""
READY: Final = "status = 'pending' AND not_before IS NULL AND avoid IS NULL AND type = ? AND lane = ?"


# Some of them twice: those that have asked for their own type, too.
def _online(columns: str) -> str:
    whole = ", ".join(f"w.{column}" for column in columns.split(", "))
    return f"""
    SELECT {columns} FROM workers WHERE status = 'online' AND enabled = 1 AND quarantine IS NULL AND type = ?1
    UNION ALL
    SELECT {whole} FROM worker_types AS t JOIN workers AS w ON w.id = t.worker_id
     WHERE t.type = ?1 AND w.status = 'online' AND w.enabled = 1 AND w.quarantine IS NULL
     LIMIT ?2"""


ONLINE_WORKERS: Final = _online("id")
LABELLED_WORKERS: Final = _online("id, labels")
JOB_IN_SHORT: Final = f"SELECT {SHORT_COLUMNS} FROM jobs WHERE id = ?"
JOBS_BY_ID: Final = f"SELECT {SHORT_COLUMNS} FROM jobs WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
ADD_JOB_TAG: Final = "INSERT INTO job_tags (tag, job_id) VALUES (?, ?) ON CONFLICT (tag, job_id) DO NOTHING"
ADD_JOB_PATH: Final = "INSERT INTO job_paths (job_id, n, path) VALUES (?, ?, ?)"
PATHS_OF_JOB: Final = "SELECT n, path FROM job_paths WHERE job_id = ? AND n > ? ORDER BY n LIMIT ?"
RUNNING_ON: Final = "SELECT id FROM jobs WHERE status = 'running' AND worker_id = ? ORDER BY id LIMIT ?"

# --- attempts
ATTEMPTS: Final = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? ORDER BY attempt"
ATTEMPTS_BELOW: Final = f"""
    SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? AND attempt < ? ORDER BY attempt DESC LIMIT ?"""
# Of a timeline: the beginning of the error is all of it that is shown.
ATTEMPTS_IN_SHORT: Final = f"""
    SELECT job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, substr(error, 1, 2000), NULL, NULL,
           {_ATTEMPTS_KEY}, converter, given_back
      FROM attempts WHERE job_id = ? AND attempt < ? ORDER BY attempt DESC LIMIT ?"""
ATTEMPTS_SO_FAR: Final = """
    SELECT coalesce(ordinal, attempt) FROM attempts WHERE job_id = ? ORDER BY attempt DESC LIMIT 1"""
ATTEMPTS_OF_MANY: Final = f"""
    SELECT job_id, max(coalesce(ordinal, attempt)) FROM attempts WHERE job_id {_ANY_OF_MANY} GROUP BY job_id"""
OPTIONS_OF_MANY: Final = f"SELECT id, options FROM jobs WHERE id {_ANY_OF_MANY} AND options IS NOT NULL"
# The beginning of it is all that a table shows.
ERRORS_OF_MANY: Final = f"""
    SELECT id, substr(last_error, 1, 2000) FROM jobs WHERE id {_ANY_OF_MANY} AND last_error IS NOT NULL"""
LATEST_ATTEMPTS: Final = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? ORDER BY attempt DESC LIMIT ?"
ATTEMPTS_OF_WORKER: Final = """
    SELECT a.job_id, a.attempt, jobs.type, a.started_at, a.ended_at, a.outcome, a.kind, substr(a.error, 1, 2000),
           jobs.source_path
      FROM attempts AS a INDEXED BY attempts_by_worker JOIN jobs ON jobs.id = a.job_id
     WHERE a.worker_id = ? AND (a.started_at, a.job_id, a.attempt) < (?, ?, ?)
     ORDER BY a.started_at DESC, a.job_id DESC, a.attempt DESC LIMIT ?"""
# Of each of these workers: its latest attempts, as a JSON array. Of one that has failed, which other worker has
# completed the job since, and which ones have failed it of the same cause. What has no cause on record was ended by
# an older release.
PAST_ATTEMPTS: Final = """
    SELECT asked.value, (
           SELECT json_group_array(json_array(job_id, attempt, started_at, ended_at, outcome, failure, completed_by,
                                              json(failed_by)))
             FROM (SELECT a.job_id, a.attempt, a.started_at, a.ended_at, a.outcome, a.failure,
                          CASE WHEN a.outcome <> 'completed' THEN
                              (SELECT c.worker_id FROM attempts AS c
                                WHERE c.job_id = a.job_id AND c.outcome = 'completed' AND c.worker_id <> a.worker_id
                                ORDER BY c.attempt DESC LIMIT 1) END AS completed_by,
                          CASE WHEN a.outcome <> 'completed' THEN
                              (SELECT json_group_array(f.worker_id) FROM attempts AS f
                                WHERE f.job_id = a.job_id AND f.failure = a.failure AND f.worker_id <> a.worker_id
                                  AND f.outcome IN ('failed', 'lost')) END AS failed_by
                     FROM (SELECT * FROM attempts AS x INDEXED BY attempts_by_worker
                            WHERE x.worker_id = asked.value AND x.started_at >= ?2
                            ORDER BY x.started_at DESC, x.job_id DESC, x.attempt DESC LIMIT ?4) AS a
                     JOIN jobs ON jobs.id = a.job_id
                    WHERE jobs.type = ?3 AND (a.outcome = 'completed' OR (
                          a.outcome IN ('failed', 'lost') AND a.failure IS NOT NULL AND a.given_back IS NULL))
                    ORDER BY a.started_at DESC, a.job_id DESC, a.attempt DESC LIMIT ?5))
      FROM json_each(?1) AS asked"""
GIVE_BACK: Final = """
    UPDATE attempts SET given_back = ?3 WHERE job_id = ?1 AND attempt = ?2 AND given_back IS NULL"""
CAUSE_IN_WORDS: Final = "SELECT kind, place FROM failures WHERE id = ?"
# Attempts of a job are added in their order.
_ORDINAL: Final = (
    "1 + coalesce((SELECT coalesce(ordinal, attempt) FROM attempts WHERE job_id = ?1 "
    "ORDER BY attempt DESC LIMIT 1), 0)"
)
OUTPUT_KEYS: Final = f"SELECT {_ATTEMPTS_KEY} FROM attempts WHERE job_id = ?"

# --- the outputs of attempts that have several
_OUTPUT: Final = "name, size, sha256, media_type"
OUTPUT_NAMES: Final = "SELECT name FROM outputs WHERE job_id = ? AND attempt = ?"
TELL_OUTPUTS: Final = """
    INSERT INTO outputs (job_id, attempt, name, size, sha256, media_type)
    SELECT ?1, ?2, value ->> '$.name', value ->> '$.size', value ->> '$.sha256', value ->> '$.media_type'
      FROM json_each(?3) WHERE true
    ON CONFLICT (job_id, attempt, name) DO UPDATE SET
        size = coalesce(excluded.size, outputs.size), sha256 = coalesce(excluded.sha256, outputs.sha256),
        media_type = coalesce(excluded.media_type, outputs.media_type)"""
# Each name of the list is looked up. An UPDATE ... FROM looks through the list for each output of the attempt.
CHOOSE_OUTPUTS: Final = """
    INSERT INTO outputs (job_id, attempt, name, size, chosen)
    SELECT ?1, ?2, seen.value ->> '$.name', seen.value ->> '$.size', 1 FROM json_each(?3) AS seen
     WHERE EXISTS (SELECT 1 FROM outputs
                    WHERE job_id = ?1 AND attempt = ?2 AND name = seen.value ->> '$.name')
    ON CONFLICT (job_id, attempt, name) DO UPDATE SET chosen = 1, size = excluded.size"""
CHOOSE_NO_OUTPUTS: Final = "UPDATE outputs SET chosen = 0 WHERE job_id = ? AND attempt = ? AND chosen = 1"
CHOSEN_OUTPUTS: Final = """
    SELECT count(*), coalesce(sum(size), 0) FROM outputs WHERE job_id = ? AND attempt = ? AND chosen = 1"""
IS_CHOSEN: Final = "SELECT 1 FROM outputs WHERE job_id = ? AND attempt = ? AND name = ? AND chosen = 1"
ATTEMPTS_WITH_OUTPUTS: Final = """
    SELECT attempt FROM attempts WHERE job_id = ? AND EXISTS (
           SELECT 1 FROM outputs WHERE outputs.job_id = attempts.job_id AND outputs.attempt = attempts.attempt)"""
FORGET_OUTPUTS: Final = """
    DELETE FROM outputs WHERE job_id = ?1 AND attempt = ?2 AND name IN (
           SELECT name FROM outputs WHERE job_id = ?1 AND attempt = ?2 ORDER BY name LIMIT ?3)"""
TOLD_OUTPUTS: Final = f"SELECT {_OUTPUT} FROM outputs WHERE job_id = ? AND attempt = ? ORDER BY name"
OUTPUTS_BEHIND: Final = f"""
    SELECT {_OUTPUT} FROM outputs
     WHERE job_id = ? AND attempt = ? AND name > ? AND chosen = 1 ORDER BY name LIMIT ?"""
THESE_OUTPUTS: Final = """
    SELECT job_id, attempt, name, size, sha256, media_type FROM json_each(?) AS asked
      JOIN outputs ON job_id = asked.value ->> '$.job' AND attempt = asked.value ->> '$.attempt'
                  AND name = asked.value ->> '$.name' AND chosen = 1"""

# --- results that another one has replaced. The latest of a job may come back until its successor is proven to be
# there, and stays while it is compared with it.
_MAY_GO: Final = """
      JOIN jobs ON jobs.id = superseded.job_id LEFT JOIN files ON files.key = jobs.output_key
     WHERE (superseded.newer > 0 OR (jobs.compare_until IS NULL
            AND (files.key IS NULL OR (files.checked_at IS NOT NULL AND files.keeping = 0))))"""
ADD_SUPERSEDED: Final = """
    INSERT INTO superseded (job_id, attempt, at, key, size, newer) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (job_id, attempt) DO NOTHING"""
ONE_MORE_NEWER: Final = "UPDATE superseded SET newer = newer + 1 WHERE job_id = ?"
ONE_LESS_NEWER: Final = "UPDATE superseded SET newer = newer - 1 WHERE job_id = ? AND newer > 0"
DROP_SUPERSEDED: Final = "DELETE FROM superseded WHERE job_id = ? AND attempt = ?"
SUPERSEDED_BEFORE: Final = f"""
    SELECT superseded.job_id, superseded.attempt, superseded.key, superseded.size FROM superseded {_MAY_GO}
       AND superseded.at < ? ORDER BY superseded.at, superseded.job_id, superseded.attempt LIMIT ?"""
SUPERSEDED_BEYOND: Final = f"""
    SELECT superseded.job_id, superseded.attempt, superseded.key, superseded.size FROM superseded {_MAY_GO}
       AND superseded.newer >= ? AND superseded.at < ?
     ORDER BY superseded.newer, superseded.job_id, superseded.attempt LIMIT ?"""
SUPERSEDED_TOTALS: Final = "SELECT count(*), coalesce(sum(size), 0) FROM superseded"
SUPERSEDED_DUE: Final = "SELECT count(*), coalesce(sum(size), 0) FROM superseded WHERE at < ? OR newer >= ?"
SUPERSEDING: Final = "SELECT next_job, last_job FROM superseding WHERE id = 1"
SUPERSEDED_UP_TO: Final = "UPDATE superseding SET next_job = ?"
END_SUPERSEDING: Final = "DELETE FROM superseding"

# --- results that are kept aside
KEEP_RESULT: Final = "INSERT INTO results (job_id, attempt, result) VALUES (?, ?, ?)"
RESULTS_OF_JOB: Final = "SELECT attempt, result FROM results WHERE job_id = ? ORDER BY attempt"
RESULT: Final = "SELECT result FROM results WHERE job_id = ? AND attempt = ?"
# As JSON, the two members that say what the output is.
RESULT_NAMES: Final = """
    SELECT json_object('filename', result -> '$.filename', 'content_type', result -> '$.content_type')
      FROM results WHERE job_id = ? AND attempt = ?"""

# --- which database this is
HAD_JOBS: Final = "SELECT 1 FROM sqlite_sequence WHERE name = 'jobs' AND seq > 0"
INSTALLATION: Final = "SELECT id FROM installation"
SIGNING_KEYS: Final = "SELECT public_key, sealed, made_at FROM signing_keys ORDER BY made_at DESC, public_key"
ADD_SIGNING_KEY: Final = "INSERT INTO signing_keys (public_key, sealed, made_at) VALUES (?, ?, ?)"

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
     WHERE status = 'offline' AND enabled = 1 AND secret_hash IS NULL AND coalesce(last_heartbeat, 0) < ?
       AND updated_at < ? AND (quarantine IS NULL OR quarantine NOT LIKE '%"by":"%')
       AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.status = 'running' AND jobs.worker_id = workers.id)
     LIMIT ?"""
# A fleet is some thousand rows: they are walked for what matches. `casefold` is ours. A parameter has its type from
# where it first stands (PostgreSQL), and so its test for NULL comes last.
_WORKERS_WANTED: Final = """
    (status = ?1 OR ?1 IS NULL) AND (enabled = ?2 OR ?2 IS NULL) AND (type = ?3 OR ?3 IS NULL)
    AND (instr(casefold(id), casefold(?4)) > 0 OR instr(casefold(coalesce(name, '')), casefold(?4)) > 0 OR ?4 IS NULL)
    AND (coalesce(last_heartbeat, created_at) < ?5 OR ?5 IS NULL)"""
COUNT_WORKERS: Final = f"SELECT count(*) FROM workers WHERE {_WORKERS_WANTED}"
WORKERS_BY_ID: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers WHERE id > ?6 AND {_WORKERS_WANTED} ORDER BY id LIMIT ?7"""
# For people: those that work first.
_RANK: Final = "CASE WHEN enabled = 0 THEN 3 WHEN status = 'online' THEN 0 WHEN status = 'draining' THEN 1 ELSE 2 END"
WORKERS_BY_RANK: Final = f"""
    SELECT {WORKER_COLUMNS}, {_RANK} FROM workers WHERE ({_RANK}, id) > (?6, ?7) AND {_WORKERS_WANTED}
     ORDER BY {_RANK}, id LIMIT ?8"""
WORKERS_OF_TYPE: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers
     WHERE (registered = 1 OR status <> 'offline')
       AND (type = ?1 OR EXISTS (SELECT 1 FROM worker_types AS t WHERE t.worker_id = workers.id AND t.type = ?1))
     ORDER BY {_RANK}, id LIMIT ?2"""
WORKERS_AMONG: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers WHERE id IN (SELECT value FROM json_each(?6)) AND {_WORKERS_WANTED}"""
RUNNING_BY_WORKER: Final = """
    SELECT asked.value, jobs.id FROM json_each(?1) AS asked
      JOIN jobs ON jobs.id IN (SELECT id FROM jobs WHERE status = 'running' AND worker_id = asked.value
                                ORDER BY id LIMIT ?2)"""

# --- claims and requests that may be repeated
IDEMPOTENT: Final = "SELECT fingerprint, outcome FROM idempotency WHERE subject = ? AND key = ? AND created_at >= ?"
PURGE_CLAIM_KEYS: Final = _delete_page("claim_keys", "worker_id, claim_key", "created_at < ? ORDER BY created_at")
PURGE_IDEMPOTENT: Final = _delete_page("idempotency", "subject, key", "created_at < ? ORDER BY created_at")

# --- tokens
TOKEN: Final = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE id = ?"
TOKEN_BY_HASH: Final = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE hash = ?"
# `scopes` are words in one text; ?4 is the time of now.
TOKENS: Final = f"""
    SELECT {TOKEN_COLUMNS} FROM tokens WHERE id > ?1
       AND (instr(casefold(name), casefold(?2)) > 0 OR ?2 IS NULL)
       AND (instr(' ' || scopes || ' ', ' ' || ?3 || ' ') > 0 OR ?3 IS NULL)
       AND (CASE WHEN expires_at <= ?4 THEN 1 ELSE 0 END = ?5 OR ?5 IS NULL)
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
       AND (instr(casefold(coalesce(name, '')), casefold(?2)) > 0
            OR instr(casefold(coalesce(email, '')), casefold(?2)) > 0 OR instr(casefold(subject), casefold(?2)) > 0
            OR ?2 IS NULL)
       AND (is_admin = ?3 OR ?3 IS NULL)
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
SESSIONS_BEYOND: Final = """
    SELECT hash FROM sessions WHERE user_id = ? ORDER BY created_at DESC, hash LIMIT ? OFFSET ?"""
SESSIONS_OF_TOKEN_BEYOND: Final = """
    SELECT hash FROM sessions WHERE token_id = ? ORDER BY created_at DESC, hash LIMIT ? OFFSET ?"""
PURGE_IDLE_SESSIONS: Final = _delete_page("sessions", "hash", "seen_at < ? ORDER BY seen_at")
PURGE_EXPIRED_SESSIONS: Final = _delete_page("sessions", "hash", "expires_at <= ?")

# --- the audit log
_AUDIT: Final = "SELECT id, at, actor, name, address, action, subject, detail FROM audit"
AUDIT_BELOW: Final = f"{_AUDIT} WHERE id < ? ORDER BY id DESC"
AUDIT_OF: Final = f"{_AUDIT} WHERE subject = ? AND id < ? ORDER BY id DESC"
# As in its index.
AUDIT_OF_MARKS: Final = f"""
    {_AUDIT} WHERE action IN ('type.pause', 'type.resume', 'type.set', 'server.started', 'server.stopped')
       AND at >= ?1 AND at <= ?2 AND (subject = ?3 OR ?3 IS NULL OR action IN ('server.started', 'server.stopped'))
     ORDER BY at DESC, id DESC LIMIT ?4"""
LOWEST_AUDIT_SINCE: Final = "SELECT min(+id) FROM audit WHERE at >= ?"  # by its index, not along the ids
AUDIT_OF_JOB: Final = (
    f"{_AUDIT} WHERE subject = ? AND substr(action, 1, 4) = 'job.' AND id < ? ORDER BY id DESC LIMIT ?"
)

# --- counters. Those of comparisons stand beside the others, under types of their own (blobforge/canary.py), and are
# none of what lists and statistics show.
_ORDINARY: Final = "instr(type, '/canary/') = 0"
PURGE_HAPPENINGS: Final = _delete_page("happenings", "step, slot, type, what", "step = ? AND slot < ? ORDER BY slot")
SAVE_DEPTHS: Final = f"""
    INSERT INTO depths (step, slot, type, status, n)
    SELECT CAST(?1 AS BIGINT), CAST(?2 AS BIGINT), type, status, sum(n) FROM job_counts
     WHERE status {_one_of(LEVELS)} AND n > 0 AND {_ORDINARY}
     GROUP BY type, status"""
SAVE_ONLINE: Final = f"INSERT INTO depths (step, slot, type, status, n) VALUES (?, ?, '', '{ONLINE}', ?)"
CLEAR_DEPTHS: Final = "DELETE FROM depths WHERE step = ? AND slot = ?"
PURGE_DEPTHS: Final = _delete_page("depths", "step, slot, type, status", "step = ? AND slot < ? ORDER BY slot")


# Of all types together there are sums, up to the last slot that has any: what is later is read from the rows by type.
def _summed_up_to(table: str) -> str:
    return f"coalesce((SELECT max(slot) FROM {table}_of_all WHERE step = ?1), -1)"


def _first_unsummed(table: str) -> str:
    return f"SELECT min(slot) FROM {table} WHERE step = ?1 AND slot > {_summed_up_to(table)} AND slot < ?2"


def _sum_up(table: str, kind: str) -> str:
    return f"""
    INSERT INTO {table}_of_all (step, slot, {kind}, n)
    SELECT step, slot, {kind}, sum(n) FROM {table} WHERE step = ? AND slot >= ? AND slot < ?
     GROUP BY step, slot, {kind}"""


def _purge_sums(table: str, kind: str) -> str:
    """Those of slots whose rows are forgotten."""
    gone = (
        f"NOT EXISTS (SELECT 1 FROM {table} AS t WHERE t.step = {table}_of_all.step AND t.slot = {table}_of_all.slot)"
    )
    return _delete_page(f"{table}_of_all", f"step, slot, {kind}", f"step = ? AND slot < ? AND {gone}")


# The first slot (step, before which) that has rows and no sums; and, from there on, the sums of so many slots.
FIRST_UNSUMMED_HAPPENINGS: Final = _first_unsummed("happenings")
FIRST_UNSUMMED_DEPTHS: Final = _first_unsummed("depths")
SUM_HAPPENINGS: Final = _sum_up("happenings", "what")
SUM_DEPTHS: Final = _sum_up("depths", "status")
PURGE_HAPPENINGS_OF_ALL: Final = _purge_sums("happenings", "what")
PURGE_DEPTHS_OF_ALL: Final = _purge_sums("depths", "status")
PURGE_SPLITS: Final = _delete_page("splits", "step, slot, type, what, part", "step = ? AND slot < ? ORDER BY slot")
# Splits that are fresh no more: of all slots but the one under way. Later ones are of a clock that was set back.
TAKE_FRESH: Final = (
    _delete_page("splits", "step, slot, type, what, part", f"step = {FRESH} AND slot <> ? ORDER BY slot")
    + " RETURNING slot, type, what, part, n"
)
# Slots (step, from, up to before) in which a type has failed of more causes than so many.
MANY_CAUSES: Final = """
    SELECT slot, type FROM splits WHERE step = ? AND slot >= ? AND slot < ? AND what = 'cause' AND part <> 0
     GROUP BY slot, type HAVING count(*) > ? ORDER BY slot, type LIMIT ?"""
CAUSES_OF_SLOT: Final = """
    SELECT part, n FROM splits WHERE step = ? AND slot = ? AND type = ? AND what = 'cause' AND part <> 0
     ORDER BY n DESC, part"""
FORGET_SPLIT: Final = "DELETE FROM splits WHERE step = ? AND slot = ? AND type = ? AND what = 'cause' AND part = ?"
ADD_NO_CAUSE: Final = """
    INSERT INTO splits (step, slot, type, what, part, n) VALUES (?, ?, ?, 'cause', 0, ?)
    ON CONFLICT (step, slot, type, what, part) DO UPDATE SET n = splits.n + excluded.n"""
PURGE_WORKER_RATES: Final = _delete_page("worker_rates", "hour, worker_id, outcome", "hour < ?")
# A type has a few rows.
FORGET_TYPES: Final = """
    DELETE FROM job_counts WHERE type IN (SELECT type FROM job_counts GROUP BY type HAVING sum(n) = 0 LIMIT ?)"""
FORGET_CONVERTERS: Final = _delete_page("converter_counts", "made_by, status, type, priority", "n = 0")
FORGET_DEFERRED: Final = _delete_page("deferred_counts", "type, priority", "n = 0")
DEFERRED_COUNTS: Final = f"SELECT type, priority, n FROM deferred_counts WHERE n > 0 AND {_ORDINARY}"
# See blobforge/store/tallies.py.
SOURCE_BYTES: Final = f"""(CASE WHEN status = 'uploading' OR source_size IS NULL THEN 0
              WHEN sourceless = 1 AND status IN ('dead', 'cancelled') THEN 0
              WHEN source_size > {MOST_COUNTED} THEN {MOST_COUNTED} ELSE source_size END)"""
JOB_COUNTS: Final = f"SELECT status, type, priority, n FROM job_counts WHERE n > 0 AND {_ORDINARY}"
JOB_COUNTS_OF_STATUS: Final = f"""
    SELECT status, type, priority, n FROM job_counts WHERE status = ? AND n > 0 AND {_ORDINARY}"""
# Of one type: each status is looked up, for it has all types.
JOB_COUNTS_OF_TYPE: Final = f"""
    SELECT status, type, priority, n FROM job_counts
     WHERE status {_one_of(JobStatus)} AND type = ? AND n > 0 AND {_ORDINARY}"""
JOB_TOTALS: Final = f"""
    SELECT status, priority, CAST(sum(n) AS BIGINT) FROM job_counts
     WHERE n > 0 AND {_ORDINARY} GROUP BY status, priority"""
TYPE_TOTALS: Final = f"""
    SELECT status, type, CAST(sum(n) AS BIGINT) FROM job_counts WHERE n > 0 AND {_ORDINARY} GROUP BY status, type"""
TYPES_OF_JOBS: Final = f"SELECT DISTINCT type FROM job_counts WHERE n > 0 AND {_ORDINARY} ORDER BY type"
BYTES: Final = f"""
    SELECT status, type, CAST(sum(source_bytes) AS BIGINT), CAST(sum(output_bytes) AS BIGINT) FROM job_counts
     WHERE (source_bytes <> 0 OR output_bytes <> 0) AND {_ORDINARY} GROUP BY status, type"""
TAG_WEIGHTS: Final = """
    SELECT tag, n, source_bytes, output_bytes FROM tag_counts
     WHERE source_bytes + output_bytes <= ?1 AND (source_bytes + output_bytes < ?1 OR tag > ?2) AND n > 0
     ORDER BY source_bytes + output_bytes DESC, tag LIMIT ?3"""
TAGS_BEGINNING: Final = "SELECT tag FROM tag_counts WHERE tag >= ? AND tag < ? AND n > 0 ORDER BY tag LIMIT ?"
CONVERTERS_BEGINNING: Final = """
    SELECT DISTINCT made_by FROM converter_counts WHERE made_by >= ? AND made_by < ? AND n > 0
     ORDER BY made_by LIMIT ?"""
# Of the first lines: a group may stand in many.
GROUPS_BEGINNING: Final = """
    SELECT DISTINCT of_group
      FROM (SELECT of_group FROM group_turns ORDER BY type, priority, of_group LIMIT ?) AS looked_at
     WHERE of_group >= ? AND of_group < ? ORDER BY of_group LIMIT ?"""
# What nothing has weighs nothing: by the index of weights.
FORGET_TAGS: Final = _delete_page(
    "tag_counts", "tag", "source_bytes + output_bytes >= 0 AND source_bytes + output_bytes <= 0 AND n = 0"
)
ALL_JOB_COUNTS: Final = f"SELECT status, type, priority, n FROM job_counts WHERE {_ORDINARY}"
WORKER_COUNTS: Final = "SELECT status, n FROM worker_counts"
RATES_SINCE: Final = """
    SELECT type, sum(n) FROM happenings WHERE step = 60 AND slot >= ? AND slot < ? AND what = 'completed'
     GROUP BY type"""
# The one at the head of each line, by the claim order: as old as any behind it, up to what servers' clocks differ.
FIRST_PENDING: Final = """
    SELECT c.type, c.priority,
           (SELECT j.id FROM jobs AS j INDEXED BY jobs_listed
             WHERE j.status = 'pending' AND j.type = c.type AND j.priority = c.priority ORDER BY j.id LIMIT 1)
      FROM job_counts AS c WHERE c.status = 'pending' AND c.n > 0"""
SUBMITTED_AT: Final = "SELECT id, created_at FROM jobs WHERE id IN (SELECT value FROM json_each(?))"
# Where some are not to be started yet: the first of those that are ready in a lane, and of those that are held up.
FIRST_IN_LANE: Final = f"""
    SELECT id, created_at FROM jobs INDEXED BY jobs_ready WHERE {READY} AND priority = ? ORDER BY id LIMIT 1"""
# As in its index.
HELD_UP: Final = "(CASE WHEN avoid IS NOT NULL THEN 1 WHEN releases > 0 AND not_before IS NOT NULL THEN 1 END = 1)"
FIRST_HELD_UP: Final = f"""
    SELECT id, created_at FROM jobs INDEXED BY jobs_held_up
     WHERE status = 'pending' AND {HELD_UP}
       AND type = ? AND priority = ? ORDER BY id LIMIT 1"""


# --- what the dashboard shows
# Of all types: a row for each slot, in the order of the key, so that nothing is sorted to be counted. The plus keeps
# SQLite from beginning at the first slot that is asked for.
def _summed(table: str, kind: str, names: Iterable[str]) -> str:
    sums = ", ".join(f"CAST(sum(n) FILTER (WHERE {kind} = '{name}') AS BIGINT)" for name in names)
    return f"""
    SELECT slot, {sums} FROM {table}_of_all WHERE step = ?1 AND slot >= ?2 AND slot <= ?3 GROUP BY slot
     UNION ALL
    SELECT slot, {sums} FROM {table}
     WHERE step = ?1 AND slot > {_summed_up_to(table)} AND +slot >= ?2 AND slot <= ?3 GROUP BY slot"""


HAPPENINGS: Final = _summed("happenings", "what", FLOWS)
DEPTHS: Final = _summed("depths", "status", (*LEVELS, ONLINE))
# Of a type, and of these slots (?2): each is looked up, for they hold all types. The workers stand under none.
HAPPENINGS_OF_TYPE: Final = """
    SELECT slot, what, n FROM happenings
     WHERE step = ?1 AND slot IN (SELECT value FROM json_each(?2)) AND type = ?3"""
DEPTHS_OF_TYPE: Final = """
    SELECT slot, status, n FROM depths
     WHERE step = ?1 AND slot IN (SELECT value FROM json_each(?2)) AND type IN (?3, '')"""
SLOTS_WITH_HAPPENINGS: Final = """
    SELECT value FROM json_each(?2) WHERE EXISTS (SELECT 1 FROM happenings WHERE step = ?1 AND slot = value)"""
# Of these slots (?2): each is looked up, for they hold all types.
SPLITS: Final = """
    SELECT slot, what, part, n FROM splits
     WHERE step = ?1 AND slot IN (SELECT value FROM json_each(?2)) AND type = ?3 AND what IN (?4, ?5)"""
# Of a type, or of all types (''): few, for they are not fresh for long.
FRESH_SPLITS: Final = f"""
    SELECT slot, what, part, CAST(sum(n) AS BIGINT) FROM splits
     WHERE step = {FRESH} AND slot >= ?1 AND slot < ?2 AND (type = ?3 OR ?3 = '') AND what IN (?4, ?5)
     GROUP BY slot, what, part"""
FIRST_SPLIT: Final = "SELECT min(slot) FROM splits WHERE step = ?"
COMPLETED_SINCE: Final = """
    SELECT coalesce(sum(n), 0) FROM happenings WHERE step = 3600 AND slot >= ? AND type = ? AND what = 'completed'"""
# In these slots (?2), of these types (?3): each is looked up, for a slot has all types.
ENDED_OF_TYPES: Final = """
    SELECT type, slot, what, n FROM happenings
     WHERE step = ?1 AND slot IN (SELECT value FROM json_each(?2)) AND type IN (SELECT value FROM json_each(?3))
       AND what IN ('completed', 'failed', 'lost')"""
# From a week on, and of it and later what is fresh.
DURATIONS: Final = f"""
    SELECT type, part, CAST(sum(n) AS BIGINT) FROM splits
     WHERE ((step = {WEEK} AND slot >= ?1) OR (step = {FRESH} AND slot >= ?1 * {WEEK // NARROWEST})) AND what = 'ran'
     GROUP BY type, part"""
WORKER_RATES: Final = "SELECT worker_id, outcome, sum(n) FROM worker_rates WHERE hour > ? GROUP BY worker_id, outcome"
# In these hours (?1), of these workers (?2): each is looked up, for an hour has the whole fleet.
RATES_AMONG: Final = """
    SELECT worker_id, outcome, sum(n) FROM worker_rates
     WHERE hour IN (SELECT value FROM json_each(?1)) AND worker_id IN (SELECT value FROM json_each(?2))
     GROUP BY worker_id, outcome"""
RUNNING_JOBS: Final = f"SELECT {SHORT_COLUMNS} FROM jobs WHERE status = 'running' LIMIT ?"
LOST_WORKERS: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers AS w WHERE status = 'offline' AND registered = 1 AND enabled = 1
       AND (EXISTS (SELECT 1 FROM jobs WHERE jobs.status = 'running' AND jobs.worker_id = w.id)
            OR id IN (SELECT worker_id FROM worker_rates WHERE hour > ? AND outcome = 'lost'))
     ORDER BY last_heartbeat DESC NULLS LAST LIMIT ?"""
QUARANTINED_WORKERS: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers WHERE quarantine IS NOT NULL ORDER BY id LIMIT ?"""
QUARANTINED_OF_TYPE: Final = """
    SELECT id FROM workers WHERE quarantine IS NOT NULL AND status = 'online' AND enabled = 1
       AND (type = ?1 OR EXISTS (SELECT 1 FROM worker_types AS t WHERE t.worker_id = workers.id AND t.type = ?1))
     ORDER BY id LIMIT ?2"""
CONTESTED_WORKERS: Final = f"""
    SELECT {WORKER_COLUMNS} FROM workers WHERE contested_at > ? ORDER BY contested_at DESC LIMIT ?"""
_IN_LANE: Final = (
    "jobs.status = 'pending' AND jobs.not_before IS NULL AND jobs.avoid IS NULL AND jobs.type = s.type"
    " AND jobs.lane = {lane}"
)
# Whether its latest claim accepted options; its labels, where they are asked for; whether it is in quarantine.
FLEET: Final = """
    SELECT status, enabled, drain, registered, CASE WHEN accepts LIKE '%"options"%' THEN 1 ELSE 0 END,
           CASE WHEN ?2 = 1 THEN labels END, CASE WHEN quarantine IS NULL THEN 0 ELSE 1 END, count(*)
      FROM workers
     WHERE type = ?1 OR id IN (SELECT worker_id FROM worker_types WHERE type = ?1) GROUP BY 1, 2, 3, 4, 5, 6, 7"""
# Types and labels of the workers that are there, each once.
LABELS_THERE: Final = """
    SELECT type, labels FROM workers WHERE status = 'online' AND enabled = 1 AND quarantine IS NULL
    UNION
    SELECT t.type, w.labels FROM worker_types AS t JOIN workers AS w ON w.id = t.worker_id
     WHERE w.status = 'online' AND w.enabled = 1 AND w.quarantine IS NULL"""
SETS_WAITED_FOR: Final = f"""
    SELECT number, type, requires FROM requirement_sets AS s
     WHERE EXISTS (SELECT 1 FROM jobs WHERE {_IN_LANE.format(lane="2 * s.number")})
        OR EXISTS (SELECT 1 FROM jobs WHERE {_IN_LANE.format(lane="2 * s.number + 1")})
     ORDER BY number"""
READY_IN_LANE: Final = f"SELECT count(*) FROM (SELECT 1 FROM jobs WHERE {READY} LIMIT ?) AS ready"
TYPES_WITH_WORKERS: Final = """
    SELECT type FROM workers WHERE status = 'online' AND enabled = 1 AND quarantine IS NULL
    UNION
    SELECT t.type FROM worker_types AS t JOIN workers AS w ON w.id = t.worker_id
     WHERE w.status = 'online' AND w.enabled = 1 AND w.quarantine IS NULL"""
WORKERS_BY_TYPE: Final = """
    SELECT type, count(*)
      FROM (SELECT id, type FROM workers WHERE status = 'online' AND enabled = 1 AND quarantine IS NULL
            UNION
            SELECT w.id, t.type FROM worker_types AS t JOIN workers AS w ON w.id = t.worker_id
             WHERE w.status = 'online' AND w.enabled = 1 AND w.quarantine IS NULL) AS there
     GROUP BY type"""
_STAFF: Final = """
    SELECT id, status = 'online' AND quarantine IS NULL,
           EXISTS (SELECT 1 FROM jobs WHERE jobs.status = 'running' AND jobs.worker_id = workers.id)
      FROM workers WHERE enabled = 1 AND status IN ('online', 'draining')"""
STAFF: Final = f"{_STAFF} ORDER BY id"
STAFF_OF_TYPE: Final = f"""{_STAFF}
       AND (type = ?1 OR EXISTS (SELECT 1 FROM worker_types AS t WHERE t.worker_id = workers.id AND t.type = ?1))
     ORDER BY id"""
TYPES_ACCEPTED: Final = """
    SELECT type FROM workers
     WHERE status = 'online' AND enabled = 1 AND quarantine IS NULL AND accepts LIKE '%"options"%'
    UNION
    SELECT t.type FROM worker_types AS t JOIN workers AS w ON w.id = t.worker_id
     WHERE w.status = 'online' AND w.enabled = 1 AND w.quarantine IS NULL AND w.accepts LIKE '%"options"%'"""
# Of these types (?1) those that have a ready job in the lane (?2).
TYPES_READY_IN_LANE: Final = """
    SELECT value FROM json_each(?1)
     WHERE EXISTS (SELECT 1 FROM jobs INDEXED BY jobs_ready
                    WHERE status = 'pending' AND not_before IS NULL AND avoid IS NULL
                      AND type = value AND lane = ?2)"""
AHEAD: Final = f"""
    SELECT count(*)
      FROM (SELECT 1 FROM jobs INDEXED BY jobs_ready WHERE {READY} AND priority = ? AND id < ? LIMIT ?) AS ahead"""
# How many of its own group are before a job; how many of these run; and what other groups have ready before it, where
# it is in that round.
OWN_AHEAD: Final = f"""
    SELECT count(*)
      FROM (SELECT 1 FROM jobs INDEXED BY jobs_of_group
             WHERE {READY} AND turn > 0 AND priority = ? AND of_group = ? AND (turn, id) < (?, ?) LIMIT ?) AS ahead"""
RUNNING_OF_GROUP: Final = """
    SELECT running, weight FROM group_lines WHERE type = ? AND priority = ? AND of_group = ? LIMIT 1"""
GROUPS_AHEAD: Final = """
    SELECT ready, running, weight, rounds FROM group_lines INDEXED BY group_lines_in_turn
     WHERE ready > 0 AND type = ? AND lane = ? AND priority = ? AND (rounds, turn, job) < (?, ?, ?) AND of_group <> ?
     ORDER BY rounds, turn, job LIMIT ?"""
ANY_IN_TURN: Final = "SELECT 1 FROM group_lines WHERE type = ? AND ready > 0 LIMIT 1"

# --- causes of failures
FAILURE_BY_FINGERPRINT: Final = "SELECT id FROM failures WHERE fingerprint = ?"
HIGHEST_CAUSE: Final = "SELECT coalesce(max(id), 0) FROM failures"
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
WEIGHING: Final = "SELECT next_job, last_job FROM weighing WHERE id = 1"
WEIGHED: Final = "UPDATE weighing SET next_job = ?"
END_WEIGHING: Final = "DELETE FROM weighing"
JOBS_BETWEEN: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"

# --- what can be undone
UNDOS: Final = """
    SELECT job_id, was, became, at FROM undos WHERE token = ? AND at >= ? ORDER BY job_id LIMIT ?"""
DELETE_UNDO: Final = "DELETE FROM undos WHERE token = ? AND job_id = ?"
PURGE_UNDOS: Final = _delete_page("undos", "token, job_id", "at < ? ORDER BY at")

# --- operations
_OPERATION: Final = (
    "verb, work, state, subject, name, token_id, user_id, created_at, updated_at, told_at, ended_at, cursor, matched,"
    " total, done, changed, pages, page, reason, undo_of, undone_by, undo_until"
)
OPERATION_COLUMNS: Final = f"id, {_OPERATION}"
OPERATION: Final = f"SELECT {OPERATION_COLUMNS} FROM operations WHERE id = ?"
STARTING_FOR: Final = """
    SELECT o.id FROM operations AS o
      JOIN batch_jobs AS b ON b.job_id = CASE WHEN o.verb = 'start-children' THEN CAST(o.cursor AS BIGINT) END
     WHERE o.ended_at IS NULL AND o.verb = 'start-children' AND b.batch = ? ORDER BY o.id"""
_JOINING: Final = """operations AS o
      CROSS JOIN operation_pages AS p ON p.operation_id = o.id AND p.page >= o.page
      CROSS JOIN json_each(p.jobs) AS stage"""
# By the jobs of the stages, of which there may be very many, once for all batches.
JOINING_FOR: Final = f"""
    SELECT DISTINCT b.batch, o.id, o.work FROM {_JOINING}
      CROSS JOIN batch_jobs AS b INDEXED BY batch_jobs_by_job ON b.job_id = stage.value ->> 0
     WHERE o.ended_at IS NULL AND o.verb = 'join-stages' AND +b.batch IN (SELECT value FROM json_each(?))
     ORDER BY b.batch, o.id"""
JOINING_OF: Final = f"""
    SELECT DISTINCT o.id, o.work, stage.value ->> 0 FROM {_JOINING}
     WHERE o.ended_at IS NULL AND o.verb = 'join-stages' AND stage.value ->> 0 IN (SELECT value FROM json_each(?))
     ORDER BY 1, 3"""
CANCELLING: Final = "SELECT work FROM operations WHERE ended_at IS NULL AND verb = 'cancel' AND work LIKE ?"
# What the server does by itself, of results of which very much comes, keeps nothing else from being begun or seen.
COUNT_OPEN_OPERATIONS: Final = (
    "SELECT count(*) FROM operations WHERE ended_at IS NULL AND verb NOT IN ('start-children', 'join-stages')"
)
OPEN_OPERATIONS: Final = f"""
    SELECT {OPERATION_COLUMNS} FROM operations WHERE ended_at IS NULL
     ORDER BY CASE WHEN verb IN ('start-children', 'join-stages') THEN 1 ELSE 0 END, id LIMIT ?"""
OPERATIONS: Final = f"SELECT {OPERATION_COLUMNS} FROM operations WHERE id < ? ORDER BY id DESC LIMIT ?"
INSERT_OPERATION: Final = f"""
    INSERT INTO operations ({_OPERATION}) VALUES ({", ".join("?" * len(_OPERATION.split(",")))})"""
SAVE_OPERATION: Final = f"UPDATE operations SET {_OPERATION.replace(',', ' = ?,')} = ? WHERE id = ?"
ADD_OPERATION_PAGE: Final = "INSERT INTO operation_pages (operation_id, page, jobs) VALUES (?, ?, ?)"
OPERATION_PAGE: Final = "SELECT jobs, changes FROM operation_pages WHERE operation_id = ? AND page = ?"
KEEP_CHANGES: Final = "UPDATE operation_pages SET changes = ? WHERE operation_id = ? AND page = ?"
PRUNE_OPERATION_PAGES: Final = """
    DELETE FROM operation_pages WHERE (operation_id, page) IN (
        SELECT p.operation_id, p.page FROM operations AS o JOIN operation_pages AS p ON p.operation_id = o.id
         WHERE o.undo_until <= ? LIMIT ?)"""
END_UNDO: Final = _update_page("operations", "id", "undo_until = NULL", "undo_until <= ?")
PRUNE_OPERATIONS: Final = """
    DELETE FROM operations WHERE id IN (
        SELECT id FROM operations WHERE ended_at < ? AND undo_until IS NULL ORDER BY ended_at LIMIT ?)"""

# --- chains
IS_SUPERSEDED: Final = "SELECT 1 FROM superseded WHERE job_id = ? AND attempt = ?"
_KIN: Final = "parent, attempt, step, name, job_id, lent"
LENDS: Final = "SELECT 1 FROM kin WHERE parent = ? AND attempt = ? AND lent = 1 LIMIT 1"
LENDING: Final = "SELECT DISTINCT attempt FROM kin WHERE parent = ? AND lent = 1"
KIN_OF_ATTEMPT: Final = f"""
    SELECT {_KIN} FROM kin WHERE parent = ? AND attempt = ? AND step >= 0 ORDER BY step, name LIMIT ?"""
KIN_OF: Final = f"""
    SELECT {_KIN} FROM kin
     WHERE parent = ? AND (attempt, step, name) > (?, ?, ?) AND (step >= 0 OR lent = 0)
     ORDER BY attempt, step, name LIMIT ?"""
COUNT_KIN: Final = (
    "SELECT count(*) FROM (SELECT 1 FROM kin WHERE parent = ? AND (step >= 0 OR lent = 0) LIMIT ?) AS each"
)
KIN_OF_STAGE: Final = f"""
    SELECT {_KIN} FROM kin WHERE parent = ? AND attempt = ? AND step = ? ORDER BY name LIMIT ?"""
KIN_OF_JOBS: Final = f"""
    SELECT {_KIN} FROM kin WHERE job_id IN (SELECT value FROM json_each(?)) AND step >= 0
     ORDER BY parent, attempt, step, name"""
KIN_OF_JOIN: Final = f"SELECT {_KIN} FROM kin WHERE job_id = ? AND lent = 1 ORDER BY parent, attempt, step, name"
IS_UNFINISHED: Final = """
    SELECT 1 FROM kin JOIN jobs ON jobs.id = kin.job_id
     WHERE kin.parent = ? AND kin.attempt = ? AND kin.step = ?
       AND jobs.status NOT IN ('completed', 'dead', 'cancelled') LIMIT 1"""
# Below all steps: by which one the job came of it is not known.
LEND: Final = "INSERT INTO kin (parent, attempt, step, name, job_id, lent) VALUES (?, ?, -1, ?, ?, 1)"
ADD_MANIFEST: Final = "INSERT INTO manifests (source_hash, manifest) VALUES (?, ?) ON CONFLICT DO NOTHING"
MANIFEST: Final = "SELECT manifest FROM manifests WHERE source_hash = ?"
DROP_MANIFEST: Final = "DELETE FROM manifests WHERE source_hash = ?"
AWAITED_MANIFESTS: Final = """
    SELECT jobs.id, jobs.source_hash FROM jobs JOIN manifests AS m ON m.source_hash = jobs.source_hash
     WHERE jobs.status = 'uploading'"""
REPLACE_KIN: Final = """
    UPDATE kin SET job_id = ?, lent = ? WHERE parent = ? AND attempt = ? AND step = ? AND name = ?"""
FAMILY_JOBS: Final = "SELECT jobs FROM families WHERE root = ?"
CHOSEN_OF: Final = """
    SELECT name, size, sha256 FROM outputs
     WHERE job_id = ? AND attempt = ? AND name > ? AND chosen = 1 ORDER BY name LIMIT ?"""

# --- batches
_BATCH: Final = "name, created_at, metadata, submitter, closed_at, started_at, ended_at, endings"
_UNFINISHED: Final = """(SELECT coalesce(sum(n), 0) FROM batch_counts
         WHERE batch = b.id AND status IN ('uploading', 'pending', 'running', 'failed'))"""
BATCH_COLUMNS: Final = f"id, {_BATCH}, CAST({_UNFINISHED} AS BIGINT), callback_to, callback"
BATCH: Final = f"SELECT {BATCH_COLUMNS} FROM batches AS b WHERE id = ?"
INSERT_BATCH: Final = f"""
    INSERT INTO batches ({_BATCH}, callback_to, callback) VALUES ({", ".join("?" * (len(_BATCH.split(",")) + 2))})"""
OPEN_BATCH: Final = "SELECT id FROM batches WHERE name = ? AND closed_at IS NULL"
DELETE_EMPTY_BATCH: Final = """
    DELETE FROM batches WHERE NOT EXISTS (SELECT 1 FROM batch_jobs WHERE batch = ?1) AND id = ?1"""
BATCHES: Final = f"SELECT {BATCH_COLUMNS} FROM batches AS b WHERE id < ? ORDER BY id DESC LIMIT ?"
BATCHES_NAMED: Final = f"SELECT {BATCH_COLUMNS} FROM batches AS b WHERE name = ? AND id < ? ORDER BY id DESC LIMIT ?"
BATCHES_GOING: Final = f"""
    SELECT {BATCH_COLUMNS} FROM batches AS b WHERE ended_at IS NULL AND id < ? ORDER BY id DESC LIMIT ?"""
COUNTS_OF_BATCHES: Final = """
    SELECT batch, status, type, n FROM batch_counts
     WHERE batch IN (SELECT value FROM json_each(?)) AND n > 0 ORDER BY batch, status, type"""
SPAN_OF_BATCH: Final = """
    SELECT (SELECT min(job_id) FROM batch_jobs WHERE batch = ?1),
           (SELECT max(job_id) FROM batch_jobs WHERE batch = ?1)"""
IDS_OF_BATCH: Final = "SELECT job_id FROM batch_jobs WHERE batch = ? LIMIT ?"
JOBS_OF_BATCH: Final = f"""
    SELECT {SHORT_COLUMNS} FROM batch_jobs AS b CROSS JOIN jobs
     WHERE b.batch = ? AND b.job_id > ? AND b.job_id < ? AND jobs.id = b.job_id ORDER BY b.job_id LIMIT ?"""

# --- workers' types, and hours of ids
WORKER_TYPES: Final = "SELECT type FROM worker_types WHERE worker_id = ?"
FIRST_ID: Final = "SELECT min(first_id) FROM job_hours WHERE hour >= ?"
LAST_ID: Final = "SELECT max(last_id) FROM job_hours WHERE hour <= ?"

# --- lists: one range of an index for each (status, type, priority), newest first. The planner is told which index:
# with a bound on both sides of the id it might take the table itself, and look at every job in between.
STRATUM: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_listed
     WHERE status = ? AND type = ? AND priority = ? AND id < ? AND id > ? ORDER BY id DESC"""
# The first id of each of these ranges that have one priority, and this status (?4; '': any); NULL where there is none
# between the bounds.
FIRST_OF_STRATA: Final = """
    SELECT c.status, c.type,
           (SELECT j.id FROM jobs AS j INDEXED BY jobs_listed
             WHERE j.status = c.status AND j.type = c.type AND j.priority = c.priority AND j.id < ?2 AND j.id > ?3
             ORDER BY j.id DESC LIMIT 1)
      FROM job_counts AS c WHERE c.priority = ?1 AND c.n > 0 AND (?4 = '' OR c.status = ?4)"""
OF_FAILURE: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_failure
     WHERE failure = ? AND priority = ? AND id < ? AND id > ? ORDER BY id DESC"""
# In no order: a share is the same by whichever jobs. A running one is in the hands of another worker by now.
WORKERS_OF_FAILURE: Final = """
    SELECT worker_id, count(*) AS jobs
      FROM (SELECT a.worker_id FROM jobs AS j INDEXED BY jobs_by_failure
              JOIN attempts AS a ON a.job_id = j.id AND a.attempt = j.attempt
             WHERE j.failure = ? AND j.status <> 'running' LIMIT ?) AS looked_at
     GROUP BY worker_id ORDER BY jobs DESC, worker_id LIMIT ?"""
OF_WORKER: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_worker
     WHERE worker_id = ? AND priority = ? AND id < ? AND id > ? ORDER BY id DESC"""
OF_CONVERTER: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_by_converter
     WHERE made_by = ? AND status = ? AND type = ? AND priority = ? AND id < ? AND id > ? ORDER BY id DESC"""
HAS_CONVERTER: Final = """
    SELECT 1 WHERE EXISTS (SELECT 1 FROM converter_counts WHERE made_by = ?1 AND n > 0)
                OR EXISTS (SELECT 1 FROM workers WHERE converter = ?1)"""
KNOWN_CONVERTERS: Final = """
    SELECT count(*) FROM (SELECT made_by FROM converter_counts WHERE n > 0
                          UNION SELECT converter FROM workers WHERE converter IS NOT NULL) AS known"""
OF_COMPARED: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_compared
     WHERE compare_until IS NOT NULL AND priority = ? AND id < ? AND id > ? ORDER BY id DESC"""
CONVERTERS_OF_TYPE: Final = """
    SELECT made_by, sum(n) FROM converter_counts WHERE type = ? AND n > 0
     GROUP BY made_by ORDER BY 2 DESC, made_by LIMIT ?"""
CONVERTER_COUNTS: Final = f"""
    SELECT made_by, status, type, priority, n FROM converter_counts WHERE n > 0 AND {_ORDINARY}"""


def _upwards(statement: str) -> str:
    """The same range, the oldest first."""
    return statement.replace("ORDER BY id DESC", "ORDER BY id")


STRATUM_UP: Final = _upwards(STRATUM)
OF_FAILURE_UP: Final = _upwards(OF_FAILURE)
OF_WORKER_UP: Final = _upwards(OF_WORKER)
OF_CONVERTER_UP: Final = _upwards(OF_CONVERTER)
OF_COMPARED_UP: Final = _upwards(OF_COMPARED)

# --- lists in another order: all jobs that have a key of it, from a key and an id on


def _by_key(index: str, key: str, which: str) -> tuple[str, str]:
    """By that key and then by id: the lowest first, and the highest first."""
    found = f"SELECT {JOB_COLUMNS} FROM jobs INDEXED BY {index} WHERE {which}"
    return (
        f"{found} AND {key} >= ?1 AND ({key} > ?1 OR id > ?2) ORDER BY {key}, id",
        f"{found} AND {key} <= ?1 AND ({key} < ?1 OR id < ?2) ORDER BY {key} DESC, id DESC",
    )


BY_ID_UP: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id < ? AND id > ? ORDER BY id"
BY_ID_DOWN: Final = f"{BY_ID_UP} DESC"
BY_END_UP, BY_END_DOWN = _by_key("jobs_ended", "completed_at", "status = ?3")
BY_DURATION_UP, BY_DURATION_DOWN = _by_key("jobs_by_duration", "completed_at - started_at", "status = 'completed'")
_, BY_SIZE_DOWN = _by_key("jobs_by_size", "source_size", f"source_size >= {LARGE}")
_, BY_TRIES_DOWN = _by_key("jobs_by_tries", "attempts", "attempts > 1")
IDS_OF_TAG: Final = "SELECT job_id FROM job_tags WHERE tag = ? LIMIT ?"

# --- the index of texts
MANY_IN_SHORT: Final = f"SELECT {SHORT_COLUMNS} FROM jobs WHERE id {_ANY_OF_MANY}"
INDEXED_UPTO: Final = "SELECT upto FROM texts_indexed WHERE id = 1"
FOUND_BY_TEXT: Final = "SELECT rowid FROM job_texts WHERE job_texts MATCH ? LIMIT ?"
FOUND_BY_HASH: Final = "SELECT id FROM jobs WHERE source_hash >= ? AND source_hash < ? LIMIT ?"
FOUND_BY_WORKER: Final = "SELECT id FROM jobs INDEXED BY jobs_by_worker WHERE worker_id = ? LIMIT ?"
NOT_INDEXED: Final = "SELECT id FROM jobs WHERE id > ? ORDER BY id LIMIT ?"
CHANGED_SINCE: Final = "SELECT job_id FROM texts_changed LIMIT ?"
PLACES: Final = """
    SELECT priority, id, status, type FROM jobs WHERE id IN (SELECT value FROM json_each(?))"""
TEXTS_TO_INDEX: Final = """
    SELECT id, source_path, tags, more_paths FROM jobs
     WHERE id > coalesce((SELECT upto FROM texts_indexed WHERE id = 1), 0) ORDER BY id LIMIT ?"""
TEXTS_CHANGED: Final = """
    SELECT c.job_id, jobs.id, jobs.source_path, jobs.tags, jobs.more_paths
      FROM texts_changed AS c LEFT JOIN jobs ON jobs.id = c.job_id
     WHERE c.large = 0 ORDER BY c.job_id LIMIT ?"""
SAVE_TEXTS: Final = """
    INSERT OR REPLACE INTO job_texts (rowid, text) SELECT value ->> 0, value ->> 1 FROM json_each(?)"""
DROP_TEXTS: Final = "DELETE FROM job_texts WHERE rowid IN (SELECT value FROM json_each(?))"
SETTLE_TEXTS: Final = "DELETE FROM texts_changed WHERE job_id IN (SELECT value FROM json_each(?))"
LARGE_TEXT: Final = """
    INSERT INTO texts_changed (job_id, large) VALUES (?, 1) ON CONFLICT (job_id) DO UPDATE SET large = 1"""
INDEX_UPTO: Final = """
    INSERT INTO texts_indexed (id, upto) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET upto = excluded.upto"""

# --- what a start reads
# The last column: how long a lease of the type lasts, where that is set.
RUNNING: Final = """
    SELECT id, attempt, heartbeat_at, t.worker_timeout
      FROM jobs LEFT JOIN type_settings AS t ON t.type = jobs.type WHERE status = 'running'"""
WAITING_FOR_TIME: Final = """
    SELECT id, coalesce(not_before, avoid_until), updated_at
      FROM jobs WHERE (not_before IS NOT NULL OR avoid_until IS NOT NULL)
       AND status <> 'uploading' AND NOT (status = 'pending' AND not_before IS NOT NULL AND releases = 0)"""
AWAITED_SOURCES: Final = """
    SELECT id, source_hash, coalesce(queued_at, created_at) FROM jobs
     WHERE status = 'uploading' AND source_hash NOT LIKE 'unproven/%'
       AND NOT EXISTS (SELECT 1 FROM manifests AS m WHERE m.source_hash = jobs.source_hash)"""
AWAITED_PROOFS: Final = """
    SELECT id, chain FROM jobs WHERE status = 'uploading' AND source_hash LIKE 'unproven/%'"""
LIVE_WORKERS: Final = "SELECT id, last_heartbeat FROM workers WHERE status <> 'offline'"

# --- types, and what is set for them
TYPES: Final = f"SELECT DISTINCT type FROM job_counts WHERE n > 0 AND {_ORDINARY}"
TYPE_SETTINGS: Final = """
    SELECT type, paused_at, paused_by, reason, max_attempts, retry_backoff, max_running, rate_count, rate_ms,
           worker_timeout, group_weights, breaker, urgent_after, own_fault, quarantine, made_by, then_steps
      FROM type_settings"""
# Another rate begins with a full bucket.
SAVE_TYPE_SETTINGS: Final = """
    INSERT INTO type_settings (type, paused_at, paused_by, reason, max_attempts, retry_backoff, max_running,
                               rate_count, rate_ms, worker_timeout, group_weights, breaker, urgent_after, own_fault,
                               quarantine, made_by, then_steps)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (type) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by,
        reason = excluded.reason, max_attempts = excluded.max_attempts, retry_backoff = excluded.retry_backoff,
        max_running = excluded.max_running, rate_count = excluded.rate_count, rate_ms = excluded.rate_ms,
        worker_timeout = excluded.worker_timeout, group_weights = excluded.group_weights,
        breaker = excluded.breaker, urgent_after = excluded.urgent_after, own_fault = excluded.own_fault,
        quarantine = excluded.quarantine, made_by = excluded.made_by, then_steps = excluded.then_steps,
        owed = CASE WHEN type_settings.rate_count = excluded.rate_count AND type_settings.rate_ms = excluded.rate_ms
                    THEN type_settings.owed ELSE 0 END"""
FORGET_TYPE_SETTINGS: Final = "DELETE FROM type_settings WHERE type = ?"
BREAKER_OF_TYPE: Final = "SELECT state FROM breakers WHERE type = ?"
OWED_OF_TYPE: Final = "SELECT owed, owed_at FROM type_settings WHERE type = ?"
RUNNERS_OF_TYPE: Final = "SELECT id FROM jobs WHERE status = 'running' AND type = ? LIMIT ?"
RUNNING_OF_TYPE: Final = "SELECT coalesce(sum(n), 0) FROM job_counts WHERE status = 'running' AND type = ?"
PENDING_OF_TYPE: Final = "SELECT coalesce(sum(n), 0) FROM job_counts WHERE status = 'pending' AND type = ?"

# --- canaries
_CANARY: Final = (
    "types, made_by, against, asked, taken, slower, priority, subject, name, created_at, closed_at, cancelled_at"
)
CANARY_COLUMNS: Final = f"id, {_CANARY}"
CANARY: Final = f"SELECT {CANARY_COLUMNS} FROM canaries WHERE id = ?"
CANARIES: Final = f"SELECT {CANARY_COLUMNS} FROM canaries WHERE id < ? ORDER BY id DESC LIMIT ?"
OPEN_CANARIES: Final = f"SELECT {CANARY_COLUMNS} FROM canaries WHERE closed_at IS NULL ORDER BY id LIMIT ?"
CANARIES_BEFORE: Final = f"SELECT {CANARY_COLUMNS} FROM canaries WHERE created_at < ? ORDER BY id LIMIT ?"
COUNT_OPEN_CANARIES: Final = "SELECT count(*) FROM canaries WHERE closed_at IS NULL"
INSERT_CANARY: Final = f"INSERT INTO canaries ({_CANARY}) VALUES ({', '.join('?' * len(_CANARY.split(',')))})"
SAVE_CANARY: Final = f"UPDATE canaries SET {_CANARY.replace(',', ' = ?,')} = ? WHERE id = ?"
FORGET_CANARY: Final = "DELETE FROM canaries WHERE id = ?"
ADD_CANARY_JOBS: Final = """
    INSERT INTO canary_jobs (canary_id, job_id, original_id, against)
    SELECT ?1, value ->> 0, value ->> 1, value ->> 2 FROM json_each(?2)"""
FORGET_CANARY_JOB: Final = "DELETE FROM canary_jobs WHERE canary_id = ? AND job_id = ?"
CANARY_JOBS: Final = "SELECT job_id FROM canary_jobs WHERE canary_id = ? AND job_id > ? ORDER BY job_id LIMIT ?"
COUNTS_OF_TYPE: Final = "SELECT status, n FROM job_counts WHERE type = ? AND n > 0"
COMPLETED_TYPES: Final = f"""
    SELECT DISTINCT type FROM job_counts WHERE status = 'completed' AND n > 0 AND {_ORDINARY} ORDER BY type"""
# A fleet is some thousand rows.
CONVERTERS_THERE: Final = """
    SELECT DISTINCT converter FROM workers WHERE status = 'online' AND converter IS NOT NULL
     ORDER BY converter LIMIT ?"""
WORKERS_WITH: Final = """
    SELECT id FROM workers
     WHERE converter = ?1 AND status = 'online' AND enabled = 1 AND quarantine IS NULL
       AND (type = ?2 OR EXISTS (SELECT 1 FROM worker_types AS t WHERE t.worker_id = workers.id AND t.type = ?2))
     ORDER BY id LIMIT ?3"""
# Comparisons, each with how long its attempt and the other one took, and what is known of the document.
CANARY_PAIRS: Final = """
    SELECT c.job_id, c.original_id, c.against, j.type, j.status, j.last_error, now.worker_id,
           now.ended_at - now.started_at, was.ended_at - was.started_at, was.converter, o.source_size, o.source_path
      FROM canary_jobs AS c
      LEFT JOIN jobs AS j ON j.id = c.job_id
      LEFT JOIN attempts AS now ON now.job_id = j.id AND now.attempt = j.attempt
      LEFT JOIN jobs AS o ON o.id = c.original_id
      LEFT JOIN attempts AS was ON was.job_id = o.id AND was.attempt = c.against
     WHERE c.canary_id = ? AND c.job_id > ? ORDER BY c.job_id LIMIT ?"""
# Of the sample: so many completed jobs before a place in one range of an index, the nearest first, with the cause for
# which an attempt of theirs has failed last.
SAMPLED_COLUMNS: Final = """id, source_size, made_by, (
           SELECT a.failure FROM attempts AS a
            WHERE a.job_id = jobs.id AND a.outcome IN ('failed', 'lost') ORDER BY a.attempt DESC LIMIT 1)"""
SAMPLED: Final = f"""
    SELECT {SAMPLED_COLUMNS} FROM jobs INDEXED BY jobs_listed
     WHERE status = ? AND type = ? AND priority = ? AND id < ? AND id > ? ORDER BY id DESC LIMIT ?"""
SAMPLED_OF_CONVERTER: Final = f"""
    SELECT {SAMPLED_COLUMNS} FROM jobs INDEXED BY jobs_by_converter
     WHERE made_by = ? AND status = ? AND type = ? AND priority = ? AND id < ? AND id > ? ORDER BY id DESC LIMIT ?"""
LOWEST: Final = """
    SELECT id FROM jobs INDEXED BY jobs_listed
     WHERE status = ? AND type = ? AND priority = ? ORDER BY id LIMIT 1"""
LOWEST_OF_CONVERTER: Final = """
    SELECT id FROM jobs INDEXED BY jobs_by_converter
     WHERE made_by = ? AND status = ? AND type = ? AND priority = ? ORDER BY id LIMIT 1"""

# --- searches through the object store

_SEARCH: Final = (
    "name, searcher, state, doom, started_at, heard_at, folder, cursor, ended_at, objects, orphans, bytes,"
    " unfinished, named, error"
)
SEARCH: Final = f"SELECT {_SEARCH} FROM searches WHERE name = ?"
SAVE_SEARCH: Final = f"""
    INSERT INTO searches ({_SEARCH}) VALUES ({", ".join("?" * len(_SEARCH.split(",")))})
    ON CONFLICT (name) DO UPDATE SET {", ".join(f"{each} = excluded.{each}" for each in _SEARCH.split(", ")[1:])}"""
ADD_SEARCH_NAMES: Final = "INSERT INTO search_names (search, n, keys) VALUES (?, ?, ?)"
SEARCH_NAMES: Final = "SELECT keys FROM search_names WHERE search = ? ORDER BY n"
FORGET_SEARCH_NAMES: Final = "DELETE FROM search_names WHERE search = ?"

# --- webhooks and their deliveries
_WEBHOOK: Final = (
    "url, events, types, tags, of_group, batch, results, sealed, former, former_until, created_at, updated_at,"
    " failing_since, disabled_at, disabled_why, deleted_at, host, failed_at, failing_ms"
)
WEBHOOKS: Final = f"SELECT id, {_WEBHOOK} FROM webhooks ORDER BY id"
INSERT_WEBHOOK: Final = f"INSERT INTO webhooks ({_WEBHOOK}) VALUES ({', '.join('?' * len(_WEBHOOK.split(',')))})"
SAVE_WEBHOOK: Final = f"UPDATE webhooks SET {', '.join(f'{each} = ?' for each in _WEBHOOK.split(', '))} WHERE id = ?"
DROP_WEBHOOK: Final = "DELETE FROM webhooks WHERE id = ?"
_TRIED: Final = "state, due_at, tries, courier, tried_at, status, error, answer, ended_at"
DELIVERY_COLUMNS: Final = f"id, webhook, event, at, data, {_TRIED}, sealed"
INSERT_DELIVERY: Final = "INSERT INTO deliveries (webhook, event, at, data, due_at) VALUES (?, ?, ?, ?, ?)"
DELIVERY: Final = f"SELECT {DELIVERY_COLUMNS} FROM deliveries WHERE id = ?"
SAVE_DELIVERY: Final = f"UPDATE deliveries SET {', '.join(f'{each} = ?' for each in _TRIED.split(', '))} WHERE id = ?"
FIRST_DELIVERIES: Final = f"""
    SELECT {DELIVERY_COLUMNS} FROM deliveries INDEXED BY deliveries_due
     WHERE webhook = ? AND state = 'waiting' ORDER BY due_at, id LIMIT ?"""
NEXT_DELIVERY: Final = """
    SELECT due_at FROM deliveries INDEXED BY deliveries_due
     WHERE webhook = ? AND state = 'waiting' ORDER BY due_at, id LIMIT 1"""
DELIVERIES: Final = f"""
    SELECT {DELIVERY_COLUMNS} FROM deliveries INDEXED BY deliveries_of_webhook
     WHERE webhook = ? AND id < ? ORDER BY id DESC LIMIT ?"""
# Of a state, among so many; `DELIVERY_BEFORE` is where those end.
DELIVERIES_IN_STATE: Final = f"""
    SELECT {DELIVERY_COLUMNS} FROM deliveries INDEXED BY deliveries_of_webhook
     WHERE webhook = ? AND id < ? AND id >= ? AND state = ? ORDER BY id DESC LIMIT ?"""
DELIVERY_BEFORE: Final = """
    SELECT id FROM deliveries INDEXED BY deliveries_of_webhook
     WHERE webhook = ? AND id < ? ORDER BY id DESC LIMIT 1 OFFSET ?"""
DELIVERIES_BETWEEN: Final = f"""
    SELECT {DELIVERY_COLUMNS} FROM deliveries INDEXED BY deliveries_of_webhook
     WHERE webhook = ? AND id > ? AND id <= ? AND at >= ? AND at < ? AND state <> 'waiting' ORDER BY id LIMIT ?"""
DELIVERY_AFTER: Final = """
    SELECT id FROM deliveries INDEXED BY deliveries_of_webhook
     WHERE webhook = ? AND id > ? ORDER BY id LIMIT 1 OFFSET ?"""
# How many wait, up to so many, and since when the first of these.
WAITING_DELIVERIES: Final = """
    SELECT count(*), min(at) FROM (SELECT at FROM deliveries INDEXED BY deliveries_due
                                    WHERE webhook = ? AND state = 'waiting' ORDER BY due_at, id LIMIT ?) AS first"""
# Callbacks that an endpoint is to be told of, or waits to be told, each up to so many.
CALLBACKS_TO: Final = """
    SELECT (SELECT count(*) FROM (SELECT 1 FROM batches INDEXED BY batches_by_callback
                                   WHERE callback_to = ?1 AND ended_at IS NULL LIMIT ?2) AS going)
         + (SELECT count(*) FROM (SELECT 1 FROM deliveries INDEXED BY deliveries_due
                                   WHERE webhook = ?1 AND state = 'waiting' LIMIT ?2) AS waiting)"""
PRUNE_DELIVERIES: Final = _delete_page("deliveries", "id", "at < ? ORDER BY at, id")
DROP_DELIVERIES: Final = _delete_page("deliveries", "id", "webhook = ?")

# --- turns of groups
TYPES_WITH_GROUPS: Final = "SELECT DISTINCT type FROM group_clocks"
FORGET_TURNS: Final = """
    DELETE FROM group_turns WHERE (type, priority, of_group) IN (
        SELECT type, priority, of_group FROM group_turns
         WHERE type = ? AND priority = ? AND turn <= ? ORDER BY turn LIMIT ?)"""

# --- sets of requirements that jobs have
REQUIREMENT_SETS: Final = "SELECT number, type, requires FROM requirement_sets ORDER BY number"
ADD_REQUIREMENT_SET: Final = "INSERT INTO requirement_sets (number, type, requires) VALUES (?, ?, ?)"
FORGET_REQUIREMENT_SET: Final = "DELETE FROM requirement_sets WHERE number = ?"
UNUSED_REQUIREMENT_SETS: Final = """
    SELECT number FROM requirement_sets AS s
     WHERE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.lane > 1 AND jobs.lane = 2 * s.number)
       AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.lane > 1 AND jobs.lane = 2 * s.number + 1)"""

PULSE: Final = "INSERT INTO pulse (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at"
SANITY: Final = "SELECT 1"

# --- housekeeping
ENDED_BEFORE: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs WHERE status = ? AND completed_at < ? ORDER BY completed_at, id LIMIT ?"""
COMPARED_UNTIL: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_compared_until
     WHERE compare_until < ? ORDER BY compare_until, id LIMIT ?"""
READY_LONGEST: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs INDEXED BY jobs_ready WHERE {READY} AND priority = ? ORDER BY id LIMIT ?"""
_TO_START: Final = "jobs INDEXED BY jobs_to_start WHERE status = 'pending' AND releases = 0"
DUE_STARTS: Final = f"""
    SELECT {JOB_COLUMNS} FROM {_TO_START} AND not_before <= ? ORDER BY not_before, id LIMIT ?"""
_TO_EXPIRE: Final = """jobs INDEXED BY jobs_to_expire
     WHERE expires_at IS NOT NULL AND status IN ('pending', 'uploading')"""
DUE_EXPIRIES: Final = f"""
    SELECT {JOB_COLUMNS} FROM {_TO_EXPIRE} AND expires_at <= ? ORDER BY expires_at, id LIMIT ?"""
NEXT_EXPIRY: Final = f"SELECT expires_at FROM {_TO_EXPIRE} ORDER BY expires_at, id LIMIT 1"
NEXT_START: Final = f"SELECT not_before FROM {_TO_START} AND not_before IS NOT NULL ORDER BY not_before, id LIMIT 1"
HAS_SOURCE: Final = "SELECT 1 FROM jobs WHERE source_hash = ? LIMIT 1"
PRUNE_AUDIT: Final = _delete_page("audit", "id", "at < ? ORDER BY at, id")
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
HASTEN_DOOMS: Final = _update_page("doomed_objects", "key", "due_at = ?", "state = ? AND due_at > ?")
DROP_DUE_DOOMS: Final = _delete_page("doomed_objects", "key", "state = ? AND again = ? AND due_at <= ?")
MOVE_DUE_DOOMS: Final = _update_page(
    "doomed_objects", "key", "state = ?, again = 1, tries = 0", "state = ? AND again = ? AND due_at <= ?"
)
FORGET_EPOCHS: Final = _update_page("doomed_objects", "key", "epoch = 0", "epoch > 0")

# --- what comes with its past from another database
JOB_SEQUENCE: Final = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'jobs'"
WHOLE_JOB_COLUMNS: Final = f"{JOB_COLUMNS}, options_hash"
INSERT_WHOLE_JOB: Final = f"""
    INSERT INTO jobs ({WHOLE_JOB_COLUMNS}) VALUES ({", ".join("?" * len(WHOLE_JOB_COLUMNS.split(",")))})"""
INSERT_WHOLE_ATTEMPT: Final = f"""
    INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, error, traceback,
                          log_tail, output_key, converter, given_back, ordinal)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, {_ORDINAL})"""
TO_BACKFILL: Final = """
    INSERT INTO backfill (id, next_job, last_job, counts) VALUES (1, ?1, ?2, 1)
    ON CONFLICT (id) DO UPDATE SET next_job = min(next_job, excluded.next_job),
                                   last_job = max(last_job, excluded.last_job)"""
RAISE_IDS: Final = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'jobs'"
RAISE_FLOOR: Final = "UPDATE recovery SET attempt_floor = max(attempt_floor, ?) WHERE id = 1"
RENAME_INSTALLATION: Final = "UPDATE installation SET id = ?"

# --- what a restore leaves behind, and drills
RECOVERY: Final = "SELECT restored_at, attempt_floor FROM recovery WHERE id = 1"
ATTEMPT_FLOOR: Final = "SELECT attempt_floor FROM recovery WHERE id = 1"
MARK_RESTORED: Final = "UPDATE recovery SET restored_at = ? WHERE id = 1"
END_RECOVERY: Final = "UPDATE recovery SET restored_at = NULL, attempt_floor = ? WHERE id = 1"
SOME_RUNNING: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE status = 'running' LIMIT ?"
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
     WHERE id < ?1 AND (ok = ?2 OR ?2 IS NULL) ORDER BY id DESC LIMIT ?3"""
PROVEN_UNTIL: Final = "SELECT max(proven_until) FROM backup_drills"
