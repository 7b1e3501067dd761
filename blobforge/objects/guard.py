"""How a blocking call to a store is made: in a thread, under a deadline, behind a circuit breaker.

Owns: whether the store is taken to answer (`Guard`). A store that hangs must cost its callers one deadline, and
only the first of them: once a deadline was missed, calls fail at once for `pause` seconds, then one goes through
as a probe while the others still fail. A store that answers with an error is no hang and opens nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import trio

from blobforge.hop import Hop
from blobforge.objects import ObjectStoreError

T = TypeVar("T")


class NotAnsweringError(ObjectStoreError):
    """The store said nothing before the deadline, or is not asked because it just did so."""


def threads(limit: int) -> Hop:
    """A hop into at most `limit` threads of its own. A cancelled caller leaves at once and its thread behind.

    The thread keeps its slot until it ends: hung calls use up `limit` threads and no more, and whoever waits for
    a slot is still cancelled by its own deadline.
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


class Guard:
    """Deadlines and the circuit breaker of one store. `where` names the store in messages; `pause` in seconds."""

    def __init__(self, where: str, *, pause: float) -> None:
        self._where = where
        self._pause = pause
        self._silent_since: datetime | None = None  # wall time, for people
        self._closed_until = float("-inf")  # trio time
        self._probing = False

    async def call(self, hop: Hop, work: Callable[[], T], *, timeout: float) -> T:
        """Run `work`; raise NotAnsweringError after `timeout` seconds (which opens the breaker), or at once."""
        self._refuse_while_open()
        if self._silent_since is not None and self._probing:
            raise NotAnsweringError(f"{self._silence()}; it is being asked again just now")
        probe = self._probing = self._silent_since is not None
        try:
            result = await self._bounded(hop, work, timeout)
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

    async def transfer(self, hop: Hop, work: Callable[[], T], *, timeout: float) -> T:
        """Run long `work`. Fails at once while the breaker is open, but neither opens it nor is its probe:
        an object too large for its deadline says nothing about the store, and a probe has to be short.
        """
        self._refuse_while_open()
        return await self._bounded(hop, work, timeout)

    def _refuse_while_open(self) -> None:
        wait = self._closed_until - trio.current_time()
        if self._silent_since is not None and wait > 0:
            raise NotAnsweringError(f"{self._silence()}; it is asked again in {wait:.1f} s")

    def _silence(self) -> str:
        assert self._silent_since is not None
        return f"{self._where}: not answering since {self._silent_since:%Y-%m-%dT%H:%M:%SZ}"

    async def _bounded(self, hop: Hop, work: Callable[[], T], timeout: float) -> T:
        try:
            with trio.fail_after(timeout):
                return await hop(work)
        except trio.TooSlowError as error:
            raise NotAnsweringError(
                f"{self._where}: no answer within {timeout:g} s; check that it is up and reachable from here"
            ) from error
