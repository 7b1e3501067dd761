"""Texts with a structure as HTML that is safe to show: CSV as a table of bounded size, JSON indented.

Pure. All that a stranger wrote is escaped; what cannot be read as what it says it is, is no such thing (None), and is
shown as the text that it is.
"""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

import msgspec

MOST_ROWS: Final = 500
MOST_COLUMNS: Final = 50
MOST_IN_CELL: Final = 300  # characters
MOST_DEEP: Final = 64  # levels of JSON that are indented
MOST_INDENTED: Final = 2 * 1024 * 1024  # characters
# Without an end it goes on to the end of the text, and what was read is not read again: a text of nothing but escaped
# quotes would take minutes otherwise, in which nothing else in the process runs.
_STRING = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def indented(text: str) -> str | None:
    """Whole JSON, its numbers and strings as they were written."""
    depth = deepest = 0
    for each in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if each in "[{" else -1
        deepest = max(deepest, depth)
    if deepest > MOST_DEEP:
        return None
    try:
        shown = msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return None
    return f"<pre>{html.escape(shown)}</pre>" if len(shown) <= MOST_INDENTED else None


def table(text: str, *, tabs: bool, cut: bool) -> tuple[str, bool] | None:
    """CSV (RFC 4180, or with semicolons) as a table, its first row as the head; and whether some is not shown.

    `cut`: the text goes on, so that its last row may not be whole. No cell is a formula here: each is its text.
    """
    first = text[: text.find("\n") + 1 or None]
    comma = "\t" if tabs else ";" if first.count(";") > first.count(",") else ","
    try:
        rows = list(islice(csv.reader(_lines(text), delimiter=comma), MOST_ROWS + 1))
    except csv.Error:
        return None
    if cut and len(rows) <= MOST_ROWS:
        rows = rows[:-1]
    rows = [row for row in rows if row]
    if not rows:
        return None
    wide = any(len(row) > MOST_COLUMNS for row in rows)
    more = cut or wide or len(rows) > MOST_ROWS
    head, *others = rows[:MOST_ROWS]
    body = "".join(f"<tr>{_cells(row, 'td')}</tr>" for row in others)
    return f"<table><thead><tr>{_cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>", more


def _lines(text: str) -> Iterator[str]:
    """Line by line, with their ends: a cell may have several."""
    yield from re.findall(r"[^\n]*\n|[^\n]+", text)


def _cells(row: Sequence[str], tag: str) -> str:
    opening = '<th scope="col">' if tag == "th" else "<td>"
    return "".join(f"{opening}{html.escape(_short(each))}</{tag}>" for each in row[:MOST_COLUMNS])


def _short(cell: str) -> str:
    return cell if len(cell) <= MOST_IN_CELL else f"{cell[:MOST_IN_CELL]}…"
