"""How a blocking call to a store is made: in a thread, under a deadline, behind a circuit breaker.

State owned here: whether the store is taken to answer. A store that hangs must cost its callers one deadline, and
only the first of them: once a deadline was missed, calls fail at once for `pause` seconds, then one goes through as a
probe while the others still fail. A store that answers with an error is no hang and opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TypeVar

import trio

from blobforge.machinery.hop import Hop
from blobforge.machinery.tally import Calls
from blobforge.machinery.tracing import Tracer
from blobforge.objects import ObjectStoreError

T = TypeVar("T")

# Why a call failed, for the counts: no answer before the deadline; not made, as the store just missed one; refused.
SILENT, NOT_ASKED, ERROR = "silent", "not asked", "error"
_LOOKS = 4  # in the time for which long work may stand still, whether it has moved


class NotAnsweringError(ObjectStoreError):
    """The store said nothing before the deadline, or is not asked because it just did so."""


def threads(limit: int) -> Hop:
    """A hop into at most `limit` threads of its own. A cancelled caller leaves at once and its thread behind.

    The thread keeps its slot until it ends: hung calls use up `limit` threads and no more, and a caller that waits
    for a slot is still cancelled by its own deadline.
    """
    limiter = trio.CapacityLimiter(limit)

    async def hop(work: Callable[[], T], /) -> T:
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)

    return hop


def patient_threads(limit: int) -> Hop:
    """The same, but a cancelled caller waits for its thread: what it works on may be cleaned up after."""
    limiter = trio.CapacityLimiter(limit)

    async def hop(work: Callable[[], T], /) -> T:
        return await trio.to_thread.run_sync(work, limiter=limiter)

    return hop


class Breaker:
    """Deadlines and the circuit breaker of one store. `where` names the store in messages; `pause` in seconds.

    Each call has a name, `op`, under which it is counted in `calls`, and traced if there is a tracer.
    """

    def __init__(self, where: str, *, pause: float, tracer: Tracer | None = None) -> None:
        self.calls = Calls()
        self._tracer = tracer
        self._where = where
        self._pause = pause
        self._silent_since: datetime | None = None  # wall time, for people
        self._closed_until = float("-inf")  # trio time
        self._probing = False

    @property
    def answering(self) -> bool:
        """Whether the last call was answered before its deadline."""
        return self._silent_since is None

    async def call(self, hop: Hop, work: Callable[[], T], *, timeout: float, op: str) -> T:
        """Run `work`; raise NotAnsweringError after `timeout` seconds (which opens the breaker), or at once."""
        self._refuse_while_open(op)
        if self._silent_since is not None and self._probing:
            self.calls.failures[op, NOT_ASKED] += 1
            raise NotAnsweringError(f"{self._silence()}; it is being asked again just now")
        probe = self._probing = self._silent_since is not None
        try:
            result = await self._bounded(hop, work, timeout, op)
        except NotAnsweringError:
            if self._silent_since is None:
                self._silent_since = datetime.now(UTC)
            self._closed_until = trio.current_time() + self._pause
            raise
        except ObjectStoreError:
            self._silent_since = None  # a refusal is an answer
            raise
        finally:
            if probe:  # a cancelled probe, too, makes room for the next
                self._probing = False
        self._silent_since = None
        return result

    async def transfer(
        self, hop: Hop, work: Callable[[], T], *, timeout: float, op: str, moved: Callable[[], int] | None = None
    ) -> T:
        """Run long `work`. Fails at once while the breaker is open, but neither opens it nor is its probe:
        an object too large for its deadline says nothing about the store, and a probe has to be short.

        With `moved`, `timeout` is for how long this number may stay the same, however long the work takes.
        """
        self._refuse_while_open(op)
        return await self._bounded(hop, work, timeout, op, moved)

    def _refuse_while_open(self, op: str) -> None:
        wait = self._closed_until - trio.current_time()
        if self._silent_since is not None and wait > 0:
            self.calls.failures[op, NOT_ASKED] += 1
            raise NotAnsweringError(f"{self._silence()}; it is asked again in {wait:.1f} s")

    def _silence(self) -> str:
        assert self._silent_since is not None
        return f"{self._where}: not answering since {self._silent_since:%Y-%m-%dT%H:%M:%SZ}"

    async def _bounded(
        self, hop: Hop, work: Callable[[], T], timeout: float, op: str, moved: Callable[[], int] | None = None
    ) -> T:
        span = nullcontext() if self._tracer is None else self._tracer.child(f"object store {op}", {})
        began = trio.current_time()
        try:
            with span, trio.fail_after(timeout) as deadline:
                result = await (hop(work) if moved is None else _watched(hop, work, deadline, timeout, moved))
        except NotAnsweringError:
            self.calls.failures[op, SILENT] += 1
            raise
        except ObjectStoreError:
            self.calls.failures[op, ERROR] += 1
            self.calls.seconds[op].add(trio.current_time() - began)  # a refusal is an answer
            raise
        except trio.TooSlowError as error:
            self.calls.failures[op, SILENT] += 1
            raise NotAnsweringError(
                f"{self._where}: no answer within {timeout:g} s; check that it is up and reachable from here"
            ) from error
        self.calls.seconds[op].add(trio.current_time() - began)
        return result


async def _watched(
    hop: Hop, work: Callable[[], T], deadline: trio.CancelScope, timeout: float, moved: Callable[[], int]
) -> T:
    """Run `work`, and put its deadline off as long as it moves."""

    async def put_off() -> None:
        while True:
            before = moved()
            await trio.sleep(timeout / _LOOKS)
            if moved() != before:
                deadline.deadline = trio.current_time() + timeout

    async with trio.open_nursery() as beside:
        beside.start_soon(put_off)
        try:
            return await hop(work)
        except ObjectStoreError as error:
            failed = error  # it leaves from here as it is: a nursery would make it a group of one
        finally:
            beside.cancel_scope.cancel()
    raise failed
