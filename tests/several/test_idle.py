"""Idle long polls at each of three servers: they cost the database nothing while they wait; of all of them as many
are given a job as there are jobs, and hardly one is woken in vain."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import trio

from actors import follower
from actors.messages import Granted
from blobforge.machinery.hop import in_place
from tests.fixtures.local import LocalServer
from tests.several.house import House
from web.presence import BEAT_SECONDS

T = TypeVar("T")
POLLS = 2_000 if os.environ.get("SOAK") else 20  # at each server
JOBS = 60 if os.environ.get("SOAK") else 12
WAIT = 60.0  # seconds
FEW = 25  # messages: what is done now and then
# In virtual time no commit lasts, and the database sends no news: the servers look as often as they would hear.
COMMIT, HEARD_WITHIN = 0.01, 0.004  # seconds


def messages(*servers: LocalServer) -> int:
    """How many messages all writers have had."""
    return sum(server.parts.writer.committed_messages for server in servers)


async def lasting(work: Callable[[], T]) -> T:
    await trio.sleep(COMMIT)
    return await in_place(work)


async def test_idle_polls_at_three_servers(
    house: House, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlimited = {"max_long_polls": 3 * POLLS, "max_long_polls_per_address": 3 * POLLS}
    async with (
        house.server("a", **unlimited) as a,
        house.server("b", **unlimited) as b,
        house.server("c", **unlimited) as c,
    ):
        servers = (a, b, c)
        await trio.sleep(BEAT_SECONDS * 2)
        await a.register("w1")
        answers: list[Any] = []
        in_vain: list[str] = []

        async def poll(server: LocalServer) -> None:
            answers.append(await server.claim("w1", wait=WAIT))

        def counted(server: LocalServer) -> None:
            heard = server.parts.scheduler.heard

            def counting(sent: Any, outcome: Any) -> None:
                if sent.woken_for is not None and isinstance(outcome, Granted) and not outcome.jobs:
                    in_vain.append(server.parts.presence.name or "")
                heard(sent, outcome)

            monkeypatch.setattr(server.parts.scheduler, "heard", counting)

        async with trio.open_nursery() as nursery:
            for server in servers:
                counted(server)
                for _ in range(POLLS):
                    nursery.start_soon(poll, server)
            while any(server.parts.scheduler.waiting < POLLS for server in servers):
                await trio.sleep(0.01)
            [(before,)], asked = house.execute("SELECT n FROM turn"), messages(*servers)
            await trio.sleep(BEAT_SECONDS * 3)
            written = house.execute(f"SELECT told FROM log WHERE n > {before}")
            assert written in ([], [("",)]), "at most the minute's sample, by one of them"
            assert messages(*servers) - asked < FEW, "they do not ask"
            assert not in_vain

            monkeypatch.setattr(follower, "LOOK_SECONDS", HEARD_WITHIN)
            for server in servers:
                monkeypatch.setattr(server.parts.writer, "_hop", lasting)
            await trio.sleep(BEAT_SECONDS)
            jobs = []
            for number in range(JOBS):
                jobs.append(await servers[number % 3].submit(b"for %d" % number))
                await trio.sleep(0.2)
            await trio.sleep(BEAT_SECONDS)
            assert sorted(each["job"]["id"] for each in answers) == sorted(jobs)
            assert sum(server.parts.scheduler.waiting for server in servers) == 3 * POLLS - JOBS
            assert len(in_vain) <= len(servers), "each learns once that others are faster"
        assert len(answers) == 3 * POLLS
        assert sum(each["job"] is None for each in answers) == 3 * POLLS - JOBS
        assert house.execute("SELECT count(*) FROM attempts") == [(JOBS,)]
