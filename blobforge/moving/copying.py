"""A database is copied to another one, row by row, and compared with it, row by row.

Rows go in the order of their keys, some at a time, each time in one transaction: what is there when it is broken off
is a beginning of what is to be, and the next run goes on behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import zip_longest
from typing import Any, Final

from blobforge.store.errors import DatabaseError
from blobforge.store.tables import TABLES, NewTables, TableRow, Tables

MOST_ROWS: Final = 20_000  # in one transaction
MOST_BYTES: Final = 16 * 2**20  # about; a single row may be as large


def total(source: Tables) -> int:
    """How many rows there are."""
    return sum(source.count(table) for table in TABLES)


def copy(source: Tables, target: NewTables, *, on_done: Callable[[int], None]) -> int:
    """Copy what is not there yet; `on_done` is told of rows that are. Returns how many were copied. Raises
    DatabaseError."""
    copied = 0
    for table, key in TABLES.items():
        columns = _columns(source, target, table)
        after = target.last(table)
        if after is not None:
            on_done(target.count(table))
        with closing(source.rows(table, columns, after=after)) as rows:
            for some in _batches(rows):
                target.add(table, columns, map(target.kept, some))
                copied += len(some)
                on_done(len(some))
        assert all(name in columns for name in key)
    return copied


def compare(source: Tables, target: NewTables, *, on_done: Callable[[int], None]) -> None:
    """Raises DatabaseError for the first row that is not the same on both sides."""
    for table, key in TABLES.items():
        columns = _columns(source, target, table)
        at = [columns.index(name) for name in key]
        with closing(source.rows(table, columns)) as ours, closing(target.rows(table, columns)) as theirs:
            for count, (one, other) in enumerate(zip_longest(ours, theirs), start=1):
                if one is None or other is None or target.kept(one) != other:
                    raise DatabaseError(_difference(table, at, one, other, target))
                if count % MOST_ROWS == 0:
                    on_done(MOST_ROWS)
            on_done(source.count(table) % MOST_ROWS)


def _columns(source: Tables, target: Tables, table: str) -> list[str]:
    columns = source.columns(table)
    if set(columns) != set(target.columns(table)):
        raise DatabaseError(
            f"the table {table} has other columns in {source.name} than in {target.name}: let a server of this "
            "release open the older one first"
        )
    return columns


def _batches(rows: Iterator[TableRow]) -> Iterator[list[TableRow]]:
    some: list[TableRow] = []
    size = 0
    for row in rows:
        some.append(row)
        size += sum(len(value) for value in row if isinstance(value, (str, bytes)))
        if len(some) == MOST_ROWS or size > MOST_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _difference(table: str, at: list[int], one: TableRow | None, other: TableRow | None, target: NewTables) -> str:
    def named(row: TableRow) -> Any:
        return " ".join(str(row[index]) for index in at)

    if other is None:
        assert one is not None
        what = f"row {named(one)} is not in the copy"
    elif one is None:
        what = f"row {named(other)} is only in the copy"
    else:
        what = f"row {named(one)} is another one in the copy"
    return (
        f"the copy in {target.name} is not the same: in the table {table}, {what}. Was the source written to "
        "meanwhile? Remove what was copied, and begin anew"
    )
