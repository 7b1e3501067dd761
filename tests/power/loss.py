"""What a disk holds after it has lost its power: an image for any point of a recorded run, in three ways.

    bare   nothing but what was synced
    whole  all that was written until then, synced or not (as when only the process is killed)
    torn   of what was not synced, each sector (512 bytes) as it was at some moment, later ones perhaps before earlier
           ones; new sectors that have not come are zeros or garbage; the size is one that the file had; of the names
           that came and went, the first few

Taken for granted, as SQLite does: a sync that has returned is true; a sector is old or new, not half of each; writing
a sector changes no byte beside it (SQLITE_IOCAP_POWERSAFE_OVERWRITE); names come and go in their order (a journalling
file system); syncing a folder makes the names in it last. The folder itself was there before. State owned here: what
is on the disk, and what is on its way.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from enum import StrEnum

from tests.power.record import Created, Cut, Deleted, Entry, FolderSynced, Synced, Written

SECTOR = 512

Image = dict[str, bytes]  # name -> content


class Loss(StrEnum):
    BARE = "bare"
    WHOLE = "whole"
    TORN = "torn"


class _File:
    def __init__(self, content: bytes = b"") -> None:
        self.synced = content
        self.now = bytearray(content)
        self.sizes: list[int] = [len(content)]  # since the last sync
        self.sectors: dict[int, list[bytes]] = {}  # what each sector was since then, the oldest first

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if end > len(self.now):
            self.now.extend(bytes(end - len(self.now)))
        self.now[offset:end] = data
        self.sizes.append(len(self.now))
        for sector in range(offset // SECTOR, (end - 1) // SECTOR + 1):
            self.sectors.setdefault(sector, []).append(bytes(self.now[sector * SECTOR : (sector + 1) * SECTOR]))

    def cut(self, size: int) -> None:
        del self.now[size:]
        if size > len(self.now):
            self.now.extend(bytes(size - len(self.now)))
        self.sizes.append(size)

    def sync(self) -> None:
        self.synced = bytes(self.now)
        self.sizes = [len(self.now)]
        self.sectors = {}

    def torn(self, dice: random.Random) -> bytes:
        size = dice.choice(self.sizes)
        content = bytearray(self.synced[:size])
        missing = size - len(content)
        content += dice.randbytes(missing) if dice.random() < 0.5 else bytes(missing)
        for sector, versions in self.sectors.items():
            version = dice.randint(0, len(versions))  # 0: what was there before
            if version and sector * SECTOR < size:
                landed = versions[version - 1]
                content[sector * SECTOR : sector * SECTOR + len(landed)] = landed
        return bytes(content[:size])


class Disk:
    """`there` is what it holds, synced, at the start, each under the number that the recording gives it."""

    def __init__(self, there: Iterable[tuple[str, int, bytes]] = ()) -> None:
        self._files: dict[int, _File] = {}
        self._synced_names: dict[str, int] = {}
        self._on_their_way: list[Created | Deleted] = []
        for name, number, content in there:
            self._files[number] = _File(content)
            self._synced_names[name] = number

    def take(self, entry: Entry) -> None:
        """The next thing that happened."""
        match entry:
            case Created():
                self._files[entry.file] = _File()
                self._on_their_way.append(entry)
            case Deleted():
                self._on_their_way.append(entry)
            case Written():
                self._files[entry.file].write(entry.offset, entry.data)
            case Cut():
                self._files[entry.file].cut(entry.size)
            case Synced():
                self._files[entry.file].sync()
            case FolderSynced():
                self._synced_names = self._names(len(self._on_their_way))
                self._on_their_way = []
            case _:
                pass  # nothing to the disk

    def image(self, loss: Loss, dice: random.Random) -> Image:
        """What is found when the power comes back now."""
        coming = {Loss.BARE: 0, Loss.WHOLE: len(self._on_their_way)}.get(loss)
        names = self._names(dice.randint(0, len(self._on_their_way)) if coming is None else coming)
        match loss:
            case Loss.BARE:
                return {name: self._files[number].synced for name, number in names.items()}
            case Loss.WHOLE:
                return {name: bytes(self._files[number].now) for name, number in names.items()}
            case Loss.TORN:
                return {name: self._files[number].torn(dice) for name, number in names.items()}

    def _names(self, coming: int) -> dict[str, int]:
        names = dict(self._synced_names)
        for entry in self._on_their_way[:coming]:
            if isinstance(entry, Created):
                names[entry.name] = entry.file
            else:
                names.pop(entry.name, None)
        return names
