"""Signs of life, apart from the work: one heartbeat at the server's pace renews the leases of all jobs in hand."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from blobforge.client import ApiError, AsyncClient, ClientError
from blobforge.runner.events import say, warn
from blobforge.runner.holdings import Holdings

_SOON = 5.0  # seconds after which a heartbeat that got no answer is sent again
_SHORTEST = 0.05
REPLACED = "instance-replaced"  # the problem's type where another process is this worker now
_LATE = 2.0  # seconds of lateness that are normal on a busy machine


class HeartbeatLoop:
    """Owns what the server last said about this worker: whether it drains, and when it was last heard."""

    def __init__(
        self,
        client: AsyncClient,
        worker_id: str,
        holdings: Holdings,
        *,
        interval: float,
        register: Callable[[], Awaitable[object]],
        replaced: Callable[[], object],
        load: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self._client = client.with_patience(0)  # the next beat is the repeat
        self._worker_id = worker_id
        self._holdings = holdings
        self._interval = max(interval, _SHORTEST)
        self._register = register
        self._replaced = replaced
        self._load = load
        self._heard = True
        self.draining = False
        self.beaten = trio.Event()  # a new one for each beat that was answered

    async def run(self) -> None:
        """Beat until cancelled. A server that is away costs nothing but a line in the log."""
        longest = math.inf
        while True:
            await self._pause(longest)
            longest = math.inf
            try:
                await self._beat()
            except ApiError as error:
                await self._refused(error)
            except ClientError as error:
                longest = _SOON
                if self._heard:
                    warn("heartbeat-unanswered", f"heartbeat not answered: {error}; the work goes on")
                self._heard = False
            else:
                if not self._heard:
                    say("server-back", "the server answers again")
                self._heard = True

    async def _pause(self, longest: float) -> None:
        """Until the next one is due: for the interval, `longest` at most; or sooner, for a job that is taken
        meanwhile and needs it."""
        due = trio.current_time() + min(self._interval_now(), longest)
        while trio.current_time() < due:
            with trio.move_on_at(due):
                await self._holdings.pressed.wait()
                due = min(due, trio.current_time() + self._interval_now())
        self._tell_lateness(trio.current_time() - due)

    def _interval_now(self) -> float:
        return max(self._holdings.interval(self._interval), _SHORTEST)

    def _tell_lateness(self, late: float) -> None:
        """A lease that was lost because we did not get to run must not be lost silently."""
        if late > max(_LATE, self._interval_now()):
            warn(
                "heartbeat-late",
                f"a heartbeat is {late:.1f} s late: this process was stopped, or a handler held it up "
                "(isolation='process' prevents that); leases may have ended meanwhile",
                seconds=round(late, 3),
            )

    async def _beat(self) -> None:
        # Nothing is asked of what is gone already, and takes its time to end: the answer names jobs, and this one may
        # have been given anew.
        asked_about = [held for held in self._holdings.snapshot() if not (held.abandoned or held.lost)]
        load = self._load() if self._load is not None else None
        answer = await self._client.heartbeat(self._worker_id, [held.beat() for held in asked_about], load=load)
        if answer.drain != self.draining:
            text = "draining: no more jobs are taken" if answer.drain else "no longer draining"
            say("draining" if answer.drain else "drain-ended", text)
        self.draining = answer.drain
        for held in asked_about:
            held.interval = answer.heartbeat_interval
        self._holdings.abandon(asked_about, answer.abandon, answer.late)
        self.beaten.set()
        self.beaten = trio.Event()

    async def _refused(self, error: ApiError) -> None:
        if error.type == REPLACED:
            self._replaced()
        elif error.status == 404:
            # Removed, or a server that was restored from before we came. Its leases are gone; a claim will tell.
            warn("forgotten", "the server does not know this worker; registering again")
            for held in self._holdings.snapshot():
                held.abandon()
            try:
                await self._register()
            except ClientError as again:
                warn("registration-refused", f"registering again failed: {again}")
        else:
            warn("heartbeat-refused", f"heartbeat refused: {error}")
