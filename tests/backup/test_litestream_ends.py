"""A Litestream that stands still or is gone for long, in this process, with limits that a test can wait for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import apsw
import pytest
import trio

from actors import replicator
from actors.replicator import Replicator
from blobforge.backup.restore import Restored, newest
from blobforge.store.sqlite.check import check
from tests.backup.conftest import PATIENCE
from tests.backup.tunnel import Tunnel
from tests.fixtures.local import LocalServer, open_local


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.02)


def replicator_of(local: LocalServer) -> Replicator:
    assert local.parts.replicator is not None
    return local.parts.replicator


def signalled(local: LocalServer, number: int) -> None:
    """Send a signal to the Litestream that runs."""
    sidecar = replicator_of(local)._sidecar
    assert sidecar is not None
    os.kill(sidecar.child.pid, number)


async def add_job(local: LocalServer, number: int) -> None:
    """Something that is to be copied."""
    status, answer = await local.call("POST", "/api/jobs", {"type": "pdf", "source_hash": f"{number:064x}"})
    assert status == 201, answer


async def caught_up(local: LocalServer) -> None:
    await until(lambda: replicator_of(local).running and replicator_of(local).lag_seconds == 0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds instead of minutes. An answer about the backup may take longer, so that a busy machine is no stall."""
    for name, seconds in {"STALLED": 0.5, "PATIENCE": 2.0, "LAST_SYNC": 0.5, "FIRST_PAUSE": 0.1}.items():
        monkeypatch.setattr(replicator, name, seconds)


@pytest.mark.usefixtures("impatient")
async def test_one_that_copies_nothing_is_started_again(tmp_path: Path, place: dict[str, Any]) -> None:
    async with open_local(tmp_path / "data", **place) as local:
        await caught_up(local)
        signalled(local, signal.SIGSTOP)
        await add_job(local, 1)
        await until(lambda: replicator_of(local).restarts > 0)
        await caught_up(local)


@pytest.mark.usefixtures("impatient")
async def test_one_that_copies_nothing_because_the_store_is_away_is_not(
    tmp_path: Path, place: dict[str, Any], way: Tunnel
) -> None:
    async with open_local(tmp_path / "data", **(place | {"s3_timeout": 1, "s3_endpoint": way.url})) as local:
        await caught_up(local)
        way.mode = "closed"
        await add_job(local, 1)
        await until(lambda: (replicator_of(local).lag_seconds or 0) > 8)
        assert replicator_of(local).restarts == 0
        way.mode = "open"
        await caught_up(local)


@pytest.mark.parametrize("longest", [1, replicator.LONGEST_WAL], ids=["too-long", "as-it-is"])
async def test_a_wal_that_grew_without_one_begins_a_new_epoch(
    tmp_path: Path, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    monkeypatch.setattr(replicator, "LONGEST_WAL", longest)
    async with open_local(tmp_path / "data", **place) as local:
        await caught_up(local)
        before = replicator_of(local).epoch
        await add_job(local, 1)
        signalled(local, signal.SIGKILL)
        await until(lambda: replicator_of(local).restarts == 1 and replicator_of(local).running)
        assert (replicator_of(local).epoch != before) == (longest == 1)
        await add_job(local, 2)
        await caught_up(local)
        copy = tmp_path / "copy.db"
        restored = await newest(replicator_of(local).plan.source, copy)
        assert isinstance(restored, Restored)
        assert restored.epoch == replicator_of(local).epoch
        assert check(copy) == []
        with closing(apsw.Connection(str(copy))) as database:
            assert database.execute("SELECT count(*) FROM jobs").get == 2


async def test_what_is_committed_is_behind_before_the_next_look(autojump_clock: object) -> None:
    """A report right after a commit must not say that all is in the backup: who waits for that would stop waiting."""
    commits = 3
    nobody = cast(Any, None)
    found = Replicator(
        nobody,
        writer=nobody,
        writes=lambda: commits,
        now=lambda: 0,
        drill_interval=0,
        last_drill=None,
        proven_until=None,
    )
    found._ever_confirmed, found._confirmed_writes, found._looked = True, 3, trio.current_time()
    assert found.lag_seconds == 0
    commits += 1
    assert found.lag_seconds == replicator.SHORTEST_LAG
    await trio.sleep(5)
    assert found.lag_seconds == pytest.approx(5)
