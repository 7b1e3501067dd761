"""Whether what is committed is in the backup: asked where the truth is.

Litestream 0.5 has a control socket; "sync and wait" there answers only when the store has taken everything. Its
metrics, its `status` command and its log say nothing while the store is away. 0.3 has no such thing: it logs each
segment that the store has taken, and keeps on disk what it has read from the WAL; the two together tell.
"""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import trio

_POSITION = re.compile(r"(?P<generation>[0-9a-f]{16})/(?P<index>[0-9a-f]{8}):(?P<offset>\d+)")
READ_EVERY = 1.0  # seconds between two looks of 0.3 at the WAL


class Truth(Protocol):
    """Knows of one running Litestream."""

    def heard(self, record: dict[str, Any]) -> None:
        """Take note of a record that Litestream has logged."""

    async def confirmed(self, *, patience: float) -> bool:
        """Whether all that was committed before this call is in the backup, `patience` seconds from now at most."""

    async def ended(self, end: Callable[[], Awaitable[bool]], *, patience: float) -> bool:
        """Have Litestream end by `end`, when all writes are over. Whether all of them are in the backup."""


class Socket:
    """The truth about Litestream 0.5, by its control socket."""

    def __init__(self, path: Path, database: Path) -> None:
        self._path = path
        self._database = str(database.absolute())

    def heard(self, record: dict[str, Any]) -> None:
        pass

    async def confirmed(self, *, patience: float) -> bool:
        with trio.move_on_after(patience):
            # It may just have been started, or the store come back.
            while not await trio.to_thread.run_sync(self._sync, patience, abandon_on_cancel=True):  # noqa: ASYNC110
                await trio.sleep(0.1)
            return True
        return False

    async def ended(self, end: Callable[[], Awaitable[bool]], *, patience: float) -> bool:
        complete = await self.confirmed(patience=patience)
        await end()
        return complete

    def _sync(self, patience: float) -> bool:
        body = {"path": self._database, "wait": True, "timeout": max(1, round(patience))}
        connection = _UnixConnection(self._path, patience)
        try:
            connection.request("POST", "/sync", msgspec.json.encode(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = msgspec.json.decode(response.read())
        except (OSError, http.client.HTTPException, msgspec.DecodeError):
            return False
        finally:
            connection.close()
        if response.status != 200 or not isinstance(answer, dict):
            return False
        synced, done = answer.get("txid"), answer.get("replicated_txid")
        return isinstance(synced, int) and isinstance(done, int) and done >= synced > 0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("litestream", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Segments:
    """The truth about Litestream 0.3, by its files. `own` is the folder that it keeps beside the database."""

    def __init__(self, own: Path) -> None:
        self._own = own
        self._taken: tuple[str, int, int] | None = None  # generation, index, end in bytes

    def heard(self, record: dict[str, Any]) -> None:
        if record.get("msg") != "wal segment written":
            return
        found = _POSITION.fullmatch(str(record.get("position")))
        size = record.get("sz")
        if found is not None and isinstance(size, int):
            self._taken = (found["generation"], int(found["index"], 16), int(found["offset"]) + size)

    async def confirmed(self, *, patience: float) -> bool:
        with trio.move_on_after(patience):
            # It reads the WAL once a second: after two, it has read all that was there when we began.
            await trio.sleep(2 * READ_EVERY)
            wanted = self._read_so_far()
            while not self._has(wanted):  # noqa: ASYNC110 - the reader of the log goes on without us
                await trio.sleep(0.1)
            return True
        return False

    async def ended(self, end: Callable[[], Awaitable[bool]], *, patience: float) -> bool:
        # SIGTERM makes it read and send what is left, and log it; but only once it has begun at all.
        with trio.move_on_after(patience):
            while self._taken is None:  # noqa: ASYNC110 - the reader of the log goes on without us
                await trio.sleep(0.05)
        return await end() and self._has(self._read_so_far())

    def _has(self, wanted: tuple[str, int, int] | None) -> bool:
        taken = self._taken
        return wanted is not None and taken is not None and taken[0] == wanted[0] and taken >= wanted

    def _read_so_far(self) -> tuple[str, int, int] | None:
        """Generation, index and end of what Litestream has read from the WAL."""
        try:
            generation = (self._own / "generation").read_text().strip()
            newest = max((self._own / "generations" / generation / "wal").iterdir())
            return generation, int(newest.name.split(".")[0], 16), newest.stat().st_size
        except (OSError, ValueError):
            return None
