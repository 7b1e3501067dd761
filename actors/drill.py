"""One drill: restore the backup beside the database, check all of it, and compare it with the live one.

A backup is what could be restored; until it was, it is a hope. State owned here: the copy, gone at the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio

from actors.mailbox import Envelope, Mailbox, ask
from actors.messages import Ping
from blobforge.backup import BackupError, Epoch
from blobforge.backup.epochs import wal_size
from blobforge.backup.restore import restore
from blobforge.backup.sidecar import Plan, Sidecar
from blobforge.refusals import Refusal
from blobforge.store.errors import DatabaseError
from blobforge.store.figures import Drill

CATCH_UP = 30.0  # seconds for the backup to take what was committed before the drill
SPARE = 64 * 1024**2  # bytes of the disk that a drill leaves alone


class _Failed(Exception):
    """The drill's outcome, in a sentence."""


class Drilling:
    """Runs a drill. `now` is in ms since the epoch."""

    def __init__(self, plan: Plan, writer: Mailbox[Envelope[Any]], *, now: Callable[[], int]) -> None:
        self._plan = plan
        self._writer = writer
        self._now = now

    async def run(self, epoch: Epoch | None, sidecar: Sidecar | None, copy: Path) -> Drill:
        """Restore to `copy`, which is removed again. Never raises for what a backup can have wrong."""
        began = self._now()
        try:
            detail = await self._prove(epoch, sidecar, copy, until=began)
        except _Failed as failed:
            return Drill(began, self._now(), ok=False, proven_until=None, detail=str(failed))
        finally:
            for path in (copy, copy.with_name(f"{copy.name}-wal"), copy.with_name(f"{copy.name}-shm")):
                path.unlink(missing_ok=True)
        return Drill(began, self._now(), ok=True, proven_until=began, detail=detail)

    async def _prove(self, epoch: Epoch | None, sidecar: Sidecar | None, copy: Path, *, until: int) -> str:
        # The writer commits in order: what has an earlier time than `until` is committed once this is answered.
        written = await ask(self._writer, Ping())
        if isinstance(written, Refusal):
            raise _Failed("The database cannot be written to now; a drill would compare nothing.")
        if epoch is None or sidecar is None:
            raise _Failed("Litestream is not running.")
        if not await sidecar.truth.confirmed(patience=CATCH_UP):
            raise _Failed(f"The backup has not taken what was committed, within {CATCH_UP:g} seconds.")
        self._check_space()
        try:
            await restore(self._plan.source, epoch, copy)
        except (BackupError, OSError) as error:
            raise _Failed(f"The backup cannot be restored: {error}.") from error
        compare = partial(self._plan.source.keeper.missing, self._plan.database, copy, until=until)
        try:
            findings = await trio.to_thread.run_sync(compare, abandon_on_cancel=True)
        except DatabaseError as error:
            raise _Failed(f"The backup cannot be compared: {error}.") from error
        if findings:
            raise _Failed(" ".join(findings))
        size = self._size(copy)
        moment = datetime.fromtimestamp(until / 1000, UTC)
        return f"{size:,} bytes restored; whole; everything until {moment:%Y-%m-%dT%H:%M:%SZ} is there."

    def _check_space(self) -> None:
        database = self._plan.database
        size = database.stat().st_size + wal_size(database)
        free = shutil.disk_usage(self._plan.data).free
        # The copy, what Litestream makes it of, and its WAL while it is prepared.
        if free < 2 * size + SPARE:
            raise _Failed(f"A drill takes {2 * size + SPARE:,} bytes of disk, and {free:,} are free.")

    @staticmethod
    def _size(path: Path) -> int:
        return path.stat().st_size if path.exists() else 0
