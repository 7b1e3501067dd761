"""The statements of turns, of the log and of the servers' rows."""

from __future__ import annotations

from typing import Final

CHANNEL: Final = "blobforge"

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
COMMIT: Final = "COMMIT"
ROLLBACK: Final = "ROLLBACK"

# The writer asks by keys and by the order of an index, and its plans are made once: none may be left that walks a
# table because that was empty when the plan was made.
SESSION: Final = """
    SELECT set_config('plan_cache_mode', 'force_generic_plan', false),
           set_config('enable_seqscan', 'off', false),
           set_config('enable_sort', 'off', false),
           set_config('enable_bitmapscan', 'off', false),
           set_config('enable_hashjoin', 'off', false),
           set_config('enable_mergejoin', 'off', false),
           set_config('jit', 'off', false),
           set_config('idle_in_transaction_session_timeout', $1, false),
           set_config('lock_timeout', $2, false)"""

HOLD_SERVER: Final = "SELECT 1 FROM servers WHERE id = $1 AND incarnation = $2 FOR NO KEY UPDATE"
# It waits until a transaction of the former incarnation has ended. The number is the time (ms) by the database's
# clock: a row that was forgotten and is made again has another one than before, and how old it is can be seen.
_NOW: Final = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
RAISE_INCARNATION: Final = f"""
    INSERT INTO servers (id, incarnation) VALUES ($1, {_NOW})
    ON CONFLICT (id) DO UPDATE SET incarnation = greatest(servers.incarnation + 1, {_NOW}) RETURNING incarnation"""
FORGET_SERVER: Final = "DELETE FROM servers WHERE id = $1 AND incarnation = $2"

# Where the clock has been set back (by more than a second: servers' clocks differ a little), time goes on by the
# least that there is: a sign of life in one turn is told from that of another by when it was.
TAKE_TURN: Final = """
    UPDATE turn SET n = n + 1, at = greatest(at + (CASE WHEN at - $1 > 1000 THEN 1 ELSE 0 END), $1),
        wrote = n + 1, wrote_schema = $2,
        older = CASE WHEN wrote = n AND wrote_schema >= $2 THEN older ELSE n END
     WHERE one = 1
    RETURNING n, at, oldest, job, CASE WHEN older > recounted OR recounted_schema < $2 THEN older END, settled,
              type_settings"""
# Below zero while counters are being counted anew: the turn in which that was begun.
BEGIN_RECOUNT: Final = "UPDATE turn SET recounted = -n WHERE one = 1"
RECOUNT: Final = "SELECT -recounted FROM turn WHERE one = 1"
RECOUNTED: Final = "UPDATE turn SET recounted = older, recounted_schema = $1 WHERE one = 1"
LATEST_TURN: Final = "SELECT n, at, oldest, settled FROM turn WHERE one = 1"
SETTLEMENTS: Final = "SELECT id FROM settlements ORDER BY id"
ADD_SETTLEMENT: Final = "INSERT INTO settlements (id, n, at, server) VALUES ($1, $2, $3, $4)"
SETTLED: Final = "UPDATE turn SET settled = $1 WHERE one = 1"
# What is set for types is another from this turn on.
CHANGE_TYPE_SETTINGS: Final = "UPDATE turn SET type_settings = n WHERE one = 1"

TELL: Final = "INSERT INTO log (n, server, nonce, at, told) VALUES ($1, $2, $3, $4, $5)"
NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', $1)"  # the server
NONCE: Final = "SELECT nonce FROM log WHERE n = $1"
OLDEST_ENTRY: Final = "SELECT min(n) FROM log"
# With the one that was read last, to see that it is still there; and the latest settlement.
ENTRIES: Final = """
    SELECT n, server, nonce, at, CASE WHEN n > $1 THEN told END, (SELECT settled FROM turn WHERE one = 1)
      FROM log WHERE n >= $1 ORDER BY n LIMIT $2"""
# Those up to the first number, and of those up to the second one that are older.
PRUNE_LOG: Final = """
    DELETE FROM log WHERE n IN (
        SELECT n FROM log WHERE n <= $1 OR (n <= $2 AND at < $3) ORDER BY n LIMIT $4)"""
LISTEN: Final = f"LISTEN {CHANNEL}"
