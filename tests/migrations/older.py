"""What an older server would not survive of a migration, seen in the database before and after it.

A release first only adds (docs/high-availability.md, "Upgrades"). An older server goes on writing rows without the
new columns, reads with statements that it has prepared before, and knows none of the new values.
"""

from __future__ import annotations

import re
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
           coalesce(nullif(confrelid, 0)::regclass::text, ''), confdeltype::text,
           EXISTS (SELECT 1 FROM pg_attribute WHERE attrelid = conrelid AND attnum = ANY (conkey) AND attnotnull)
      FROM pg_constraint WHERE connamespace = current_schema()::regnamespace AND conrelid <> 0"""
_INDEXES = """
    SELECT t.relname, i.relname, x.indisunique, pg_get_indexdef(x.indexrelid)
      FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
     WHERE t.relnamespace = current_schema()::regnamespace"""
_FUNCTIONS = """
    SELECT oid::regprocedure::text, md5(pg_get_functiondef(oid)) FROM pg_proc
     WHERE pronamespace = current_schema()::regnamespace AND prokind = 'f'"""
_TRIGGERS = """
    SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid), p.prosrc
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
     WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal"""
_RULES = "SELECT tablename, rulename, definition FROM pg_rules WHERE schemaname = current_schema()"
_GUARDED = """
    SELECT relname, relforcerowsecurity FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace AND relrowsecurity"""


class Schema(NamedTuple):
    columns: dict[tuple[str, str], tuple[str, str, bool, str, str]]  # type, collation, NOT NULL, default, identity
    constraints: dict[tuple[str, str], tuple[str, str, str, str, bool]]
    indexes: dict[tuple[str, str], tuple[bool, str]]
    functions: dict[tuple[str], tuple[str]]
    triggers: dict[tuple[str, str], tuple[str, str]]  # definition, and what its function does
    rules: dict[tuple[str, str], tuple[str]]
    guarded: dict[tuple[str], tuple[bool]]  # tables of which not every row is seen by every role

    @property
    def tables(self) -> set[str]:
        return {table for table, _ in self.columns}


def schema_of(connection: psycopg.Connection[Any]) -> Schema:
    def found(query: str, keys: int) -> dict[Any, Any]:
        return {row[:keys]: row[keys:] for row in connection.execute(query.encode())}

    return Schema(
        found(_COLUMNS, 2), found(_CONSTRAINTS, 2), found(_INDEXES, 2), found(_FUNCTIONS, 1), found(_TRIGGERS, 2),
        found(_RULES, 2), found(_GUARDED, 1),
    )  # fmt: skip


def harms(before: Schema, after: Schema) -> list[str]:
    """What an older server would not survive, a sentence each."""
    return sorted({*_columns(before, after), *_constraints(before, after), *_others(before, after)})


def broken(found: list[str], *, version: int, oldest: int, taken: dict[int, dict[str, int]]) -> list[str]:
    """What is wrong with a migration to that version that does what was `found`. `oldest` is the first schema whose
    servers may still write, `taken` what each version takes away, with the last schema whose servers need it."""
    wrong = ["the release before cannot stay beside it"] if oldest >= version else []
    expected = taken.get(version, {})
    wrong += [said for said in found if said not in expected]
    for said, last in expected.items():
        if said not in found:
            wrong.append(f"{said}: it is not taken away by this step")
        elif last >= oldest:
            wrong.append(f"{said}: servers of schema {last} need it, and may still write")
    return wrong


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
    new = {key: said for key, said in after.constraints.items() if key not in before.constraints}
    roots = _deleted_with(before, new)
    for (table, _), (said, kind, other, deleted, not_null) in new.items():
        if table in before.tables:
            yield f"{table}: {said} is new: rows of an older server may break it"
        elif kind == "f" and other in roots and deleted != "c" and (deleted != "n" or not_null):
            yield f"{table}: {said} without ON DELETE CASCADE: an older server cannot delete from {roots[other]}"


def _deleted_with(before: Schema, new: dict[tuple[str, str], tuple[str, str, str, str, bool]]) -> dict[str, str]:
    """The tables of which rows go when an older server deletes some: those that it knows, and new ones of which rows
    go with theirs; for each the one that it knows."""
    roots = {table: table for table in before.tables}
    grown = True
    while grown:
        grown = False
        for (table, _), (_, kind, other, deleted, _) in new.items():
            if kind == "f" and deleted == "c" and other in roots and table not in roots:
                roots[table], grown = roots[other], True
    return roots


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
    for (table, name), trigger in after.triggers.items():
        former = before.triggers.get((table, name))
        if former != trigger and table in before.tables and not (former is None and _follows(before, *trigger)):
            how = "new" if former is None else "another"
            yield f"the trigger {name} on {table} is {how}: it changes what an older server writes"
    for (table, name), rule in after.rules.items():
        if (was_rule := before.rules.get((table, name))) != rule and table in before.tables:
            how = "new" if was_rule is None else "another"
            yield f"the rule {name} on {table} is {how}: it changes what an older server writes"
    for what, were, are in (("trigger", before.triggers, after.triggers), ("rule", before.rules, after.rules)):
        for table, name in were.keys() - are.keys():
            yield f"the {what} {name} on {table} is gone: what it did for an older server is done by none"
    for (table,), forced in after.guarded.items():
        if table in before.tables and before.guarded.get((table,)) != forced:
            yield f"{table} has rows that an older server may not see"


def _follows(before: Schema, said: str, done: str) -> bool:
    """Whether a trigger only writes, afterwards, what older servers do not know."""
    written = re.findall(r"\b(?:INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)", done)
    return " AFTER " in said and before.tables.isdisjoint(written)


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
