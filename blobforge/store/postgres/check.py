"""Whether a database is whole: every invariant, on PostgreSQL. For people and tests.

Each is one statement, and judged at one moment; of a database that is being written to, it is not the same one for
all, so that no snapshot is held for longer than one of them takes.
"""

from __future__ import annotations

import re
from typing import Any, Final

import psycopg

from blobforge.store.postgres.database import opened
from blobforge.store.sql.invariants import INVARIANTS, Invariant

# For this session: PostgreSQL itself says it from version 16 on.
JSON_VALID: Final = """
    CREATE OR REPLACE FUNCTION pg_temp.json_valid(said TEXT) RETURNS INTEGER LANGUAGE plpgsql STRICT IMMUTABLE AS $$
    BEGIN
        PERFORM said::json;
        RETURN 1;
    EXCEPTION WHEN data_exception THEN RETURN 0;
    END $$"""
# All offenders are counted, one by one: plans that are good for the first few are none.
_WHOLE: Final = "SET cursor_tuple_fraction = 1"
AT_ONCE: Final = 1_000
_LIST: Final = re.compile(r"json_each\(([\w.]+)\) AS (\w+)")
# A number may be given again if it is above the one that the turn has.
_NUMBERS: Final = ("coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0)", "(SELECT job FROM turn)")
# SQLite's index has no other name for the rows of it.
_ROWS: Final = ("job_texts AS t WHERE t.rowid", "job_texts AS t WHERE t.job_id")
# What a group weighs is a function there, of the migration that made the triggers.
_WEIGHT: Final = (
    "(SELECT w.value FROM json_each(t.group_weights) AS w WHERE w.key = g.of_group)",
    "group_weight(t.group_weights, g.of_group)",
)


def spelled(query: str) -> str:
    """The query of an invariant as PostgreSQL takes it."""
    listed = _LIST.sub(
        r"json_array_elements_text(\1::json) AS \2 (value)", query.replace(*_NUMBERS).replace(*_WEIGHT)
    )
    return listed.replace("json_valid(", "pg_temp.json_valid(").replace(*_ROWS)


def finding(connection: psycopg.Connection[Any], invariant: Invariant) -> str | None:
    """On a connection that has JSON_VALID."""
    with connection.transaction(), connection.cursor("offenders") as cursor:
        cursor.itersize = AT_ONCE
        return invariant.finding(cursor.execute(spelled(invariant.query).encode()))


def check(url: str) -> list[str]:
    """What is wrong with the database, a sentence each, with counts and examples; empty when all is well. Raises
    DatabaseError."""
    with opened(url) as connection:
        connection.execute(JSON_VALID)
        connection.execute(_WHOLE)
        found = (finding(connection, each) for each in INVARIANTS)
        return [each for each in found if each is not None]
