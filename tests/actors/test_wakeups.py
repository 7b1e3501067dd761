"""Which tasks a request wakes, and how often: with one worker at a time, that is most of what a request costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio
import trio.lowlevel
from trio.abc import Instrument

from actors.indexer import GATHERED
from actors.mailbox import ask
from actors.messages import (
    Claim,
    Complete,
    Heartbeat,
    ObjectSeen,
    Ping,
    Register,
)
from actors.writer import Writer
from blobforge.config import Settings
from blobforge.events import AccessChanged, Fact, JobReady, LeaseRenewed, WorkerSeen
from blobforge.serve.server import running
from tests.actors.alone import Alone, writer_alone
from tests.fixtures.local import LocalServer, virtual_now
from tests.store.making import ADMIN, submission
from tests.web.wire import answers, connect, lean, post


class Woken(Instrument):
    """Counts the steps of each task in its block, by the last part of the task's name."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps[task.name.removeprefix("actors.")] += 1

    def __enter__(self) -> Counter[str]:
        trio.lowlevel.add_instrument(self)
        return self.steps

    def __exit__(self, *_: object) -> None:
        trio.lowlevel.remove_instrument(self)


ACTORS = ("writer.Writer.run", "scheduler.Scheduler.run", "reaper.Reaper.run", "intake.Intake.run",
          "janitor.Janitor.run", "broadcaster.Broadcaster.run")  # fmt: skip


def of_actors(steps: Counter[str]) -> dict[str, int]:
    return {name.partition(".")[0]: steps[name] for name in ACTORS if steps[name]}


async def settled(local: LocalServer) -> None:
    """All that was under way has ended, and the writer's last message was alone."""
    await trio.sleep(GATHERED + 0.5)
    await local.ask(Ping())
    await rest()


async def rest() -> None:
    for _ in range(20):
        await trio.lowlevel.checkpoint()


async def test_a_claim_and_a_completion_wake_few(autojump_clock: Any, local: LocalServer) -> None:
    await local.submit()
    parts = local.parts
    await local.ask(Register(ADMIN, "w1", "pdf"))
    await settled(local)
    with Woken() as steps:
        granted: Any = await ask(parts.scheduler.mailbox, Claim(ADMIN, "w1", ("pdf",)))
        await rest()
    assert of_actors(steps) == {"scheduler": 1, "writer": 2, "broadcaster": 1}
    (job,) = granted.jobs
    with Woken() as steps:
        await local.ask(Complete(ADMIN, "w1", job.id, job.lease, None, ObjectSeen(), None, None))
        await rest()
    assert of_actors(steps) == {"writer": 2, "broadcaster": 1}


async def test_a_claim_over_http_wakes_no_more_tasks_than_it_needs(autojump_clock: Any, local: LocalServer) -> None:
    """The connection's task when the request has come and when it is decided; nothing watches over what is answered
    at once."""
    own = {"content-type": "application/json", "authorization": f"Bearer {local.parts.admin_token}"}
    claim = post("/api/jobs/claim", b'{"worker_id": "w1", "job_type": "pdf"}', own)
    await local.register()
    async with lean(local) as server, await connect(server) as stream:
        for number in range(3):  # the credential is known, the heads have been read before
            await local.submit(b"%d" % number)
            await settled(local)
            with Woken() as steps:
                await stream.send_all(claim)
                await answers(stream, 1)
                await rest()
    connection = "web.connection.serving.Server._run"
    assert of_actors(steps) == {"scheduler": 1, "writer": 2, "broadcaster": 1}
    assert {name: count for name, count in steps.items() if name.startswith("web.")} == {connection: 2}


async def test_a_heartbeat_wakes_the_writer_alone(autojump_clock: Any, local: LocalServer) -> None:
    await local.ask(Register(ADMIN, "w1", "pdf"))
    await settled(local)
    with Woken() as steps:
        await local.ask(Heartbeat(ADMIN, "w1", ()))
        await rest()
    assert of_actors(steps) == {"writer": 2}


async def test_an_empty_claim_waits_without_waking_the_scheduler_again(
    autojump_clock: Any, local: LocalServer
) -> None:
    await local.ask(Register(ADMIN, "w1", "pdf"))
    await settled(local)
    async with trio.open_nursery() as nursery:
        with Woken() as steps:
            nursery.start_soon(ask, local.parts.scheduler.mailbox, Claim(ADMIN, "w1", ("pdf",), 1, 30.0))
            await rest()
        # Its time is up earlier than anything that the scheduler meant to wake for: that is the second.
        assert of_actors(steps) == {"scheduler": 2, "writer": 2}
        with Woken() as steps:
            nursery.start_soon(ask, local.parts.scheduler.mailbox, Claim(ADMIN, "w1", ("pdf",), 1, 50.0))
            await rest()
        assert of_actors(steps) == {"scheduler": 1, "writer": 2}


class Ear:
    """A listener of the writer."""

    def __init__(self, *heeds: type[Fact]) -> None:
        self.heeds = frozenset(heeds) or None
        self.heard: list[list[Fact]] = []

    def post(self, facts: list[Fact]) -> None:
        self.heard.append(facts)


async def test_a_listener_is_told_of_the_facts_that_it_heeds(tmp_path: Path, autojump_clock: Any) -> None:
    alone: Alone
    async with writer_alone(tmp_path) as alone:
        writer: Writer = alone.writer
        some, other, every = Ear(WorkerSeen, LeaseRenewed), Ear(JobReady, AccessChanged), Ear()
        writer.sequencer.listeners += [some, other, every]
        await alone.ask(Register(ADMIN, "w1", "pdf"))
        assert [[type(fact) for fact in heard] for heard in some.heard] == [[WorkerSeen]]
        assert other.heard == []  # not even with an empty list
        assert len(every.heard) == 1


async def test_a_burst_for_claims_under_way_is_not_served_one_commit_at_a_time(
    tmp_path: Path, autojump_clock: Any
) -> None:
    async def slow(call: Callable[[], Any], /) -> Any:
        await trio.sleep(0.01)
        return call()

    folder = tmp_path / "data"
    folder.mkdir()
    async with running(Settings(data_dir=str(folder)), hop=slow, now=virtual_now) as parts:
        await ask(parts.writer.mailbox, Register(ADMIN, "w1", "pdf"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, parts.writer.mailbox, Register(ADMIN, "w2", "pdf"))
            await trio.sleep(0.002)  # the writer is busy with that; what comes now goes into one transaction:
            for _ in range(50):
                nursery.start_soon(ask, parts.scheduler.mailbox, Claim(ADMIN, "w1", ("pdf",), 1, 60.0))
            await trio.sleep(0.002)  # first the claims, which find nothing, and then
            commits = parts.writer.commits
            for number in range(50):
                nursery.start_soon(ask, parts.writer.mailbox, submission(number))
        assert parts.writer.commits - commits < 25


async def test_types_that_clients_make_up_fill_no_memory(local: LocalServer, autojump_clock: Any) -> None:
    await local.register()
    for number in range(300):
        await local.claim(job_types=[f"made-up-{number}-{each}" for each in range(40)])
    scheduler = local.parts.scheduler
    assert not scheduler._woken
    assert len(scheduler._most) < 12_000
    assert not scheduler._queues
