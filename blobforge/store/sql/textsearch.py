"""Which jobs may have a text: by the index, and, of what is not in it or not in it yet, all."""

from __future__ import annotations

from collections.abc import Callable, Collection

import msgspec

from blobforge import texts
from blobforge.store import lists
from blobforge.store.sql import sql
from blobforge.store.sql.running import Queries, Row


def match_expression(text: str) -> str:
    """For FTS5: all trigrams of the text."""
    return " AND ".join('"' + trigram.replace('"', '""') + '"' for trigram in texts.trigrams(text))


class TextSearch:
    """Used within a `moment` of the reader. `wanted` makes of a text what the engine's index is asked for."""

    def __init__(self, ask: Queries, wanted: Callable[[str], str]) -> None:
        self._ask = ask
        self._wanted = wanted

    def can_find(self, text: str) -> bool:
        """Whether there is an index for it: it has a trigram."""
        return bool(texts.trigrams(texts.folded(text)))

    def find(self, text: str) -> set[int] | None:
        """All jobs that may have the text; None where they are more than MOST_FOUND."""
        (upto,) = self._ask.row(sql.INDEXED_UPTO) or (0,)
        asked: list[tuple[str, Row]] = [
            (sql.FOUND_BY_TEXT, (self._wanted(texts.folded(text)),)),
            (sql.NOT_INDEXED, (upto,)),
            (sql.CHANGED_SINCE, ()),
            (sql.FOUND_BY_WORKER, (text,)),
        ]
        digits = texts.hash_range(text)
        if digits is not None:
            asked.append((sql.FOUND_BY_HASH, digits))
        found: set[int] = set()
        for statement, values in asked:
            found.update(row[0] for row in self._ask.rows(statement, (*values, lists.MOST_FOUND + 1)))
            if len(found) > lists.MOST_FOUND:
                return None
        return found

    def places(self, ids: Collection[int]) -> list[tuple[int, int, str, str]]:
        """Those that are there: (priority, id, status, type)."""
        found = self._ask.rows(sql.PLACES, (msgspec.json.encode(list(ids)).decode(),))
        return [(row[0], row[1], row[2], row[3]) for row in found]

    def unindexed(self, *, most: int) -> int:
        (upto,) = self._ask.row(sql.INDEXED_UPTO) or (0,)
        return len(self._ask.rows(sql.NOT_INDEXED, (upto, most)))
