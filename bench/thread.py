"""What the writer's thread takes, measured around its hop: the program that `bench.alone` runs on each checkout.

    python -P bench/thread.py FOLDER SIZES CYCLES REST     (PYTHONPATH: the checkout)

Uses nothing that an earlier revision has not. Time is the thread's own on the CPU, and the folder is best one in
memory: no disk is in it. `REST` seconds of sleep before each transaction leave the processor's caches cold, as they
are in a server that answers requests in between; 0 leaves them hot. Python looks for no cycles meanwhile. Prints
JSON: microseconds by what was done.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import trio

import actors.writer
from actors.mailbox import Envelope, Reply
from actors.messages import Batch, Claim, Complete, NewJob, ObjectSeen, Seen, Submit
from actors.writer import Writer
from bench.filling import ADMIN
from bench.replay import TYPE, Replay

T = TypeVar("T")
Rules: Any = vars(actors.writer)["Rules"]  # each revision has it in another module
WARM = 5  # transactions of each kind that are not counted
BATCH = 100  # jobs in a claim, and in a batch of completions
SUBMITTED = 1000  # in a batch
RESULT = '{"pages":1}'


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class NoSubscribers:
    async def publish(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()


class Thread:
    """The hop: in place, with a rest before it. State owned here: what each call took, in seconds."""

    def __init__(self, rest: float) -> None:
        self._rest = rest
        self.taken: list[float] = []

    async def __call__(self, call: Callable[[], T], /) -> T:
        await trio.lowlevel.checkpoint()
        if self._rest:
            time.sleep(self._rest)  # noqa: ASYNC251 - the loop has nothing else to do, and the core is left alone
        began = time.thread_time()
        done = call()
        self.taken.append(time.thread_time() - began)
        return done


class Alone:
    """One writer, asked by nothing else."""

    def __init__(self, writer: Writer, thread: Thread) -> None:
        self._writer = writer
        self._thread = thread

    async def together(self, messages: list[Any]) -> list[Any]:
        replies: list[Reply[Any]] = [Reply() for _ in messages]
        for message, reply in zip(messages, replies, strict=True):
            self._writer.mailbox.offer(Envelope(message, reply))
        return [await reply.wait() for reply in replies]

    async def cycle(self, size: int) -> None:
        """That many claims in one transaction, and their completions in the next."""
        claims = [Claim(ADMIN, f"bench-{number}", (TYPE,)) for number in range(size)]
        held = await self.together(claims)
        await self.together([
            Complete(ADMIN, f"bench-{number}", granted.jobs[0].id, granted.jobs[0].lease, result=RESULT)
            for number, granted in enumerate(held)
        ])  # fmt: skip

    async def batch(self) -> None:
        (granted,) = await self.together([Claim(ADMIN, "bench-0", (TYPE,), BATCH)])
        done = [Complete(ADMIN, "bench-0", job.id, job.lease, result=RESULT) for job in granted.jobs]
        await self.together([Batch(tuple(done))])

    async def submit(self, first: int) -> None:
        digests = [hashlib.sha256(b"new %d" % number).hexdigest() for number in range(first, first + SUBMITTED)]
        new = [Submit(NewJob(TYPE, digest), ObjectSeen(Seen.VERIFIED, 1, digest)) for digest in digests]
        await self.together([Batch(tuple(new))])

    def microseconds(self, jobs: int) -> float:
        """Of one job, since this was asked last: the median transactions of each of both kinds, together."""
        taken, self._thread.taken = self._thread.taken[2 * WARM :], []
        kinds = [sorted(taken[0::2]), sorted(taken[1::2])]
        return round(1e6 * sum(kind[len(kind) // 2] for kind in kinds) / jobs, 1)


async def measured(folder: Path, sizes: list[int], cycles: int, rest: float) -> dict[str, float]:
    found: dict[str, float] = {}
    rounds = {size: max(10, cycles // size) for size in sizes}
    jobs = sum(size * (rounds[size] + WARM) for size in sizes) + BATCH * (rounds[max(sizes)] + WARM)
    replay = Replay(folder, jobs=jobs, workers=max(sizes))
    thread = Thread(rest)
    store = replay.fresh_store()
    writer = Writer(store, Rules(), now=wall_ms, sink=NoSubscribers(), hop=thread)
    alone = Alone(writer, thread)
    gc.disable()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writer.run)
        for size in sizes:
            for _ in range(rounds[size] + WARM):
                await alone.cycle(size)
            found[f"cycles, {size} to a transaction"] = alone.microseconds(size)
        for _ in range(rounds[max(sizes)] + WARM):
            await alone.batch()
        found[f"cycles in batches of {BATCH}"] = alone.microseconds(BATCH)
        for number in range(2 * (5 + WARM)):
            await alone.submit(number * SUBMITTED)
        found[f"submissions in batches of {SUBMITTED}"] = alone.microseconds(2 * SUBMITTED)
        await writer.stop()
    store.close()
    return found


if __name__ == "__main__":
    place, many, total, pause = sys.argv[1:]
    print(
        json.dumps(trio.run(measured, Path(place), [int(size) for size in many.split(",")], int(total), float(pause)))
    )
