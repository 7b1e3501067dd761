"""The statements of what servers have in common beside their history. Times are the database's own, in ms."""

from __future__ import annotations

from typing import Final

from blobforge.spans import SET_BACK_MS

_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

CLOCK: Final = f"SELECT {_NOW}"

# --- the database in numbers
TABLES: Final = "SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables ORDER BY 1"
STANDBYS: Final = """
    SELECT coalesce(application_name, ''), coalesce(sync_state, '') IN ('sync', 'quorum') AND state = 'streaming',
           coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), flush_lsn), 0)::bigint
    FROM pg_stat_replication ORDER BY 1"""
OLDEST_TRANSACTION: Final = """
    SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND datname = current_database()"""

# --- secrets
KEEP_SECRET: Final = "INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
SECRET: Final = "SELECT value FROM secrets WHERE name = $1"
FORGET_SECRET: Final = "DELETE FROM secrets WHERE name = $1 AND value = $2"

# --- guesses: $1 name, $2 refill (ms), $3 burst, $4 slack. One that is refused does not count.
_LEFT: Final = f"greatest(0.0, guesses.failures - greatest(0, {_NOW} - guesses.at) / $2::float8)"
_OVER: Final = f"({_LEFT} + 1.0 - $3::float8)"
GUESS: Final = f"""
    INSERT INTO guesses (name, failures, at, over) VALUES ($1, 1.0, {_NOW}, 1.0 - $3::float8)
    ON CONFLICT (name) DO UPDATE SET
        failures = CASE WHEN {_OVER} > $4::float8 THEN {_LEFT} ELSE {_LEFT} + 1.0 END,
        over = {_OVER}, at = {_NOW}
    RETURNING over"""
FORGET_GUESSES: Final = f"DELETE FROM guesses WHERE at < {_NOW} - $1::bigint"

# --- servers
PRESENT: Final = f"""
    INSERT INTO presences (id, name, version, objects, admin, url, started_at, seen_at, turn, turn_at, read, clock,
                           long_polls, streams)
    VALUES ($1, $2, $3, $4, $5, $6, {_NOW}, {_NOW}, $7, $8, $9, $10 - {_NOW}, $11, $12)
    ON CONFLICT (id) DO UPDATE SET name = $2, admin = $5, url = $6, seen_at = {_NOW}, turn = $7, turn_at = $8,
        read = $9, clock = $10 - {_NOW}, long_polls = $11, streams = $12"""
# By the name of its connection it is seen whether a server is still connected: a killed one's ends with it.
SIGN: Final = "SELECT set_config('application_name', 'blobforge ' || $1::text, false)"
PRESENCES: Final = f"""
    SELECT id, name, version, objects, admin, url, started_at, ({_NOW} - seen_at) / 1000.0::float8,
           'blobforge ' || id IN (SELECT application_name FROM pg_stat_activity WHERE datname = current_database()),
           presences.turn, turn_at, read, greatest(0, (SELECT n FROM turn) - read), clock, long_polls, streams
    FROM presences ORDER BY name, id"""
FORGET_SILENT: Final = f"DELETE FROM presences WHERE seen_at < {_NOW} - $1::bigint"
# Those of which no server has said for so long that it is theirs. One whose writer holds it is passed over.
FORGET_WRITERS: Final = f"""
    DELETE FROM servers WHERE id IN (
        SELECT id FROM servers WHERE incarnation < {_NOW} - $1::bigint AND id NOT IN (SELECT id FROM presences)
           FOR UPDATE SKIP LOCKED)"""
LEAVE: Final = "DELETE FROM presences WHERE id = $1"

# --- what one server does at a time. A hold of a time that is too far ahead is by a clock that has been set back.
HOLD: Final = f"""
    INSERT INTO holds (name, holder, until) VALUES ($1, $2, {_NOW} + $3::bigint)
    ON CONFLICT (name) DO UPDATE SET holder = $2, until = {_NOW} + $3::bigint
        WHERE holds.until < {_NOW} OR holds.until > {_NOW} + $3::bigint + {SET_BACK_MS} OR holds.holder = $2
    RETURNING 1"""
LET_GO: Final = "DELETE FROM holds WHERE name = $1 AND holder = $2"
FORGET_HOLDS: Final = f"DELETE FROM holds WHERE until < {_NOW}"
