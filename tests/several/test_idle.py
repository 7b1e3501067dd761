"""Idle long polls at each of three servers: they cost the database nothing while they wait, and as many of them all
are given a job as there are jobs, whichever server takes these."""

from __future__ import annotations

import os
from typing import Any

import trio

from tests.fixtures.local import LocalServer
from tests.several.house import House
from web.presence import BEAT_SECONDS

POLLS = 2_000 if os.environ.get("SOAK") else 30  # at each server
WAIT = 60.0  # seconds
JOBS = 3
FEW = 25  # messages: what is done now and then, submissions, and a claim for each job at each server


def messages(*servers: LocalServer) -> int:
    """What all writers were asked."""
    return sum(server.parts.writer.committed_messages for server in servers)


async def test_idle_polls_at_three_servers(house: House, autojump_clock: Any) -> None:
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

        async def poll(server: LocalServer) -> None:
            answers.append(await server.claim("w1", wait=WAIT))

        async with trio.open_nursery() as nursery:
            for server in servers:
                for _ in range(POLLS):
                    nursery.start_soon(poll, server)
            while any(server.parts.scheduler.waiting < POLLS for server in servers):
                await trio.sleep(0.01)
            [(turn,)], asked = house.execute("SELECT n FROM turn"), messages(*servers)
            await trio.sleep(BEAT_SECONDS * 3)
            told = house.execute(f"SELECT told FROM log WHERE n > {turn} AND told <> ''")
            assert told == [], "nothing happens while they wait"
            assert messages(*servers) - asked < FEW, "and they do not ask"
            asked = messages(*servers)
            jobs = [await server.submit(b"for %d" % number) for number, server in enumerate(servers[:JOBS])]
            await trio.sleep(BEAT_SECONDS)
            assert sorted(each["job"]["id"] for each in answers) == sorted(jobs)
            assert sum(server.parts.scheduler.waiting for server in servers) == 3 * POLLS - JOBS
            assert messages(*servers) - asked < FEW, "a job wakes one of them at each server"
        assert len(answers) == 3 * POLLS
        assert sum(each["job"] is None for each in answers) == 3 * POLLS - JOBS
        assert house.execute("SELECT count(*) FROM attempts") == [(JOBS,)]
