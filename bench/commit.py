"""What can the writer alone do, by the number of messages in a transaction?

    python -m bench.commit [--sizes 1,4,16,64,256,512] [--cycles 4000] [--quick] [--baseline] [--plot]

Claim+complete cycles a second, in one process and without HTTP: through the writer (mailbox, thread, replies), by the
effects alone, and as bare statements on apsw. `synchronous=NORMAL`, which this product does not offer, shows what it
costs that an answer is on the disk before it is given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import trio
import trio.testing
from msgspec import Meta

from actors.effects.transaction import Rules
from actors.mailbox import Envelope, Reply
from actors.messages import Claim, Complete, Completed, Granted
from actors.writer import Writer
from bench.filling import ADMIN
from bench.load import Tally, side_by_side, timed
from bench.plan import BenchError, Plan, command
from bench.replay import TYPE, Replay
from bench.report import Chart, Report
from blobforge.machinery.clock import wall_ms
from blobforge.store.writing import Store

VALUES = ("per_second", "p50_ms", "p99_ms", "errors", "spread")


class Commits(Plan, frozen=True, kw_only=True):
    sizes: Annotated[tuple[int, ...], Meta(description="messages in a transaction")] = (1, 4, 16, 64, 256, 512)
    cycles: Annotated[int, Meta(description="claim+complete cycles of one run")] = 4096


FULL = Commits()
QUICK = Commits(sizes=(1, 64), cycles=1024, runs=1)


class NoSubscribers:
    """An event sink without subscribers."""

    async def publish(self, events: object, turn: int | None = None) -> None:
        await trio.lowlevel.checkpoint()


async def through_the_writer(opened: Callable[[], Store], size: int, cycles: int) -> Tally:
    """Latencies are those of one transaction, from the first message put to the last reply."""
    tally = Tally()
    store = opened()
    writer = Writer(store, Rules(), now=wall_ms, sink=NoSubscribers())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        await trio.testing.wait_all_tasks_blocked()
        async with timed(tally):
            for _ in range(cycles // size):
                await _cycle(writer, size, tally)
        await writer.stop()
    store.close()
    tally.load_cpu = None  # there is no load generator here
    return tally


async def _cycle(writer: Writer, size: int, tally: Tally) -> None:
    claims = [Claim(ADMIN, f"bench-{number}", (TYPE,)) for number in range(size)]
    held = await _together(writer, claims, tally)
    completions = [
        Complete(ADMIN, f"bench-{number}", granted.jobs[0].id, granted.jobs[0].lease, result='{"pages":1}')
        for number, granted in enumerate(held)
        if isinstance(granted, Granted) and granted.jobs
    ]
    done = await _together(writer, completions, tally)
    good = sum(isinstance(each, Completed) for each in done)
    tally.done += good
    tally.errors += size - good


async def _together(writer: Writer, messages: list[Any], tally: Tally) -> list[Any]:
    """All of them in one transaction: the writer sleeps until the last one is in its mailbox."""
    replies: list[Reply[Any]] = [Reply() for _ in messages]
    began = trio.current_time()
    for message, reply in zip(messages, replies, strict=True):
        if not writer.mailbox.offer(Envelope(message, reply)):
            raise BenchError("the mailbox is too small for this size")
    answers = [await reply.wait() for reply in replies]
    tally.latencies.append(trio.current_time() - began)
    return answers


async def run(plan: Commits) -> Report:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="blobforge-bench-") as folder:
        replay = Replay(Path(folder), jobs=plan.cycles, workers=max(plan.sizes))
        for size in plan.sizes:
            subjects: dict[str, Callable[[], Awaitable[Tally]]] = {
                "the writer": partial(through_the_writer, replay.fresh_store, size, plan.cycles),
                "the writer, synchronous=NORMAL": partial(
                    through_the_writer, partial(replay.fresh_store, "NORMAL"), size, plan.cycles
                ),
                "effects alone": partial(_soon, replay.effects, size, plan.cycles),
                "bare apsw": partial(_soon, replay.statements, size, plan.cycles),
            }
            for how, found in (await side_by_side(plan.runs, subjects)).items():
                values = {key: found[key] for key in VALUES if found.get(key) or key == "errors"}
                rows.append({"what": f"{how}, {size} to a transaction", "size": size, "how": how} | values)
    chart = Chart(x="size", y="per_second", series="how", x_label="messages in a transaction", log_y=True)
    return Report("commit", "Claim + complete cycles, the writer alone", rows, chart=chart)


async def _soon(one: Callable[[int, int], Tally], size: int, cycles: int) -> Tally:
    await trio.lowlevel.checkpoint()
    return one(size, cycles)


if __name__ == "__main__":
    command("commit", __doc__ or "", FULL, QUICK, run)
