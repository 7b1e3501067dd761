"""Jobs that may have a text: those that the index finds, and all that are not in it, or not as they are now."""

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
    """Used within a `moment` of the reader. `wanted` gives a text as the engine's index is asked for it."""

    def __init__(self, ask: Queries, wanted: Callable[[str], str]) -> None:
        self._ask = ask
        self._wanted = wanted

    def can_find(self, text: str) -> bool:
        """Whether the index can be asked for the text: it has a trigram."""
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
        """These jobs, where they still exist: (priority, id, status, type)."""
        found = self._ask.rows(sql.PLACES, (msgspec.json.encode(list(ids)).decode(),))
        return [(row[0], row[1], row[2], row[3]) for row in found]

    def unindexed(self, *, most: int) -> int:
        """How many jobs are not in the index yet, at the most so many."""
        (upto,) = self._ask.row(sql.INDEXED_UPTO) or (0,)
        return len(self._ask.rows(sql.NOT_INDEXED, (upto, most)))
