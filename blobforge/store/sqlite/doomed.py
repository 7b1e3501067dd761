"""The list of objects to delete: the outbox between a commit and the object store. Rows of `doomed_objects`.

An entry is written in the transaction that makes its object useless, and leaves only when the object is gone, or is
needed again. `actors/effects/retention.py` says what may follow what.
"""

from __future__ import annotations

from blobforge.store.files import DELETING, GONE, LATER, WAITING, Doom
from blobforge.store.sqlite import sql
from blobforge.store.sqlite.statements import Statements
from blobforge.store.workingset import WorkingSet


class Doomed:
    """Times are in milliseconds since the epoch."""

    def __init__(self, statements: Statements, working: WorkingSet) -> None:
        self._do = statements
        self._working = working

    def get(self, key: str) -> Doom | None:
        return self._working.doom(key)

    def add(self, key: str, *, now: int, again: bool) -> None:
        """To be deleted when it is its turn; with `again`, once more when URLs to upload it have expired. What is on
        the list already stays as it is, but for what was gone, or was to go later."""
        self._working.doom_changed(key)
        self._do.rows(sql.ADD_DOOM, (key, WAITING, now, int(not again)))

    def add_later(self, key: str, *, due_at: int) -> None:
        """To be deleted then."""
        self._working.doom_changed(key)
        self._do.rows(sql.ADD_DOOM, (key, LATER, due_at, 1))

    def due(self, *, now: int, limit: int) -> list[str]:
        """The deletions to try now. As long as one was begun and not answered, no other is begun: each that is in
        deletion keeps the jobs waiting that need it, and a store that does not answer one will not answer the
        next."""
        state = WAITING if self._next(DELETING) is None else DELETING
        return [row[0] for row in self._do.rows(sql.DUE_DOOMS, (state, now, limit))]

    def next_at(self) -> int | None:
        """When there is something to do again."""
        begun = self._next(DELETING)
        times = (begun if begun is not None else self._next(WAITING), self._next(GONE), self._next(LATER))
        return min((time for time in times if time is not None), default=None)

    def _next(self, state: str) -> int | None:
        row = self._do.row(sql.NEXT_DOOM, (state,))
        assert row is not None
        return int(row[0]) if row[0] is not None else None

    def put(self, key: str, state: str, *, due_at: int, tries: int, epoch: int = 0, again: bool = True) -> None:
        """Change an entry."""
        self._working.doom_changed(key)
        self._do.rows(sql.PUT_DOOM, (state, due_at, tries, epoch, int(again), key))

    def drop(self, key: str) -> None:
        self._working.doom_changed(key)
        self._do.rows(sql.DROP_DOOM, (key,))

    def hasten(self, *, soon: int, late: int) -> None:
        """Nothing is tried later than `soon`, or again later than `late`: a clock that was set back delays nothing
        until a day that is over."""
        self._working.doom_changed()
        for state, due_at in ((WAITING, soon), (DELETING, soon), (GONE, late), (LATER, late)):
            self._do.rows(sql.HASTEN_DOOMS, (due_at, state, due_at))

    def turn(self, *, now: int) -> None:
        """Forget what has been gone for long enough; what is to be deleted again, or was to go later, is due."""
        self._working.doom_changed()
        self._do.rows(sql.FORGET_GONE, (now,))
        self._do.rows(sql.DOOM_AGAIN, (now,))

    def start_over(self) -> None:
        """Begin a new run: no request is left that saw an object before it was deleted."""
        self._working.doom_changed()
        self._do.rows(sql.FORGET_GONE, (2**62,))
        self._do.rows(sql.FORGET_EPOCHS)
