"""One run of Litestream beside the server: its configuration, its process, its log, its truth."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import structlog

from blobforge.backup import Epoch, Kind, dialect
from blobforge.backup.binary import Litestream
from blobforge.backup.child import Child, started
from blobforge.backup.epochs import litestreams_own
from blobforge.backup.restore import Source
from blobforge.backup.truth import Segments, Socket, Truth
from blobforge.machinery import datadir

log = structlog.get_logger("blobforge.litestream")

FOLDER = "litestream"  # in the data folder: configurations, the socket, drills; private and ours alone
LONGEST_SOCKET = 100  # bytes of a Unix socket's path; the kernel takes 107


class Plan(msgspec.Struct, frozen=True):
    """How the database is copied. `folder` is private and ours alone; times are in seconds."""

    source: Source
    litestream: Litestream
    kind: Kind
    database: Path
    data: Path
    sync_interval: float
    retention: float


class Sidecar:
    """A Litestream that runs. Its owner must keep reading `listen` until it ends."""

    def __init__(self, child: Child, truth: Truth) -> None:
        self.child = child
        self.truth = truth

    async def listen(self) -> int:
        """Pass on what it logs until it ends; its exit code."""
        async for line in self.child.lines():
            record = _decode(line)
            self.truth.heard(record)
            _relay(record)
        return await self.child.wait()


@asynccontextmanager
async def running(plan: Plan, epoch: Epoch, *, folder: Path, lock: int) -> AsyncIterator[Sidecar]:
    """Run Litestream over the block. Raises BackupError when it cannot be started."""
    config = folder / "litestream.yml"
    with _socket_path(folder) as socket:
        # A socket file of a run before would be in the way.
        socket.unlink(missing_ok=True)
        copying = dialect.Copying(
            database=plan.database,
            place=plan.source.place,
            epoch=epoch,
            keys=plan.source.keys,
            sync_interval=plan.sync_interval,
            retention=plan.retention,
            socket=socket,
        )
        datadir.write_private(config, dialect.configuration(copying, old=plan.litestream.is_old))
        command = [plan.litestream.path, "replicate", "-config", str(config.absolute()), "-no-expand-env"]
        own = litestreams_own(plan.database)
        truth: Truth = Segments(own) if plan.litestream.is_old else Socket(socket, plan.database)
        try:
            async with started(command, folder=folder, lock=lock) as child:
                yield Sidecar(child, truth)
        finally:
            config.unlink(missing_ok=True)


@contextmanager
def _socket_path(folder: Path) -> Iterator[Path]:
    """In the private folder, or in one with a short name where that path is too long for a socket."""
    path = folder.absolute() / "socket"
    if len(str(path).encode()) <= LONGEST_SOCKET:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="blobforge-") as short:
        yield Path(short) / "socket"


def _decode(line: str) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(line)
    except msgspec.DecodeError:
        record = None
    return record if isinstance(record, dict) else {"msg": line, "level": "WARN" if line else "DEBUG"}


def _relay(record: dict[str, Any]) -> None:
    """Into our own log, which redacts."""
    message = str(record.get("msg", ""))
    said = {name: value for name, value in record.items() if name not in ("time", "level", "msg", "event")}
    match str(record.get("level", "")).upper():
        case "ERROR":
            log.error("litestream", said=message, **_named(said))
        case "WARN" | "WARNING":
            log.warning("litestream", said=message, **_named(said))
        case _:
            log.debug("litestream", said=message, **_named(said))


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    return {f"its_{name}": value for name, value in fields.items()}
