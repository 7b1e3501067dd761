"""All SQL, named. Nothing else in the program spells a statement; only `store.py` and `reader.py` run them.

Updates are guarded by the state that the transition started from: `changes()` says whether it still held.
"""

from __future__ import annotations

from typing import Final

JOB_COLUMNS: Final = (
    "id, type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path, source_size,"
    " tags, metadata, attempts, losses, attempt, worker_id, lease, heartbeat_at, started_at, completed_at,"
    " not_before, last_error, output_key, result, progress"
)
ATTEMPT_COLUMNS: Final = (
    "job_id, attempt, worker_id, lease, started_at, ended_at, outcome, kind, error, traceback, log_tail"
)
WORKER_COLUMNS: Final = (
    "id, type, status, created_at, updated_at, name, enabled, last_heartbeat, metadata, labels, version,"
    " token_id, secret_hash, drain, registered"
)
USER_COLUMNS: Final = "id, issuer, subject, email, name, groups, is_admin, created_at, last_login_at"
SESSION_COLUMNS: Final = (
    "hash, user_id, token_id, created_at, seen_at, checked_at, expires_at, sealed, address, agent"
)
TOKEN_COLUMNS: Final = "id, name, hash, prefix, scopes, created_at, expires_at, last_used_at"

# --- jobs
JOB: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE id = ?"
JOB_BY_SOURCE: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE source_hash = ? AND type = ?"
JOBS_BY_HASH: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE source_hash = ?"
PICK_READY: Final = (
    f"SELECT {JOB_COLUMNS} FROM jobs WHERE status = 'pending' AND type = ? ORDER BY priority, id LIMIT ?"
)
JOBS_OF_WORKER: Final = f"SELECT {JOB_COLUMNS} FROM jobs WHERE status = 'running' AND worker_id = ? ORDER BY id"
INSERT_JOB: Final = """
    INSERT INTO jobs (type, status, priority, source_hash, created_at, updated_at, max_attempts, source_path,
                      source_size, tags, metadata)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_JOB_TAG: Final = "INSERT OR IGNORE INTO job_tags (tag, job_id) VALUES (?, ?)"
UPDATE_JOB: Final = """
    UPDATE jobs SET status = ?, priority = ?, source_size = ?, attempts = ?, losses = ?, attempt = ?,
                    worker_id = ?, lease = ?, heartbeat_at = ?, started_at = ?, completed_at = ?, not_before = ?,
                    last_error = ?, output_key = ?, result = ?, progress = ?, updated_at = ?
     WHERE id = ? AND status = ? AND attempt = ?"""
BEAT_JOB: Final = """
    UPDATE jobs SET heartbeat_at = ?, progress = coalesce(?, progress), updated_at = ?
     WHERE id = ? AND status = 'running' AND attempt = ?"""

# --- attempts
ATTEMPT: Final = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? AND attempt = ?"
ATTEMPTS: Final = f"SELECT {ATTEMPT_COLUMNS} FROM attempts WHERE job_id = ? ORDER BY attempt"
INSERT_ATTEMPT: Final = "INSERT INTO attempts (job_id, attempt, worker_id, lease, started_at) VALUES (?, ?, ?, ?, ?)"
END_ATTEMPT: Final = """
    UPDATE attempts SET ended_at = ?, outcome = ?, kind = ?, error = ?, traceback = ?, log_tail = ?
     WHERE job_id = ? AND attempt = ?"""

# --- files
FILE: Final = "SELECT size, sha256, checked_at FROM files WHERE key = ?"
RECORD_FILE: Final = """
    INSERT INTO files (key, size, sha256, job_id, attempt, created_at, checked_at) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET size = excluded.size, sha256 = excluded.sha256,
                                    checked_at = excluded.checked_at"""
FORGET_FILE: Final = "DELETE FROM files WHERE key = ?"
UNCHECKED_OUTPUTS: Final = "SELECT job_id, attempt, key FROM files WHERE checked_at IS NULL AND job_id IS NOT NULL"

# --- workers
WORKER: Final = f"SELECT {WORKER_COLUMNS} FROM workers WHERE id = ?"
WORKERS: Final = f"SELECT {WORKER_COLUMNS} FROM workers ORDER BY id"
SAVE_WORKER: Final = f"""
    INSERT INTO workers ({WORKER_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET type = excluded.type, status = excluded.status,
        updated_at = excluded.updated_at, name = excluded.name, enabled = excluded.enabled,
        last_heartbeat = excluded.last_heartbeat, metadata = excluded.metadata, labels = excluded.labels,
        version = excluded.version, token_id = excluded.token_id, secret_hash = excluded.secret_hash,
        drain = excluded.drain, registered = excluded.registered"""
BEAT_WORKER: Final = "UPDATE workers SET last_heartbeat = ?, updated_at = ? WHERE id = ?"
DELETE_WORKER: Final = "DELETE FROM workers WHERE id = ?"
RUNNING_BY_WORKER: Final = "SELECT worker_id, id FROM jobs WHERE status = 'running' ORDER BY worker_id, id"

# --- claims and requests that may be repeated
CLAIM_KEY: Final = "SELECT jobs FROM claim_keys WHERE worker_id = ? AND claim_key = ?"
SAVE_CLAIM_KEY: Final = (
    "INSERT OR REPLACE INTO claim_keys (worker_id, claim_key, jobs, created_at) VALUES (?, ?, ?, ?)"
)
PURGE_CLAIM_KEYS: Final = "DELETE FROM claim_keys WHERE created_at < ?"
IDEMPOTENT: Final = "SELECT fingerprint, outcome FROM idempotency WHERE subject = ? AND key = ? AND created_at >= ?"
SAVE_IDEMPOTENT: Final = (
    "INSERT OR REPLACE INTO idempotency (subject, key, fingerprint, outcome, created_at) VALUES (?, ?, ?, ?, ?)"
)
PURGE_IDEMPOTENT: Final = "DELETE FROM idempotency WHERE created_at < ?"

# --- tokens
TOKEN_BY_HASH: Final = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE hash = ?"
TOKENS: Final = f"SELECT {TOKEN_COLUMNS} FROM tokens ORDER BY id"
INSERT_TOKEN: Final = """
    INSERT INTO tokens (name, hash, prefix, scopes, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)"""
MAKE_START_TOKEN: Final = "UPDATE tokens SET scopes = ?, expires_at = NULL, origin = 'start' WHERE id = ?"
DELETE_START_TOKENS: Final = "DELETE FROM tokens WHERE origin = 'start' AND hash <> ?"
DELETE_TOKEN: Final = "DELETE FROM tokens WHERE id = ?"
TOUCH_TOKEN: Final = "UPDATE tokens SET last_used_at = ? WHERE id = ?"

# --- people
USER: Final = f"SELECT {USER_COLUMNS} FROM users WHERE id = ?"
USERS: Final = f"SELECT {USER_COLUMNS} FROM users ORDER BY id"
SAVE_USER: Final = """
    INSERT INTO users (issuer, subject, email, name, groups, is_admin, created_at, last_login_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, name = excluded.name,
        groups = excluded.groups, is_admin = excluded.is_admin, last_login_at = excluded.last_login_at
    RETURNING id"""
UPDATE_USER: Final = """
    UPDATE users SET email = ?, name = ?, groups = ?, is_admin = ? WHERE issuer = ? AND subject = ?"""
SESSION: Final = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE hash = ?"
SESSIONS_OF_USER: Final = f"SELECT {SESSION_COLUMNS} FROM sessions WHERE user_id = ? ORDER BY created_at"
INSERT_SESSION: Final = f"INSERT INTO sessions ({SESSION_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
CHECK_SESSION: Final = "UPDATE sessions SET checked_at = ?, seen_at = ?, sealed = ? WHERE hash = ?"
TOUCH_SESSION: Final = "UPDATE sessions SET seen_at = ? WHERE hash = ?"
DELETE_SESSION: Final = "DELETE FROM sessions WHERE hash = ?"
DELETE_SESSIONS_OF_USER: Final = "DELETE FROM sessions WHERE user_id = ?"
PURGE_SESSIONS: Final = "DELETE FROM sessions WHERE seen_at < ? OR expires_at <= ?"
INSERT_AUDIT: Final = """
    INSERT INTO audit (at, actor, name, address, action, subject, detail) VALUES (?, ?, ?, ?, ?, ?, ?)"""
AUDIT: Final = """
    SELECT id, at, actor, name, address, action, subject, detail FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?"""
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
ADD_RATE: Final = """
    INSERT INTO attempt_rates (minute, type, outcome, n) VALUES (?, ?, ?, ?)
    ON CONFLICT (minute, type, outcome) DO UPDATE SET n = n + excluded.n"""
PURGE_RATES: Final = "DELETE FROM attempt_rates WHERE minute < ?"
JOB_COUNTS: Final = "SELECT status, type, priority, n FROM job_counts WHERE n > 0"
WORKER_COUNTS: Final = "SELECT status, n FROM worker_counts"
RATE_SINCE: Final = (
    "SELECT coalesce(sum(n), 0) FROM attempt_rates WHERE minute >= ? AND minute < ? AND outcome = 'completed'"
)
OLDEST_PENDING: Final = """
    SELECT created_at FROM jobs WHERE status = 'pending' AND type = ? AND priority = ? ORDER BY id LIMIT 1"""

# --- lists: one range of the index for each (status, type, priority), newest first
STRATUM: Final = f"""
    SELECT {JOB_COLUMNS} FROM jobs WHERE status = ? AND type = ? AND priority = ? AND id < ? ORDER BY id DESC"""
IDS_OF_TAG: Final = "SELECT job_id FROM job_tags WHERE tag = ? LIMIT ?"

# --- what a start reads
RUNNING: Final = "SELECT id, attempt, heartbeat_at FROM jobs WHERE status = 'running'"
WAITING_RETRIES: Final = "SELECT id, attempt, not_before FROM jobs WHERE status = 'failed'"
AWAITED_SOURCES: Final = "SELECT id, source_hash, created_at FROM jobs WHERE status = 'uploading'"
LIVE_WORKERS: Final = "SELECT id, last_heartbeat FROM workers WHERE status <> 'offline'"

TYPES: Final = "SELECT DISTINCT type FROM job_counts"
PULSE: Final = "INSERT INTO pulse (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at"
SANITY: Final = "SELECT 1"
