"""The statements by which a database is looked at and made ready. Values are psycopg's: `%s`."""

from __future__ import annotations

from typing import Final

VERSION: Final = "SELECT version(), current_setting('server_version_num')::int, current_setting('server_encoding')"
EXTENSIONS: Final = "SELECT extname FROM pg_extension"
TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename"
COLUMNS: Final = """
    SELECT attname FROM pg_attribute
     WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"""
# Until its end, no other transaction that begins so gets on. The number is ours: "BlbF".
ALONE: Final = "SELECT pg_advisory_xact_lock(1114399302)"
LOCK_WAIT: Final = "SELECT set_config('lock_timeout', %s, true)"
# Until the end of the transaction nothing else is written: writers have taken the turn before they touch a table.
STOP_TURNS: Final = "SELECT 1 FROM turn FOR UPDATE"
# The transactions of others that have tables, and which; the longest first. A role that may not see more of another's
# is still told its process. An older transaction that has none delays no migration.
TABLES_IN_USE: Final = """
    SELECT l.pid, coalesce(a.application_name, ''),
           coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8,
           string_agg(DISTINCT c.relname, ', ' ORDER BY c.relname)
      FROM pg_locks l JOIN pg_class c ON c.oid = l.relation LEFT JOIN pg_stat_activity a ON a.pid = l.pid
     WHERE l.locktype = 'relation' AND l.granted AND l.pid <> pg_backend_pid()
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')
     GROUP BY l.pid, a.application_name, a.xact_start ORDER BY 3 DESC, 1 LIMIT 5"""
SCHEMA: Final = "SELECT schema, oldest FROM turn"
SET_SCHEMA: Final = "UPDATE turn SET schema = %s"
NAME_INSTALLATION: Final = "INSERT INTO installation (one, id) VALUES (1, %s) ON CONFLICT (one) DO NOTHING"
MARK_RESTORED: Final = "UPDATE recovery SET restored_at = %s WHERE id = 1"
FORGET_LOG: Final = "DELETE FROM log"
SKIP_TURNS: Final = "UPDATE turn SET n = n + %s"
# Servers that have said of late that they are there, by their names.
LIVE: Final = """
    SELECT DISTINCT name FROM presences
     WHERE seen_at > (extract(epoch FROM clock_timestamp()) * 1000)::bigint - %s::bigint ORDER BY name"""
SIZE: Final = "SELECT pg_database_size(current_database())"
# Of a copy that no server has opened yet.
FORGET_ALL_EPOCHS: Final = "UPDATE doomed_objects SET epoch = 0 WHERE epoch > 0"
