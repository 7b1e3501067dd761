"""Which epoch the database on this machine is copied into. State owned here: the file that says so.

It says so of one file at one place with one key; when any of them is another one, a new epoch begins. A copy of the
database that is opened elsewhere therefore never writes into the original's backup.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
from pathlib import Path

import msgspec

from blobforge.backup import Epoch, Keys, Kind, Place, epoch_name, is_epoch
from blobforge.machinery import datadir

FILE = "backup-epoch"


class _Noted(msgspec.Struct, frozen=True):
    epoch: str
    inode: int
    where: str


def current(folder: Path, database: Path, kind: Kind, place: Place, keys: Keys | None) -> Epoch | None:
    """The epoch that this database continues, if it is the one that was copied before, in the same way."""
    try:
        noted = msgspec.json.decode((folder / FILE).read_bytes(), type=_Noted)
        inode = database.stat().st_ino
    except (OSError, msgspec.MsgspecError):
        return None
    if not is_epoch(noted.epoch) or noted.inode != inode or noted.where != _where(place, keys):
        return None
    epoch = Epoch(noted.epoch)
    return epoch if epoch.kind is kind else None


def begin(
    folder: Path,
    database: Path,
    kind: Kind,
    place: Place,
    keys: Keys | None,
    *,
    now_ms: int,
    after: Epoch | None = None,
) -> Epoch:
    """A new epoch for this database; it sorts after the one `after`, whatever the clock says."""
    if after is not None:
        now_ms = max(now_ms, round(after.began.timestamp() * 1000) + 1)
    epoch = Epoch(epoch_name(kind, now_ms=now_ms, tie=secrets.token_hex(3)))
    # What Litestream keeps beside the database belongs to the epoch before; without it, it begins with a snapshot.
    shutil.rmtree(litestreams_own(database), ignore_errors=True)
    noted = _Noted(epoch.name, database.stat().st_ino, _where(place, keys))
    datadir.write_private(folder / FILE, msgspec.json.encode(noted).decode())
    return epoch


def forget(folder: Path, database: Path) -> None:
    """There is no database any more: what comes in its place is another one."""
    (folder / FILE).unlink(missing_ok=True)
    shutil.rmtree(litestreams_own(database), ignore_errors=True)


def set_aside(database: Path, *, now_ms: int) -> Path | None:
    """Move the WAL of a database that is gone out of the way: SQLite would replay it into whatever comes next.

    Returns where it is now, if there was one with anything in it.
    """
    with contextlib.suppress(FileNotFoundError):
        database.with_name(f"{database.name}-shm").unlink()
    wal = database.with_name(f"{database.name}-wal")
    if not wal.exists():
        return None
    if wal.stat().st_size == 0:
        wal.unlink()
        return None
    return wal.rename(wal.with_name(f"{wal.name}.lost-{now_ms}"))


def wal_size(database: Path) -> int:
    """In bytes; 0 when there is none."""
    try:
        return database.with_name(f"{database.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def litestreams_own(database: Path) -> Path:
    """Where Litestream keeps its state."""
    return database.with_name(f".{database.name}-litestream")


def _where(place: Place, keys: Keys | None) -> str:
    recipient = keys.public if keys is not None else ""
    text = "\n".join((place.endpoint, place.bucket, place.prefix, recipient))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
