"""Whether a database is whole: every invariant, on PostgreSQL. For people and tests.

One snapshot, so that a database that is being written to is judged at one moment.
"""

from __future__ import annotations

import re
from typing import Any, Final

import psycopg

from blobforge.store.postgres.database import opened
from blobforge.store.sql.invariants import INVARIANTS, Invariant
from blobforge.store.sql.running import Row

# For this session: PostgreSQL itself says it from version 16 on.
JSON_VALID: Final = """
    CREATE OR REPLACE FUNCTION pg_temp.json_valid(said TEXT) RETURNS INTEGER LANGUAGE plpgsql STRICT IMMUTABLE AS $$
    BEGIN
        PERFORM said::json;
        RETURN 1;
    EXCEPTION WHEN data_exception THEN RETURN 0;
    END $$"""
_BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_LIST: Final = re.compile(r"json_each\(([\w.]+)\) AS (\w+)")
# A number may be given again if it is above the one that the turn has.
_NUMBERS: Final = ("coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0)", "(SELECT job FROM turn)")


def spelled(query: str) -> str:
    """The query of an invariant as PostgreSQL takes it."""
    listed = _LIST.sub(r"json_array_elements_text(\1::json) AS \2 (value)", query.replace(*_NUMBERS))
    return listed.replace("json_valid(", "pg_temp.json_valid(")


def offenders(connection: psycopg.Connection[Any], invariant: Invariant) -> list[Row]:
    """On a connection that has JSON_VALID."""
    return connection.execute(spelled(invariant.query).encode()).fetchall()


def check(url: str) -> list[str]:
    """What is wrong with the database, a sentence each, with counts and examples; empty when all is well. Raises
    DatabaseError."""
    with opened(url) as connection:
        connection.execute(JSON_VALID)
        connection.execute(_BEGIN)
        found = (each.finding(offenders(connection, each)) for each in INVARIANTS)
        return [finding for finding in found if finding is not None]
