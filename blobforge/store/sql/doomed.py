"""The list of objects to delete: the outbox between a commit and the object store. Rows of `doomed_objects`.

An entry is written in the transaction that makes its object useless, and leaves only when the object is gone, or is
needed again. `actors/effects/deletions.py` says what may follow what.
"""

from __future__ import annotations

from blobforge.store.files import Doom
from blobforge.store.sql import sql
from blobforge.store.sql.running import Statements
from blobforge.store.workingset import WorkingSet


class Doomed:
    """Times are in milliseconds since the epoch."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def get(self, key: str) -> Doom | None:
        return self._working.doom(key)

    def add(self, key: str, state: str, *, due_at: int, again: bool, over: tuple[str, str]) -> None:
        self._working.doom_changed(key)
        self._do.rows(sql.ADD_DOOM, (key, state, due_at, int(again), *over))

    def put(self, key: str, state: str, *, due_at: int, tries: int, epoch: int = 0, again: bool = True) -> None:
        self._working.doom_changed(key)
        self._do.rows(sql.PUT_DOOM, (state, due_at, tries, epoch, int(again), key))

    def drop(self, key: str) -> None:
        self._working.doom_changed(key)
        self._do.rows(sql.DROP_DOOM, (key,))

    def due(self, state: str, *, now: int, limit: int) -> list[str]:
        return [row[0] for row in self._do.rows(sql.DUE_DOOMS, (state, now, limit))]

    def next_at(self, state: str) -> int | None:
        row = self._do.row(sql.NEXT_DOOM, (state,))
        return row[0] if row else None

    def hasten(self, state: str, *, due_at: int, limit: int) -> None:
        self._working.doom_changed()
        self._do.rows(sql.HASTEN_DOOMS, (due_at, state, due_at, limit))

    def drop_due(self, state: str, *, again: bool, now: int, limit: int) -> bool:
        self._working.doom_changed()
        return self._do.change(sql.DROP_DUE_DOOMS, (state, int(again), now, limit)) == limit

    def move_due(self, state: str, to: str, *, again: bool, now: int, limit: int) -> None:
        self._working.doom_changed()
        self._do.rows(sql.MOVE_DUE_DOOMS, (to, state, int(again), now, limit))

    def forget_epochs(self, *, limit: int) -> bool:
        self._working.doom_changed()
        return self._do.change(sql.FORGET_EPOCHS, (limit,)) == limit
