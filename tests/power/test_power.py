"""The power fails at any moment: what was acknowledged is there afterwards, and nothing is there by half.

A run is recorded once (`record.py`), then every state that a disk may be left in is made of the record (`loss.py`),
and opened by the real code (`verify.py`).
"""

from __future__ import annotations

import itertools
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from actors.effects.recovery import settle_restore
from actors.effects.transaction import Rules, Transaction
from actors.messages import Claim, Register
from blobforge.store.sql import sql
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.recovery import prepare
from blobforge.store.sqlite.store import Store
from tests.power import loss, run
from tests.power.record import Acknowledged, Created, FolderSynced, Written, recording
from tests.power.run import NAME, Run, content, perform
from tests.power.verify import crashes, faults
from tests.store.making import ADMIN, T0, Book, submission

SOAK = "SOAK" in os.environ  # `make soak`: longer runs, more of them, every kind of loss at every point
COMMITS, SEEDS = (60, 6) if SOAK else (14, 1)

pytestmark = pytest.mark.timeout(SEEDS * 1200 if SOAK else 300)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where images are opened: in memory, where that can be had, for what is done there is synced again and again."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as found:
        yield Path(found)


@pytest.mark.parametrize("litestream", [False, True], ids=["own checkpoints", "as under Litestream"])
async def test_acknowledged_is_there_after_a_power_loss_at_any_point(
    tmp_path: Path, folder: Path, autojump_clock: Any, litestream: bool
) -> None:
    for seed in range(SEEDS):
        recorded = await perform(
            made(tmp_path / f"run{seed}-{litestream}"),
            commits=COMMITS,
            seed=seed,
            manner=run.Manner(litestream=litestream),
        )
        found = [
            fault
            for crash in crashes(recorded, seed=seed, thorough=SOAK)
            for fault in faults(recorded, crash, folder)
        ]
        assert found == [], f"seed {seed}: {found[:5]}"
        # It is about something: the WAL was checkpointed, begun anew, deleted, and there were real transactions.
        assert len(set(recorded.states)) > COMMITS / 2
        wal, database = file_numbers(recorded)
        assert any(isinstance(entry, Written) and entry.file in database for entry in recorded.entries[400:])
        assert len(wal) == (1 if litestream else 2), "a stop with a checkpoint deletes the WAL"
        starts = [entry for entry in recorded.entries if isinstance(entry, Written) and entry.offset == 0]
        assert sum(entry.file in wal for entry in starts) >= 3


def made(path: Path) -> Path:
    path.mkdir()
    return path


def file_numbers(recorded: Run) -> tuple[set[int], set[int]]:
    """The files that were WALs, and those that were databases."""
    named = [entry for entry in recorded.entries if isinstance(entry, Created)]
    return {e.file for e in named if e.name == f"{NAME}-wal"}, {e.file for e in named if e.name == NAME}


BROKEN = [
    pytest.param({"manner": run.Manner(synchronous="NORMAL")}, id="synchronous NORMAL"),
    pytest.param({"manner": run.Manner(synchronous="OFF")}, id="synchronous OFF"),
    pytest.param({"manner": run.Manner(deaf=apsw.SQLITE_OPEN_WAL)}, id="syncs of the WAL do nothing"),
    pytest.param({"manner": run.Manner(deaf=apsw.SQLITE_OPEN_MAIN_DB)}, id="syncs of the database do nothing"),
    pytest.param({"manner": run.Manner(litestream=True, synchronous="NORMAL")}, id="NORMAL under Litestream"),
    pytest.param({"hasty": True}, id="told before COMMIT"),
]


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_loss_is_found_where_there_is_one(
    tmp_path: Path, folder: Path, autojump_clock: Any, broken: dict[str, Any]
) -> None:
    """The machinery can fail: each of these is a server that does not keep its word."""
    recorded = await perform(made(tmp_path / "run"), commits=14, seed=3, **broken)
    # From the end, where most has been promised; a broken promise is seen at once there.
    points = list(crashes(recorded, seed=3, thorough=True))[::-1]
    found = (fault for crash in points for fault in faults(recorded, crash, folder))
    assert next(found, None) is not None


async def test_a_torn_transaction_would_be_found(tmp_path: Path, folder: Path, autojump_clock: Any) -> None:
    """What is in the database and was left by no transaction is a fault: half of one is."""
    recorded = await perform(made(tmp_path / "run"), commits=4, seed=3)
    last = list(crashes(recorded, seed=3))[-1]
    del recorded.states[-1]
    recorded.states[-1] = "another"
    assert "no state that a transaction left" in "".join(faults(recorded, last, folder))


def test_a_restored_copy_is_marked_for_good_before_it_is_used(tmp_path: Path, folder: Path) -> None:
    """`prepare` returns when copy and mark are on the disk, in one file: it is renamed into its place next."""
    original = tmp_path / "original"
    book = Book(original / NAME)
    book.do(Register(ADMIN, "w1", "pdf"), submission(1), submission(2))
    book.do(Claim(ADMIN, "w1", ("pdf",), limit=2))
    copied = made(tmp_path / "copied") / NAME
    with apsw.Connection(str(copied)) as copy, copy.backup("main", book.db, "main") as pages:
        pages.step()
    copy.close()
    book.close()
    there = copied.read_bytes()
    with recording(f"prepare-{tmp_path.name}") as entries:
        prepare(copied, now=T0)
    disk = loss.Disk([(NAME, 0, there)])
    for entry in entries:
        disk.take(entry)
    dice = random.Random(5)
    for kind in (*loss.Loss, *itertools.repeat(loss.Loss.TORN, 20)):
        (folder / NAME).write_bytes(disk.image(kind, dice)[NAME])  # alone, as it is after the rename
        connection = open_writer(folder / NAME)
        assert connection.execute("PRAGMA integrity_check").get == "ok"
        assert connection.execute(sql.RECOVERY).fetchall()[0][0] == T0
        assert connection.execute("SELECT count(*) FROM jobs WHERE status = 'running'").get == 2
        connection.close()


def test_the_mark_of_a_restore_goes_together_with_the_leases(tmp_path: Path, folder: Path) -> None:
    book = Book(made(tmp_path / "run") / NAME)
    book.do(Register(ADMIN, "w1", "pdf"), submission(1), submission(2))
    book.do(Claim(ADMIN, "w1", ("pdf",), limit=2))
    book.db.execute(sql.MARK_RESTORED, (T0,))
    book.close()
    there = book.path.read_bytes()
    with recording(f"settle-{tmp_path.name}") as entries:
        connection = open_writer(book.path)
        states = [content(connection)]
        store = Store(connection)
        installation = store.installation
        with store.transaction():
            assert settle_restore(Transaction(store, Rules(), T0 + 9000, random.Random(1))) == 2
        states.append(content(connection))
        entries.append(Acknowledged(1))
        connection.close()
    recorded = Run([FolderSynced(), *entries], states, installation)
    points = crashes(recorded, seed=1, thorough=True, disk=loss.Disk([(NAME, 0, there)]))
    assert [fault for crash in points for fault in faults(recorded, crash, folder)] == []
