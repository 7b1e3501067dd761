"""A restored database: nobody holds a job, no number is given twice, and what is missing in a copy is found."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from actors.effects.claims import claim
from actors.effects.recovery import settle_restore
from actors.effects.transaction import Rules, Transaction
from actors.messages import Claim
from blobforge.access import Caller, Scope
from blobforge.job import JobStatus
from blobforge.store.errors import Damaged, DatabaseError
from blobforge.store.figures import Drill
from blobforge.store.sqlite.check import check
from blobforge.store.sqlite.compare import missing
from blobforge.store.sqlite.database import open_writer
from blobforge.store.sqlite.recovery import prepare
from blobforge.store.sqlite.store import Store
from tests.fixtures.local import EPOCH_MS, open_local
from tests.store.making import T0

NOW = EPOCH_MS + 10_000
HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a backup holds: a running job, a lost one that could still be completed late, a pending one, a
    completed one with a large result."""
    folder = tmp_path_factory.mktemp("recovery")

    async def fill() -> None:
        async with open_local(folder, worker_timeout=10) as local:
            lost = await local.submit(b"lost")
            await local.register("gone")
            assert (await local.claim("gone"))["job"]["id"] == lost
            await trio.sleep(30)
            await local.register("w")
            await local.call("PATCH", f"/api/jobs/{lost}/priority", {"priority": 5})
            running = await local.submit(b"running")
            assert (await local.claim("w"))["job"]["id"] == running
            await local.submit(b"pending")
            done = await local.submit(b"done", priority=1)
            assert (await local.claim("w"))["job"]["id"] == done
            body = {"worker_id": "w", "result": "x" * 100_000}
            assert (await local.call("POST", f"/api/jobs/{done}/complete", body))[0] == 200

    trio.run(fill, clock=MockClock(autojump_threshold=0))
    return folder / "blobforge.db"


def restored(backup: Path, copy: Path, *, now: int = NOW) -> Store:
    """A copy, as a restore leaves it, opened by a server."""
    copy.write_bytes(backup.read_bytes())
    prepare(copy, now=now)
    return Store(open_writer(copy))


def settled(store: Store, *, now: int) -> int | None:
    with store.transaction():
        return settle_restore(Transaction(store, Rules(), now, random.Random(1)))


def test_running_jobs_go_back_at_no_cost_and_old_leases_are_void(backup: Path, tmp_path: Path) -> None:
    store = restored(backup, tmp_path / "copy.db")
    before = {job.id: job for job in store.recovery.running(limit=9)}
    assert len(before) == 1
    assert settled(store, now=NOW) == 1
    assert settled(store, now=NOW) is None, "once is enough, and a second start changes nothing"
    with store.transaction():
        for job_id in (1, 2, 3):
            job = store.job(job_id)
            assert job is not None
            assert (job.status, job.lease, job.attempts) == (JobStatus.PENDING, None, 0)
    store.close()
    assert check(tmp_path / "copy.db") == []


def test_no_number_of_the_lost_time_is_given_again(backup: Path, tmp_path: Path) -> None:
    """Twice from the same backup, an hour apart: each goes on above all that the other may have given."""
    ids, attempts = [], []
    for name, now in (("first.db", NOW), ("second.db", NOW + HOUR_MS)):
        store = restored(backup, tmp_path / name, now=now)
        settled(store, now=now)
        with store.transaction():
            tx = Transaction(store, Rules(), now, random.Random(1))
            caller = Caller(scopes=frozenset({Scope.ADMIN}), token_id=1, name="t")
            granted = claim(tx, Claim(caller, "w", ("pdf",), limit=3))
            attempts.append({job.id: job.attempt for job in granted.jobs})  # type: ignore[union-attr]
            template = store.job(1)
            assert template is not None
            new = replace(template, type="other", status=JobStatus.PENDING, lease=None)
            ids.extend(job.id for job in store.insert_jobs([new]))
        store.close()
    assert ids[0] > 1_000_000
    assert ids[1] - ids[0] >= 3600 * 1000, "room for a thousand submissions a second"
    for job_id, attempt in attempts[0].items():
        assert attempt > 1_000
        assert attempts[1][job_id] - attempt >= 3600


def test_numbers_of_what_the_backup_had_none_of_go_on_higher_too(backup: Path, tmp_path: Path) -> None:
    """Receivers of webhooks know what they had by its number, and take nothing twice."""
    store = restored(backup, tmp_path / "copy.db")
    settled(store, now=NOW)
    store.close()
    database = apsw.Connection(str(tmp_path / "copy.db"))
    numbered = {
        name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE sql LIKE '%AUTOINCREMENT%'")
    }
    given = dict(database.execute("SELECT name, seq FROM sqlite_sequence"))
    database.close()
    assert {name for name in numbered if given.get(name, 0) < 1_000_000} == set()


def test_a_copy_that_is_not_whole_is_refused(backup: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(Damaged):
        prepare(copy, now=NOW)
    content = bytearray(backup.read_bytes())
    for at in range(4096 + 8, len(content), 4096):
        content[at : at + 16] = bytes(16)
    copy.write_bytes(content)
    with pytest.raises((Damaged, DatabaseError)):
        prepare(copy, now=NOW)
    copy.write_bytes(backup.read_bytes())
    database = apsw.Connection(str(copy))
    database.execute("UPDATE job_counts SET n = n + 1")
    database.close()
    with pytest.raises(Damaged):
        prepare(copy, now=NOW)
    copy.write_bytes(backup.read_bytes())
    database = apsw.Connection(str(copy))
    database.execute("PRAGMA user_version=999")
    database.close()
    with pytest.raises(DatabaseError, match="newer release"):
        prepare(copy, now=NOW)


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ("DELETE FROM jobs WHERE id = 3", "1 jobs are not in the backup as they were: 3."),
        ("UPDATE jobs SET status = 'dead' WHERE id = 3", "1 jobs"),
        ("UPDATE jobs SET lease = 'x' WHERE id = 2", "1 jobs"),
        ("DELETE FROM results", "1 jobs are not in the backup as they were: 4."),
        ("DELETE FROM attempts WHERE job_id = 2", "1 attempts"),
        ("UPDATE attempts SET outcome = 'completed' WHERE job_id = 1", "1 attempts"),
        ("DELETE FROM tokens", "1 API tokens"),
        ("DELETE FROM workers WHERE id = 'w'", "1 workers"),
    ],
)
def test_what_a_copy_lacks_is_found(backup: Path, tmp_path: Path, loss: str, said: str) -> None:
    copy = tmp_path / "copy.db"
    copy.write_bytes(backup.read_bytes())
    assert missing(backup, copy, until=NOW + HOUR_MS) == []
    database = apsw.Connection(str(copy))
    database.execute(loss)
    database.close()
    found = missing(backup, copy, until=NOW + HOUR_MS)
    assert len(found) == 1
    assert found[0].startswith(said)
    assert missing(backup, copy, until=EPOCH_MS - 1) == [], "what came after the moment proves nothing"


def test_under_litestream_nobody_else_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that checkpoint were seen to make backups that could not be restored."""
    monkeypatch.setattr("blobforge.store.sqlite.file.CHECKPOINT_PAGES", 1000)  # sooner than is usual
    path = tmp_path / "blobforge.db"
    wal = tmp_path / "blobforge.db-wal"

    def fill(store: Store, numbers: range) -> None:
        for number in numbers:
            with store.transaction():
                store.record_file(f"{number}", size=1, sha256="x" * 3000, now=NOW, checked=True)

    store = Store(open_writer(path, checkpoints=False))
    fill(store, range(600))
    grown = wal.stat().st_size
    fill(store, range(600, 1200))
    assert wal.stat().st_size > 1.8 * grown, "nothing is checkpointed, and the WAL not begun anew"
    with store.transaction():
        store.database_file.leave_checkpoints(to_litestream=False)
    whole = wal.stat().st_size
    fill(store, range(1200, 1800))
    assert wal.stat().st_size < 1.2 * whole, "without Litestream, it is"
    with store.transaction():
        store.database_file.leave_checkpoints(to_litestream=True)
    store.close()
    assert wal.exists(), "nor at the end: Litestream has not read all of it yet"


def test_drills_are_kept_up_to_a_hundred(tmp_path: Path) -> None:
    path = tmp_path / "blobforge.db"
    store = Store(open_writer(path))
    with store.transaction():
        for number in range(150):
            store.recovery.record_drill(Drill(number, number + 1, True, number, "fine"), kept=100)
    store.close()
    database = apsw.Connection(str(path))
    assert database.execute("SELECT count(*), max(proven_until) FROM backup_drills").get == (100, 149)
    database.close()


def test_the_drills_from_before_a_restore_stay_on_record(tmp_path: Path) -> None:
    """The first drill after a restore, which leaves a gap in all numbers, took them for the hundredth before it."""
    path = tmp_path / "blobforge.db"
    store = Store(open_writer(path))
    for number in (1, 2):
        with store.transaction():
            store.recovery.record_drill(Drill(number, number + 1, True, number, "fine"), kept=100)
            store.recovery.settle(ids=60_000, attempts=60, now=T0)
    store.close()
    database = apsw.Connection(str(path))
    assert list(database.execute("SELECT started_at FROM backup_drills ORDER BY id")) == [(1,), (2,)]
    database.close()
