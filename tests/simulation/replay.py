"""The log that several servers of a play write, seen before it is pruned: all that was ever in it, and whether it was
kept as it is to be.

Owns: the entries, and how far the log was gone when it was looked at last.
"""

from __future__ import annotations

import msgspec

from blobforge.store.following import Entry
from blobforge.store.postgres.entries import entry
from tests.fixtures.on_postgres import PostgresDatabase
from tests.several.streams import Told
from tests.simulation.history import History
from tests.simulation.machine import Watcher

# In place of what `blobforge.store.postgres.connection` has; a play has some hundred turns.
KEPT = 40  # turns
KEPT_MS = 20_000
PRUNED_EACH = 10  # turns
PROMISE = "the log is kept for as long as is said, and no longer"


class SeenLog:
    """`pruned`: whether the play has such a short log; else nothing of it may go. `then` is told of each commit
    first."""

    def __init__(self, history: History, then: Watcher, *, pruned: bool) -> None:
        self.entries: list[Entry] = []
        self.gone = 0  # all turns up to this one are, from the log
        self._history = history
        self._then = then
        self._pruned = pruned
        self._database: PostgresDatabase | None = None

    def opened(self, database: PostgresDatabase) -> None:
        self._database = database
        self._then.opened(database)

    def committed(self) -> None:
        self._then.committed()
        assert self._database is not None
        n = self._database.version()
        if n // PRUNED_EACH > (self.entries[-1].n if self.entries else 0) // PRUNED_EACH:
            self.read()

    def read(self) -> None:
        """What has come since, and what is gone."""
        assert self._database is not None
        rows = self._database.probe.rows("log", "n", "server", "nonce", "at", "told", order="n")
        known = self.entries[-1].n if self.entries else 0
        self.entries += [entry(n, server, nonce, at, told, "") for n, server, nonce, at, told in rows if n > known]
        first = rows[0][0] if rows else known + 1
        before, self.gone = self.gone, first - 1
        last = self.entries[-1] if self.entries else None
        if [entry.n for entry in self.entries] != list(range(1, len(self.entries) + 1)):
            self._history.broken("the log has no gaps", f"{len(self.entries)} entries, and the last is {last}")
            return
        if self.gone > before:
            self._history.say(f"  the log begins with turn {first}")
            youngest = self.entries[self.gone - 1]
            assert last is not None
            if not self._pruned or youngest.n > last.n - KEPT or youngest.at >= last.at - KEPT_MS:
                self._history.broken(PROMISE, f"turn {youngest.n} is gone with turn {last.n}")
        if self._pruned and (pruned_at := len(self.entries) // PRUNED_EACH * PRUNED_EACH):
            at = self.entries[pruned_at - 1].at
            old = [row[0] for row in rows if row[0] <= pruned_at - KEPT and row[3] < at - KEPT_MS]
            if old and self.gone - before < 10 * PRUNED_EACH:  # so many go at a time
                self._history.broken(PROMISE, f"turns {old} were there behind turn {pruned_at}")

    def told(self) -> list[Told]:
        return [
            Told(f"{entry.n}.{index}", event.name, msgspec.json.decode(msgspec.json.encode(event)))
            for entry in self.entries
            for index, event in enumerate(entry.events, start=1)
        ]
