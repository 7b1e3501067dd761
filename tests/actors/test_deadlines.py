"""Deadlines that mostly move, against a plain dictionary."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from actors.deadlines import Deadlines
from tests.fixtures.engines import looked_into
from tests.fixtures.local import open_local
from tests.store.making import submission

KEYS = st.sampled_from("abcdef")


class Against(RuleBasedStateMachine):
    """Time moves on; deadlines are put, moved either way, dropped, postponed, and taken when due."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines: Deadlines[str, int] = Deadlines(few=2)
        self.model: dict[str, tuple[float, int]] = {}
        self.now = 0.0
        self.note = 0

    @rule(key=KEYS, wait=st.integers(0, 50))
    def put(self, key: str, wait: int) -> None:
        at = self.now + wait
        self.note += 1
        self.deadlines.set(key, at, self.note)
        self.model[key] = (at, self.note)

    @rule(key=KEYS)
    def drop(self, key: str) -> None:
        self.deadlines.drop(key)
        self.model.pop(key, None)

    @rule(wait=st.integers(0, 50))
    def postpone(self, wait: int) -> None:
        until = self.now + wait
        self.deadlines.postpone_all(until)
        self.model = {key: (max(at, until), note) for key, (at, note) in self.model.items()}

    @rule(step=st.integers(0, 30), limit=st.integers(1, 8))
    def take(self, step: int, limit: int) -> None:
        self.now += step
        due = {(key, note) for key, (at, note) in self.model.items() if at <= self.now}
        taken = self.deadlines.take_due(self.now, limit)
        assert len(taken) == min(limit, len(due))
        assert set(taken) <= due
        for key, _ in taken:
            del self.model[key]

    @invariant()
    def nothing_comes_before_next(self) -> None:
        """Or the reaper would sleep through a deadline."""
        assert self.deadlines.next() <= min((at for at, _ in self.model.values()), default=math.inf)
        assert len(self.deadlines) == len(self.model)


Against.TestCase.settings = settings(max_examples=100, stateful_step_count=40)
TestAgainst = Against.TestCase


def test_what_was_dropped_takes_no_room() -> None:
    """A million sources a day come, and each had a day's time for it."""
    deadlines: Deadlines[int, None] = Deadlines()
    tracemalloc.start()
    try:
        for number in range(100_000):
            deadlines.set(number, 86_400.0, None)
            deadlines.drop(number)
        assert tracemalloc.get_traced_memory()[0] < 1 << 20
    finally:
        tracemalloc.stop()
    assert len(deadlines) == 0


async def test_a_back_off_is_never_longer_than_one_can_be(tmp_path: Path, autojump_clock: Any) -> None:
    """The clock had been years ahead when it was written."""
    async with open_local(tmp_path / "data", retry_backoff=10.0) as local:
        job_id = await local.submit()
        await local.register()
        grant = await local.claim()
        body = {"worker_id": "w1", "lease": grant["lease"], "error": "boom"}
        assert (await local.call("POST", f"/api/jobs/{job_id}/fail", body))[1]["will_retry"] is True
    with looked_into(tmp_path / "data" / "blobforge.db") as database:
        until = database.probe.value("jobs", "not_before", id=job_id)
        database.probe.change("jobs", {"not_before": until + 157_680_000_000}, id=job_id)  # five years
    async with open_local(tmp_path / "data", retry_backoff=10.0) as local:
        await trio.sleep(2 * 3600)
        assert (await local.job(job_id))["status"] == "pending"


async def test_a_source_that_is_awaited_anew_has_its_whole_time(tmp_path: Path, autojump_clock: Any) -> None:
    """After a restart, the time of a job that was brought back counted from its first submission."""
    async with open_local(tmp_path / "data", upload_timeout=3600.0) as local:
        await local.ask(submission("late", ready=False))
        await trio.sleep(3700)
        assert (await local.job(1))["status"] == "dead"
        await trio.sleep(3600)
        await local.ask(submission("late", ready=False))
        assert (await local.job(1))["status"] == "uploading"
    async with open_local(tmp_path / "data", upload_timeout=3600.0) as local:
        await trio.sleep(3000)
        assert (await local.job(1))["status"] == "uploading"
