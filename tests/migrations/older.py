"""What an older server would not survive of a migration, seen in the database before and after it.

A release first only adds (docs/high-availability.md, "Upgrades"). An older server goes on writing rows without the
new columns, reads with statements that it has prepared before, and knows none of the new values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg

_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation::text,
           a.attnotnull, coalesce(pg_get_expr(d.adbin, d.adrelid), ''), a.attidentity::text || a.attgenerated::text
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0
       AND NOT a.attisdropped"""
_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), contype::text,
           coalesce(nullif(confrelid, 0)::regclass::text, ''), confdeltype::text
      FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND conrelid <> 0"""
_INDEXES = """
    SELECT t.relname, i.relname, x.indisunique, pg_get_indexdef(x.indexrelid)
      FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
     WHERE t.relnamespace = current_schema()::regnamespace"""
_FUNCTIONS = """
    SELECT oid::regprocedure::text, md5(pg_get_functiondef(oid)) FROM pg_proc
     WHERE pronamespace = current_schema()::regnamespace AND prokind = 'f'"""
_TRIGGERS = """
    SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
     WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal"""
_REMOVES_WITH_IT = {"c", "n"}  # ON DELETE CASCADE, SET NULL


class Schema(NamedTuple):
    columns: dict[tuple[str, str], tuple[str, str, bool, str, str]]  # type, collation, NOT NULL, default, identity
    constraints: dict[tuple[str, str], tuple[str, str, str, str]]
    indexes: dict[tuple[str, str], tuple[bool, str]]
    functions: dict[tuple[str], tuple[str]]
    triggers: dict[tuple[str, str], tuple[str]]

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.columns}


def schema_of(connection: psycopg.Connection[Any]) -> Schema:
    def found(query: str, keys: int) -> dict[Any, Any]:
        return {row[:keys]: row[keys:] for row in connection.execute(query.encode())}

    return Schema(
        found(_COLUMNS, 2), found(_CONSTRAINTS, 2), found(_INDEXES, 2), found(_FUNCTIONS, 1), found(_TRIGGERS, 2)
    )


def harms(before: Schema, after: Schema) -> list[str]:
    """What an older server would not survive, a sentence each."""
    return sorted({*_columns(before, after), *_constraints(before, after), *_others(before, after)})


def _columns(before: Schema, after: Schema) -> Iterator[str]:
    for (table, name), was in before.columns.items():
        now = after.columns.get((table, name))
        if now is None:
            yield f"{table}.{name} is gone: an older server reads it"
        elif now[:2] != was[:2]:
            yield f"{table}.{name} has another type: prepared statements fail"
        elif now[2] and not was[2]:
            yield f"{table}.{name} may not be NULL any more: an older server writes NULL"
        elif was[2] and not now[2]:
            yield f"{table}.{name} may be NULL: an older server cannot read that"
        elif was[3:] != now[3:]:
            yield f"{table}.{name} has another default: rows of an older server mean something else"
    for (table, name), (_, _, not_null, default, identity) in after.columns.items():
        new = (table, name) not in before.columns and table in before.tables
        if new and not_null and not default and not identity:
            yield f"{table}.{name} is new, NOT NULL and without a default: an older server cannot insert"


def _constraints(before: Schema, after: Schema) -> Iterator[str]:
    for key, (said, *_) in before.constraints.items():
        if key not in after.constraints or after.constraints[key][0] != said:
            yield f"{key[0]}: {key[1]} is gone or another: newer servers may write what an older one cannot read"
    for key, (said, _, other, deleted) in after.constraints.items():
        if key in before.constraints:
            continue
        if key[0] in before.tables:
            yield f"{key[0]}: {said} is new: rows of an older server may break it"
        elif other in before.tables and deleted not in _REMOVES_WITH_IT:
            yield f"{key[0]}: {said} without ON DELETE CASCADE: an older server cannot delete from {other}"


def _others(before: Schema, after: Schema) -> Iterator[str]:
    for (table, name), was in before.indexes.items():
        now = after.indexes.get((table, name))
        if now is None or (now != was and not _longer(was, now)):
            yield f"the index {name} is gone or another: an older server walks {table} without it"
    for (table, name), (unique, _) in after.indexes.items():
        if unique and (table, name) not in before.indexes and table in before.tables:
            yield f"the index {name} is new and unique: rows of an older server may break it"
    for name, said in before.functions.items():
        if after.functions.get(name) != said:
            yield f"the function {name[0]} is gone or another: an older server calls it"
    for table, name in after.triggers.keys() - before.triggers.keys():
        if table in before.tables:
            yield f"the trigger {name} on {table} is new: it changes what an older server writes"


def _longer(was: tuple[bool, str], now: tuple[bool, str]) -> bool:
    """Whether the index has more columns behind its own: it is walked as before and, if unique, refuses less."""
    (key, _, condition), (new_key, _, new_condition) = (each[1].partition(" WHERE ") for each in (was, now))
    return was[0] == now[0] and condition == new_condition and new_key.startswith(f"{key.removesuffix(')')}, ")


def unprepared(connection: psycopg.Connection[Any], statements: list[str]) -> list[str]:
    """Those of an older server that this database does not take, with the reason."""
    found = []
    for statement in statements:
        said = connection.pgconn.prepare(b"", statement.encode()).error_message.decode()
        if said:
            found.append(f"{said.splitlines()[0]}: {' '.join(statement.split())[:120]}")
    return found
