"""From a backup to a database, with three outcomes: restored, provably no backup, or an error.

The error is the rule: only a place that answered, and holds nothing, is no backup. What is restored is checked
beside its final place and renamed into it, so that a start that was cut short leaves nothing half done.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog
import trio

from blobforge.backup import BackupError, Epoch, Keys, Kind, Place, dialect
from blobforge.backup.binary import Litestream, find_for
from blobforge.backup.child import finished
from blobforge.backup.folder import private_folder
from blobforge.backup.replica import BackupsFound, Replica
from blobforge.machinery import datadir
from blobforge.machinery.clock import wall_ms
from blobforge.store.errors import Damaged, DatabaseError
from blobforge.store.keeping import Keeper

T = TypeVar("T")
log = structlog.get_logger("blobforge.backup")

LOOK_SECONDS = 7.0  # for each of our own two looks at the place
# Without a single byte of progress, Litestream is given up: with the looks, within the 30 s that a start may take.
STALLED_SECONDS = 14.0


class Source(msgspec.Struct, frozen=True):
    """Where backups are read from, and with which programs and keys. `keeper` looks after the files that come out of
    them; `program` is the configured Litestream, if one is."""

    place: Place
    keys: Keys | None
    keeper: Keeper
    program: str = ""


class Restored(msgspec.Struct, frozen=True):
    """From which epoch, and how long it took."""

    epoch: Epoch
    seconds: float


class NoBackup(msgspec.Struct, frozen=True):
    """The place answered, to us and to Litestream, and there is nothing in it."""


async def look(source: Source) -> BackupsFound:
    """The backups that there are. Raises BackupError, at the latest after LOOK_SECONDS."""
    return await _asked(source, Replica.look)


async def _asked(source: Source, question: Callable[[Replica], T]) -> T:
    with trio.move_on_after(LOOK_SECONDS):
        return await trio.to_thread.run_sync(lambda: question(Replica(source.place)), abandon_on_cancel=True)
    raise BackupError(
        f"the place of the backups ({source.place}) has not answered for {LOOK_SECONDS:g} seconds; check that it is "
        "up and reachable from here"
    )


def _oldest(found: BackupsFound) -> str:
    return f"the oldest began at {found.epochs[-1].began:%Y-%m-%dT%H:%M:%SZ}"


async def newest(source: Source, into: Path, *, at: datetime | None = None) -> Restored | NoBackup:
    """Restore the newest backup, or the state at a time, to the file `into`, which must not be there.

    Leaves it marked as restored (`store/sqlite/recovery.py`). Raises BackupError.
    """
    found = await look(source)
    fitting = [each for each in found.epochs if at is None or each.began <= at]
    epoch = await _asked(source, lambda replica: replica.first_with_objects(fitting))
    if epoch is None and fitting != found.epochs:
        raise BackupError(f"there is no backup from before {at:%Y-%m-%dT%H:%M:%SZ}: {_oldest(found)}")
    if epoch is None:
        if found.strangers:
            raise BackupError(
                f"there is something at the place of the backups ({source.place}) that no BlobForge server wrote "
                f"({', '.join(sorted(found.strangers)[:3])}); move it away, or set "
                "BLOBFORGE_LITESTREAM_SKIP_RESTORE=true to begin with an empty database beside it"
            )
        await _prove_absence(source, into)
        return NoBackup()
    began = time.monotonic()
    await restore(source, epoch, into, at=at)
    return Restored(epoch, time.monotonic() - began)


async def restore(source: Source, epoch: Epoch, into: Path, *, at: datetime | None = None) -> None:
    """Restore one epoch to the file `into`, checked and marked. Raises BackupError."""
    if epoch.kind is Kind.AGE and source.keys is None:
        raise BackupError(
            f"the newest backup ({epoch.name} in {source.place}) is encrypted: set "
            "BLOBFORGE_LITESTREAM_AGE_SECRET_KEY and BLOBFORGE_LITESTREAM_AGE_PUBLIC_KEY to its keys"
        )
    with private_folder(_scratch(into)) as folder:
        copy = folder / "copy.db"
        program = await trio.to_thread.run_sync(partial(find_for, source.program, epoch.kind))
        code, said = await _run(program, source, epoch, copy, at=at)
        where = f"the backup {epoch.name} in {source.place}"
        if code is None:
            raise BackupError(
                f"{where}: no progress for {STALLED_SECONDS:g} seconds; check that the store is up and reachable"
            )
        if code != 0 or not copy.exists():
            raise BackupError(f"{where} cannot be restored: {_reason(said, code)}{_hint(epoch)}")
        try:
            # Abandoned when cancelled: a large copy takes minutes to check, and a stop does not wait for a drill.
            await trio.to_thread.run_sync(partial(source.keeper.prepare, copy, now=wall_ms()), abandon_on_cancel=True)
        except Damaged as error:
            raise BackupError(
                f"{where} is damaged: {error} An older state can be had with `blobforge backup restore --to FILE "
                "--at TIME`; BLOBFORGE_LITESTREAM_SKIP_RESTORE=true begins with an empty database"
            ) from error
        except DatabaseError as error:
            raise BackupError(f"{where} cannot be used: {error}") from error
        _put(copy, into)


async def _prove_absence(source: Source, into: Path) -> None:
    """Have Litestream itself say that there is nothing: it asks in its own way, and may see what we did not."""
    kind = Kind.AGE if source.keys is not None else Kind.LTX
    epoch = Epoch("00000000T000000000Z-ltx-000000")
    try:
        program = await trio.to_thread.run_sync(partial(find_for, source.program, kind))
    except BackupError:
        if kind is Kind.AGE:
            raise
        program = await trio.to_thread.run_sync(partial(find_for, source.program, Kind.WAL))
    with private_folder(_scratch(into)) as folder:
        copy = folder / "copy.db"
        code, said = await _run(program, source, epoch, copy, at=None, may_lack=True)
        if code != 0 or copy.exists():
            raise BackupError(
                f"the place of the backups ({source.place}) looks empty, but {program} does not say so: "
                f"{_reason(said, code)}"
            )


async def _run(
    program: Litestream,
    source: Source,
    epoch: Epoch,
    copy: Path,
    *,
    at: datetime | None,
    may_lack: bool = False,
) -> tuple[int | None, list[str]]:
    config = copy.with_name("litestream.yml")
    keys = source.keys if epoch.kind is Kind.AGE else None
    copying = dialect.Copying(Path("/restored.db"), source.place, epoch, keys)
    datadir.write_private(config, dialect.configuration(copying, old=program.is_old))
    command = [program.path, "restore", "-config", str(config), "-no-expand-env", "-o", str(copy)]
    if may_lack:
        command.append("-if-replica-exists")
    if at is not None:
        command += ["-timestamp", f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"]
    return await finished([*command, str(copying.database)], folder=copy.parent, stalled=STALLED_SECONDS)


def _reason(said: list[str], code: int | None) -> str:
    """The program's own reason for its failure, in one line."""
    for line in reversed(said):
        with contextlib.suppress(msgspec.DecodeError):
            record = msgspec.json.decode(line)
            if isinstance(record, dict) and (error := record.get("error")):
                return str(error).splitlines()[0]
        if line.startswith("Error:") or "error=" in line:
            return line.removeprefix("Error:").strip()
    return said[-1] if said else f"exit code {code}"


def _hint(epoch: Epoch) -> str:
    if epoch.kind is Kind.AGE:
        return " (is BLOBFORGE_LITESTREAM_AGE_SECRET_KEY the key that it was encrypted for?)"
    return ""


def _scratch(beside: Path) -> Path:
    """Where a restore to this file is prepared: on the same file system, so that it can be renamed into place."""
    return beside.absolute().with_name(f".{beside.name}-restore")


def _put(copy: Path, into: Path) -> None:
    """Into its place, whole and for good; never over another file."""
    try:
        os.close(os.open(into, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise BackupError(f"{into} is there already; nothing was overwritten") from None
    except OSError as error:
        raise BackupError(f"cannot write {into}: {error}") from error
    copy.rename(into)
    descriptor = os.open(into.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
