"""How long a handler may take, and how long it may stay silent."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from blobforge.runner.job import Job, JobFailed

_LOOKS = 20  # how often a span of silence is looked at: what is seen is late by a twentieth of it at most


@dataclass(frozen=True)
class Limits:
    """In seconds; None is no limit. `timeout` is for the whole conversion, `stall` for a time without progress."""

    timeout: float | None = None
    stall: float | None = None

    def __post_init__(self) -> None:
        for name in ("timeout", "stall"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"a {name} of {value:g} seconds is none")


async def within(limits: Limits, job: Job, convert: Callable[[Job], Awaitable[None]]) -> None:
    """Run `convert(job)`; cancel it at a limit and raise JobFailed with the last of its output.

    Cancelling is what kills: a command's process group, a handler's process. A conversion that ends well while it
    is being cancelled has ended well.
    """
    breach: JobFailed | None = None
    failure: Exception | None = None
    ended = False

    async def watch() -> None:
        nonlocal breach
        breach = await _breach(limits, job)
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            await convert(job)
            ended = True
        except Exception as error:  # carried past the nursery, which would wrap it in a group
            failure = error
        nursery.cancel_scope.cancel()
    if ended:
        return
    if breach is not None:
        breach.log_tail = job.output_tail()
        raise breach
    if failure is not None:
        raise failure


async def _breach(limits: Limits, job: Job) -> JobFailed:
    """Return what was broken, once it is."""
    started = heard = trio.current_time()
    life = job.life
    end = started + (limits.timeout if limits.timeout is not None else math.inf)
    pause = limits.stall / _LOOKS if limits.stall is not None else math.inf
    while True:
        await trio.sleep_until(min(end, trio.current_time() + pause))
        now = trio.current_time()
        if now >= end:
            return JobFailed(f"not done after {limits.timeout:g} seconds: stopped (timeout)", kind="Timeout")
        if job.life != life:
            life, heard = job.life, now
        elif limits.stall is not None and now - heard >= limits.stall:
            return JobFailed(f"no progress for {limits.stall:g} seconds: stopped (stall timeout)", kind="Stalled")
