"""The files of the embedded store: what `local.py` does in its threads. Everything here blocks.

Objects are plain files. Beside an output stands `.<name>.json` with the checksum and the type that came with it;
a source's checksum is its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec

from blobforge.objects import Missed, ObjectInfo, ObjectStoreError
from blobforge.objects.incoming import (
    FILE_MODE,
    AlreadyThereError,
    Incoming,
    UploadRefusedError,
    make_folders,
    os_failure,
    sync_folder,
)
from blobforge.objects.keys import is_source_key, name_in
from blobforge.objects.paths import note_beside
from blobforge.objects.reading import Reading

FOLDER_TRIES = 100  # each is lost only to another process that takes an empty folder away in that very moment
PIECE = 256 << 10  # bytes of a download that wait for their reader: the slow are many
BATCH = 1 << 20  # bytes that one thread hop moves: a hop costs about 90 µs, little beside 1 MiB


class ObjectFile(msgspec.Struct, frozen=True):
    """An object and the file that held it when it was looked up. `stamp` is (inode, size, mtime in ns)."""

    info: ObjectInfo
    path: Path
    stamp: tuple[int, int, int]


class _Sidecar(msgspec.Struct, frozen=True):
    """The facts about an output beyond its bytes. They count only while size and mtime are the output's own:
    two files cannot be replaced in one step, and a crash between them must not pair old with new.
    """

    size: int
    mtime_ns: int
    sha256: str
    content_type: str | None


class ObjectReader:
    """An open object, read by position."""

    def __init__(self, found: ObjectFile) -> None:
        self._path = found.path
        try:
            self._file = found.path.open("rb", buffering=0)
        except OSError as error:
            raise os_failure("read an object", found.path.parent, error) from error
        if _stamp(os.fstat(self._file.fileno())) != found.stamp:
            self._file.close()
            raise ObjectStoreError(f"{found.info.key} was replaced while it was being read; ask again")

    def read(self, start: int, length: int) -> bytes:
        try:
            piece = os.pread(self._file.fileno(), length, start)
        except OSError as error:
            raise os_failure("read an object", self._path.parent, error) from error
        if not piece:
            raise ObjectStoreError(f"{self._path} is shorter than it was; was it changed by hand?")
        return piece

    def close(self) -> None:
        self._file.close()


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _etag(status: os.stat_result) -> str:
    """Changes with the file: a name is always given to a new one."""
    return "-".join(map(str, _stamp(status)))


def link(
    names: threading.Lock, root: Path, source: tuple[str, Path], target: tuple[str, Path], *, like: ObjectInfo | None
) -> ObjectInfo | Missed:
    """Give the file a second name (`LocalStore.copy`). Durable, and all or nothing: the name is made beside, checked,
    and moved."""
    (key, path), (to, place) = source, target
    if (done := find(to, place)) is not None:
        return done.info
    beside = root / "incoming" / secrets.token_hex(16)
    try:
        try:
            os.link(path, beside)
        except FileNotFoundError:
            return "absent"
        except OSError:
            shutil.copy2(path, beside)  # with its times, by which it is known again
            _sync(beside)
        found = find(key, beside)
        known = find(key, path)
        if found is None or (like is not None and not _is_like(found.info, known, like)):
            return "changed"
        sidecar = _read_sidecar(path, beside.stat())
        with names:
            changed = _named(root, place, lambda: os.replace(beside, place))
            if sidecar is not None:
                _write_sidecar(place, sidecar)
        for folder in [*changed, place.parent]:
            sync_folder(folder)
    except OSError as error:
        raise os_failure("keep an object", place.parent, error) from error
    finally:
        beside.unlink(missing_ok=True)
    kept = find(to, place)
    return kept.info if kept is not None else "absent"


def _is_like(found: ObjectInfo, known: ObjectFile | None, like: ObjectInfo) -> bool:
    """Whether the file that was linked is still the object, and that the one that was seen."""
    if known is None or found.etag is None or known.info.etag is None:
        return False
    # A file of its own, where there are no links, has another number: only size and time are the same.
    same_file = found.etag.partition("-")[2] == known.info.etag.partition("-")[2]
    return same_file and known.info.same_as(like)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def find(key: str, path: Path) -> ObjectFile | None:
    """Describe the object at `path`, or None. Raises ObjectStoreError."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise os_failure("look up an object", path.parent, error) from error
    if not stat.S_ISREG(status.st_mode):
        return None
    if is_source_key(key):
        info = ObjectInfo(key, status.st_size, sha256=path.name, etag=_etag(status))
    else:
        sidecar = _read_sidecar(path, status)
        info = ObjectInfo(
            key,
            status.st_size,
            sha256=sidecar.sha256 if sidecar else None,
            content_type=sidecar.content_type if sidecar else None,
            etag=_etag(status),
        )
    return ObjectFile(info, path, _stamp(status))


def _read_sidecar(path: Path, status: os.stat_result) -> _Sidecar | None:
    try:
        sidecar = msgspec.json.decode(note_beside(path).read_bytes(), type=_Sidecar)
    except (OSError, msgspec.MsgspecError):
        return None  # it is a convenience: without it the checksum is merely unknown
    return sidecar if (sidecar.size, sidecar.mtime_ns) == (status.st_size, status.st_mtime_ns) else None


def finish(
    incoming: Incoming,
    batch: list[bytes],
    *,
    names: threading.Lock,
    root: Path,
    path: Path,
    key: str,
    expected: str | None,
    content_type: str | None,
) -> ObjectInfo:
    """Write the last `batch`, check, name the file: one hop, so that a small object costs one. See `receive`.

    One of several outputs is written once: AlreadyThereError.

    `names` is held while names change, here and in `delete`: else a delete takes away the folder just made. The
    syncs come after it, as they are what takes time.
    """
    incoming.write(batch)
    digest = incoming.seal(expected)
    try:
        with names:
            if name_in(key) is not None and path.exists():
                raise AlreadyThereError
            changed = _named(root, path, lambda: incoming.move_to(path))
            if not is_source_key(key):
                _write_sidecar(path, _Sidecar(incoming.size, incoming.mtime_ns, digest, content_type))
        for folder in [*changed, path.parent]:
            sync_folder(folder)
    except OSError as error:
        raise os_failure("store an object", path.parent, error) from error
    return ObjectInfo(key, incoming.size, sha256=digest, content_type=content_type)


def store_many(
    files: Sequence[tuple[str, Path, bytes]],
    *,
    folder: Path,
    active: set[Path],
    reserve: int,
    names: threading.Lock,
    root: Path,
) -> list[ObjectInfo | UploadRefusedError]:
    """Store small sources, (key, path, bytes) each; see `LocalStore.receive_many`.

    What makes a thousand files cheap is that each folder is synced once, after all the names in it.
    """
    changed: set[Path] = set()
    stored: list[ObjectInfo | UploadRefusedError] = []
    for key, path, data in files:
        incoming = Incoming(folder, reserve=reserve)
        active.add(incoming.path)  # a sweep leaves it alone
        try:
            incoming.write([data])
            incoming.seal(path.name)
            move = partial(incoming.move_to, path)
            with names:
                changed.update(_named(root, path, move, folder_known=path.parent in changed))
            changed.add(path.parent)
            stored.append(ObjectInfo(key, incoming.size, sha256=path.name))
        except UploadRefusedError as error:
            stored.append(error)
        except OSError as error:
            raise os_failure("store an object", path.parent, error) from error
        finally:
            if not incoming.done:
                incoming.discard()
            active.discard(incoming.path)
    try:
        for each in changed:
            sync_folder(each)
    except OSError as error:
        raise os_failure("store an object", root, error) from error
    return stored


def _named(root: Path, path: Path, move: Callable[[], None], *, folder_known: bool = False) -> list[Path]:
    """Give a file its name; returns the folders that have changed, but for the last one. Raises OSError.

    A folder is empty for a moment, and may be taken away then. Our own deletes do not: the caller holds the names'
    lock. Another process (a clean-up of empty folders, a second tool on the same tree) has no such lock.
    """
    changed: list[Path] = []
    tries = FOLDER_TRIES
    while True:
        try:
            if not folder_known:
                changed += make_folders(root, path.parent)
            move()
        except FileNotFoundError:
            folder_known = False
            tries -= 1
            if not tries:
                raise
        else:
            return changed


def _write_sidecar(path: Path, sidecar: _Sidecar) -> None:
    """Best effort and not synced: the object is stored already, and a lost sidecar costs only a known checksum."""
    target = note_beside(path)
    with contextlib.suppress(OSError):
        fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        with open(fd, "wb") as file:
            file.write(msgspec.json.encode(sidecar))


def digest(path: Path, reading: Reading) -> str | None:
    """Hash the file in pieces, or None if absent; gives up (with a useless answer) once it is abandoned."""
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while (piece := file.read(BATCH)) and reading.goes_on(len(piece)):
                digest.update(piece)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise os_failure("read an object", path.parent, error) from error
    return digest.hexdigest()


def beginning(path: Path, most: int) -> bytes | None:
    """The first bytes of the file, or None if absent."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise os_failure("read an object", path.parent, error) from error


def delete(names: threading.Lock, root: Path, path: Path) -> None:
    """Remove the object, its sidecar, and an output's folders as far as they are empty then."""
    with names:
        try:
            note_beside(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise os_failure("delete an object", path.parent, error) from error
        with contextlib.suppress(OSError):  # one that is not empty, or not there
            for folder in path.parents:
                if root in (folder, folder.parent):
                    break
                folder.rmdir()


def remove(paths: list[Path]) -> None:
    """Remove the files of uploads that never ended."""
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise os_failure("remove an unfinished upload", path.parent, error) from error


def check(folder: Path, *, reserve: int) -> None:
    """Make a file and remove it, as an upload would: a disk that is too full for one is no healthy store. Raises
    ObjectStoreError."""
    probe = Incoming(folder, reserve=reserve)
    try:
        try:
            probe.write([])
        finally:
            probe.discard()
    except OSError as error:
        raise os_failure("use the object folder", folder, error) from error
