"""How a set of rows gets into one statement: what is the same in all of them as parameters, the others as JSON.

A value that SQLite takes out of JSON costs it as much as a step in an index, and jobs that are claimed or completed
together are the same in most columns: status, times, worker, number of the attempt. A set of one has no JSON.

In a statement `{0}`, `{1}` ... are the values of a row, and `{row} {0}, {1} {each}` is all rows; where they come from
is `{each_and}` where another table follows, and `{set_from}` behind a SET; `{in_order}` is the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

Column = Sequence[Any]


def columns_of(rows: Sequence[Sequence[Any]]) -> list[Column]:
    return list(zip(*rows, strict=True))


def spell(statement: str, columns: Sequence[Column]) -> tuple[str, tuple[Any, ...]]:
    """The statement for these rows, of which there is more than one, and its parameters."""
    varies = [column.count(column[0]) != len(column) for column in columns]
    if not any(varies):
        varies[0] = True  # there are as many rows all the same
    many = [column for column, each in zip(columns, varies, strict=True) if each]
    rows = many[0] if len(many) == 1 else list(zip(*many, strict=True))
    same = [column[0] for column, each in zip(columns, varies, strict=True) if not each]
    return _spelled(statement, tuple(varies)), (as_json(rows), *same)


@lru_cache(maxsize=256)
def spell_one(statement: str, values: int) -> str:
    """The statement for one row, whose values are its parameters."""
    return _spelled(statement, (False,) * values)


@lru_cache(maxsize=1024)
def _spelled(statement: str, varies: tuple[bool, ...]) -> str:
    values: list[str] = []
    taken, given = 0, int(any(varies))
    for each in varies:
        if not each:
            given += 1
            values.append(f"?{given}")
        else:
            values.append(f"each.value ->> {taken}" if sum(varies) > 1 else "each.value")
            taken += 1
    if not any(varies):
        return statement.format(*values, row="VALUES (", each=")", each_and="FROM", in_order="", set_from="")
    each_row = "FROM json_each(?1) AS each"
    return statement.format(
        *values, row="SELECT", each=f"{each_row} WHERE true", each_and=f"{each_row} CROSS JOIN",
        in_order="ORDER BY each.key", set_from=each_row,
    )  # fmt: skip


def as_json(values: Any) -> str:
    return msgspec.json.encode(values).decode()
