"""Searches through the object store. Rows of `searches`, and of `search_names`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import astuple

from blobforge.search import Search, SearchName, SearchState
from blobforge.store.sql import sql
from blobforge.store.sql.running import Queries, Row, Statements

_decode_keys = msgspec.json.Decoder(list[str]).decode


def _search(row: Row | None) -> Search | None:
    if row is None:
        return None
    name, searcher, state, doom, *rest = row
    return Search(SearchName(name), searcher, SearchState(state), bool(doom), *rest)


class Searches:
    """Used inside the transaction that the store has open."""

    def __init__(self, statements: Statements) -> None:
        self._do = statements

    def get(self, name: SearchName) -> Search | None:
        return _search(self._do.row(sql.SEARCH, (name.value,)))

    def save(self, search: Search) -> None:
        name, searcher, state, doom, *rest = astuple(search)
        self._do.rows(sql.SAVE_SEARCH, (name.value, searcher, state.value, int(doom), *rest))

    def add_names(self, name: SearchName, n: int, keys: Sequence[str]) -> None:
        self._do.rows(sql.ADD_SEARCH_NAMES, (name.value, n, msgspec.json.encode(keys).decode()))

    def forget_names(self, name: SearchName) -> None:
        self._do.rows(sql.FORGET_SEARCH_NAMES, (name.value,))


class SearchLookups:
    """Of the read side."""

    def __init__(self, ask: Queries) -> None:
        self._ask = ask

    def get(self, name: SearchName) -> Search | None:
        return _search(self._ask.row(sql.SEARCH, (name.value,)))

    def names(self, name: SearchName) -> list[str]:
        return [key for (keys,) in self._ask.rows(sql.SEARCH_NAMES, (name.value,)) for key in _decode_keys(keys)]
