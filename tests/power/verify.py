"""Every image that a power loss may leave is opened by the real code, and must hold what was acknowledged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import msgspec

from blobforge.store.errors import DatabaseError, StoreUnavailable
from blobforge.store.sqlite.check import check
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.store import Store
from tests.power.loss import Disk, Image, Loss
from tests.power.record import Acknowledged
from tests.power.run import NAME, Run, content

BIRTH = 5  # of the hundreds of points in the birth of a database, which promise nothing yet: one of so many is seen


class Crash(msgspec.Struct, frozen=True):
    """`at`: after so many entries; `acknowledged`: so many transactions had been told of."""

    at: int
    loss: Loss
    acknowledged: int
    image: Image


def crashes(run: Run, *, seed: int, thorough: bool = False, disk: Disk | None = None) -> Iterator[Crash]:
    """After every entry: the bare image, and the whole or a torn one in turn; both, if it is to be `thorough`.

    Unless it is, the time before the first acknowledgement is only sampled. What is the same as before, with no
    more to be kept, is left out.
    """
    disk = disk or Disk()
    dice = random.Random(seed)
    acknowledged = 0
    seen: dict[Loss, tuple[int, Image]] = {}
    for at, entry in enumerate(run.entries, start=1):
        if isinstance(entry, Acknowledged):
            acknowledged = entry.transactions
        disk.take(entry)
        if not (thorough or acknowledged) and at % BIRTH:
            continue
        for loss in Loss if thorough else (Loss.BARE, (Loss.WHOLE, Loss.TORN)[at % 2]):
            image = disk.image(loss, dice)
            if seen.get(loss) != (acknowledged, image):
                seen[loss] = (acknowledged, image)
                yield Crash(at, loss, acknowledged, image)


def faults(run: Run, crash: Crash, folder: Path) -> list[str]:
    """What is wrong when the power comes back: nothing, it is to be hoped. `folder` is used for the files."""
    path = folder / NAME
    for each in folder.iterdir():
        each.unlink()
    for name, data in crash.image.items():
        (folder / name).write_bytes(data)
    where = f"{crash.loss} after entry {crash.at} ({run.entries[crash.at - 1]!r:.60}):"
    try:
        connection = open_writer(path)
    except DatabaseError as error:
        return [f"{where} {error}"]
    try:
        found = [f"{where} {finding}" for finding in check(path)]
        held = content(connection)
        after = [number for number, state in enumerate(run.states) if state == held]
        if not after:
            found.append(f"{where} what the database holds is no state that a transaction left")
        elif after[-1] < crash.acknowledged:  # a transaction may have changed nothing
            found.append(f"{where} {crash.acknowledged} transactions were acknowledged, {after[-1]} are there")
        store = Store(connection)
        if crash.acknowledged and store.installation != run.installation:
            found.append(f"{where} it is another installation: its keys would meet another database's")
        with store.transaction():  # and it goes on from there
            store.pulse(now=0)
    except (apsw.Error, StoreUnavailable) as error:
        return [f"{where} {error!r}"]
    finally:
        connection.close()
    return found
