"""No statement of a transaction changes more rows than it was told to, whatever anybody has laid in: all others wait
for it. It is given its rows by their keys, or says how many at most; or it stands here, with its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import ModuleType

import apsw
import pytest

from blobforge.store.postgres import bulk_sql, commons_sql, schema_sql, turns_sql
from blobforge.store.postgres.spelling import spelled
from blobforge.store.sql import sql as shared
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.database import migrate

REASONS = {
    # --- what a start, a restore or a fork does before anything else is decided
    "BEGIN_BACKFILL": "one row",
    "BACKFILLED": "one row",
    "END_BACKFILL": "one row",
    "WEIGHED": "one row",
    "END_WEIGHING": "one row",
    "SUPERSEDED_UP_TO": "one row",
    "END_SUPERSEDING": "one row",
    "RENAME_INSTALLATION": "one row",
    "SEED_IDS": "one row",
    "SKIP_IDS": "a row for each table with numbers",
    "RAISE_IDS": "one row",
    "VOID_LATE_LEASES": "a restore or a fork: no lease may be believed before all are void",
    "FORGET_INSTANCES": "a restore or a fork; a row for each worker",
    # --- as many rows as there are types, causes or drills
    "CLEAR_DEPTHS": "one slot: a row for each type and status",
    "SAVE_DEPTHS": "the same",
    "SUM_HAPPENINGS": "SUMMED_AT_ONCE slots: a row for each kind of happening",
    "SUM_DEPTHS": "SUMMED_AT_ONCE slots: a row for each status",
    "FORGET_SUMS_OF_HAPPENINGS": "slots that are not over: none, but where the clock has been set back",
    "FORGET_SUMS_OF_DEPTHS": "the same",
    "PURGE_FAILURES": "MOST_GROUPS causes at most",
    "FORGET_SPLIT": "one row",
    "FORGET_FAILURE_COUNTS": "two rows for each cause",
    "TRIM_DRILLS": "one more is made each time",
    # --- what one job, one worker, one person or one operation has
    "ONE_MORE_NEWER": "replaced results of one job: each was an attempt, of which a job has few",
    "ONE_LESS_NEWER": "the same",
    "CHOOSE_NO_OUTPUTS": "the outputs of one attempt: 10,000 at most",
    "DELETE_SESSIONS_OF_USER": "MOST_SESSIONS at most",
    "FORGET_SEARCH_NAMES": "MOST_NAMED keys at most",
    # --- what servers have in common: in no turn, so that no caller waits for it
    "FORGET_GUESSES": "addresses and names that were guessed from",
    "FORGET_SILENT": "servers that are gone",
    "FORGET_WRITERS": "servers that are gone",
    "FORGET_HOLDS": "a few kinds of work",
    # --- `blobforge db migrate`, `db restored` and `db copy`
    "SET_SCHEMA": "one row",
    "SKIP_TURNS": "one row",
    "FORGET_LOG": "with all servers stopped",
    "INSERT_WHOLE_JOB": "one row",
    "FORGET_ALL_EPOCHS": "of a copy that no server has opened yet",
}
_WRITES = re.compile(r"\b(INSERT\s+(OR \w+ )?INTO|UPDATE|DELETE\s+FROM)\s+(\w+)", re.IGNORECASE)
_GIVEN = (
    "{each", "{row}", "{set_from}", "json_each(?", "::json)", "::json AS", "= ANY($1",
)  # fmt: skip


@pytest.fixture(scope="module")
def schema() -> Iterator[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    migrate(connection)
    yield connection
    connection.close()


def written(module: ModuleType) -> Mapping[str, str]:
    """The statements of a module that change rows."""
    texts = {name: text for name, text in vars(module).items() if name.isupper() and isinstance(text, str)}
    return {name: text for name, text in texts.items() if _WRITES.search(text)}


SQLITE = {name: text for module in (shared, sql) for name, text in written(module).items()}
POSTGRES = {
    **{name: spelled(text) for name, text in written(shared).items() if _WRITES.search(spelled(text))},
    **{
        name: text
        for module in (bulk_sql, commons_sql, turns_sql, schema_sql)
        for name, text in written(module).items()
    },
}


def is_bounded(text: str, keys: Mapping[str, list[set[str]]]) -> bool:
    if (re.search(r"\bLIMIT\b", text) and " NOT IN (" not in text) or any(each in text for each in _GIVEN):
        return True
    found = _WRITES.search(text)
    assert found is not None
    if found[1].upper().startswith("INSERT"):
        return not re.search(r"\bSELECT\b(?!\s*coalesce)", text.partition("ON CONFLICT")[0])
    equal = set(re.findall(r"(\w+) = (?:\?\d*|\$\d+|1)", text.rpartition("WHERE")[2]))
    return any(key <= equal for key in keys.get(found[3], []))


def keys_of(schema: apsw.Connection) -> dict[str, list[set[str]]]:
    """By table, the columns that make a row the only one."""
    keys: dict[str, list[set[str]]] = {}
    for (table,) in schema.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
        primary = {row[1] for row in schema.execute(f"PRAGMA table_info({table})") if row[5]}
        keys[table] = [primary] if primary else []
        for _, index, unique, *_ in schema.execute(f"PRAGMA index_list({table})").fetchall():
            if unique:
                keys[table].append({row[2] for row in schema.execute(f"PRAGMA index_info({index})")})
    return keys


# Tables that PostgreSQL alone has.
OF_SERVERS = {
    "turn": [{"one"}], "log": [{"n"}], "servers": [{"id"}], "presences": [{"id"}], "guesses": [{"name"}],
    "holds": [{"name"}], "secrets": [{"name"}], "settlements": [{"id"}],
}  # fmt: skip


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_statement_changes_no_more_rows_than_it_is_told_to(schema: apsw.Connection, engine: str) -> None:
    statements = SQLITE if engine == "sqlite" else POSTGRES
    keys = keys_of(schema) | OF_SERVERS
    assert len(statements) > 80
    assert (
        sorted(name for name, text in statements.items() if not is_bounded(text, keys) and name not in REASONS) == []
    )


def test_each_reason_is_needed(schema: apsw.Connection) -> None:
    keys = keys_of(schema) | OF_SERVERS
    unbounded = {name for all_ in (SQLITE, POSTGRES) for name, text in all_.items() if not is_bounded(text, keys)}
    assert set(REASONS) - unbounded == set()


# What is few, and looked through.
FEW = {
    "FORGET_CONVERTERS",
    "FORGET_DEFERRED",
    "PURGE_EXPIRED_SESSIONS",
    "FORGET_EPOCHS",
    "FORGET_TYPES",
    "TRIM_DRILLS",
}
PAGES = [name for name, text in SQLITE.items() if re.search(r"IN \(SELECT .* LIMIT \?\)$", text)]


@pytest.mark.parametrize("name", [name for name in PAGES if name not in FEW])
def test_a_page_is_found_by_an_index(schema: apsw.Connection, name: str) -> None:
    text = SQLITE[name]
    plan = [row[3] for row in schema.execute(f"EXPLAIN QUERY PLAN {text}", (1,) * text.count("?"))]
    assert not [line for line in plan if line.startswith("SCAN") or "TEMP B-TREE" in line], plan
