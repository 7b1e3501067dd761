"""What opens a database: the one thing that is different for each engine, and is made in the composition root."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from blobforge.store.commons import Commons
from blobforge.store.following import HistoryReader
from blobforge.store.keeping import Keeper
from blobforge.store.reading import Reader
from blobforge.store.whole import DatabaseExport
from blobforge.store.writing import Store


class Engine(Protocol):
    """One database, wherever it is. Each raises DatabaseError for one that cannot be used."""

    @property
    def schema(self) -> int:
        """The newest version of the schema that this release knows."""

    @property
    def keeper(self) -> Keeper | None:
        """What is done to its file; None: it has none that is ours to keep."""

    def version(self) -> int:
        """The version of the schema that the database has; 0: there is none."""

    def mark_restored(self, *, now: int) -> None:
        """Mark the database, which no server has open, as one that came out of a backup at `now` (ms): the next start
        voids its leases, and gives no number again that may have been given meanwhile."""

    def exists(self) -> bool:
        """Whether there is a database already."""

    def open_store(self) -> Store:
        """Open, or make, the database for its one writer, and bring its schema up to date."""

    def open_reader(self) -> Reader:
        """Open the database, which is there and up to date, to read from it."""

    def commons(self, folder: Path) -> Commons:
        """What all servers of the database share beside its history; `folder` is this server's own. To be asked for
        once the store is open."""

    def follow(self) -> HistoryReader | None:
        """What all servers of the database write; None: there is one, which knows what it writes."""

    def export(self) -> AbstractContextManager[DatabaseExport]:
        """All of the database, also beside a running server."""

    def damage_told(self) -> AbstractContextManager[None]:
        """Around what a start reads of the database: raises DatabaseError for what says that it is damaged."""
