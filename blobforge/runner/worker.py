"""The worker: registers, claims, runs attempts side by side, and leaves in good order."""

from __future__ import annotations

import logging
import math
import os
import secrets
import socket
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import trio

from blobforge.client import LARGEST_CLAIM, ApiError, Claim, Client, ClientError, Registration
from blobforge.runner.attempt import Attempt, Outcome
from blobforge.runner.context import Handler
from blobforge.runner.heartbeat import Heartbeat
from blobforge.runner.holdings import Holdings

log = logging.getLogger("blobforge.runner")

_SHORTEST_CYCLE = 1.0  # seconds between two claims that brought nothing: a server need not hold them open
_COOL_DOWN = (
    15.0  # seconds without claims after trouble of our own, so that a job is not taken and given back in a loop
)
_LEAVE_DEADLINE = 5.0


def default_worker_id() -> str:
    """`<hostname>-<6 hex digits>`: readable in a list, and no two processes are the same."""
    return f"{socket.gethostname()}-{secrets.token_hex(3)}"


class Worker:
    """Runs jobs of some types through one handler, `concurrency` at a time, until `stop` or for one job (`once`).

    `workdir` is where the attempts' private folders are made (the system's temporary folder by default);
    `output_suffix` names the outputs (`.txt`).
    """

    def __init__(
        self,
        client: Client,
        handler: Handler,
        types: Sequence[str],
        *,
        worker_id: str | None = None,
        concurrency: int = 1,
        once: bool = False,
        poll_wait: float = 30,
        labels: Sequence[str] = (),
        workdir: Path | None = None,
        output_suffix: str = "",
    ) -> None:
        if not types:
            raise ValueError("a worker needs at least one job type")
        self.worker_id = worker_id or default_worker_id()
        self.tally: Counter[Outcome] = Counter()
        self._client = client
        self._steady = client if once else client.with_patience(math.inf)
        self._handler = handler
        self._types = list(types)
        self._once = once
        self._poll_wait = poll_wait
        self._labels = list(labels)
        self._workdir = workdir
        self._output_suffix = output_suffix
        self._holdings = Holdings()
        self._claiming = trio.CancelScope()
        self._slots = trio.Semaphore(1 if once else concurrency)
        self._trouble = False

    def stop(self) -> None:
        """Take no more jobs, kill what runs, give it back. `run` returns when that is done."""
        if not self._holdings.stopping:
            log.info("stopping: %d running job(s) are given back", len(self._holdings))
        self._claiming.cancel()
        self._holdings.stop()

    async def run(self) -> Counter[Outcome]:
        """Work until stopped, and return how the attempts ended.

        Raises ApiError when the server refuses this worker for good, and with `once` ServerUnreachable (without
        it, a server that is away is waited for).
        """
        with self._claiming:
            registration = await self._register(self._steady)
            log.info("worker %s: registered for %s", self.worker_id, ", ".join(self._types))
        if self._claiming.cancelled_caught:
            return self.tally
        self._claiming = trio.CancelScope()
        if self._holdings.stopping:
            self._claiming.cancel()
        heartbeat = Heartbeat(
            self._client,
            self.worker_id,
            self._holdings,
            interval=registration.heartbeat_interval,
            register=lambda: self._register(self._client),
        )
        try:
            async with trio.open_nursery() as beating:
                beating.start_soon(heartbeat.run)
                async with trio.open_nursery() as attempts:
                    with self._claiming:
                        await self._claim_until_stopped(heartbeat, attempts)
                beating.cancel_scope.cancel()
        finally:
            await self._leave()
        return self.tally

    async def _register(self, client: Client) -> Registration:
        facts: Mapping[str, Any] = {
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "job_types": self._types,
        }
        return await client.register(
            self.worker_id,
            self._types[0],
            metadata=facts,
            labels=self._labels or None,
            version=version("blobforge-server"),
        )

    async def _leave(self) -> None:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _LEAVE_DEADLINE):
            try:
                await self._client.unregister(self.worker_id)
            except ClientError as error:
                log.warning("could not unregister: %s", error)
            else:
                log.info("worker %s: unregistered", self.worker_id)

    async def _claim_until_stopped(self, heartbeat: Heartbeat, attempts: trio.Nursery) -> None:
        while True:
            free = await self._free_slots(LARGEST_CLAIM)
            while heartbeat.draining:
                await heartbeat.beaten.wait()
            if self._trouble:
                self._trouble = False
                await trio.sleep(_COOL_DOWN)
            asked_at = trio.current_time()
            claims = await self._claim(free)
            for claim in claims:
                attempts.start_soon(self._run_attempt, claim)
            for _ in range(free - len(claims)):
                self._slots.release()
            if self._once:
                return
            if not claims:
                await trio.sleep_until(asked_at + _SHORTEST_CYCLE)

    async def _free_slots(self, most: int) -> int:
        """Take the slots that are free, waiting for the first."""
        await self._slots.acquire()
        free = 1
        while self._slots.value and free < most:
            self._slots.acquire_nowait()
            free += 1
        return free

    async def _claim(self, limit: int) -> list[Claim]:
        try:
            return await self._steady.claim(
                self.worker_id, self._types, claim_key=uuid.uuid4().hex, wait=self._poll_wait, limit=limit
            )
        except ApiError as error:
            if error.status == 401 or self._once:
                raise
            if error.status == 404:
                log.warning("the server does not know this worker; registering again")
                await self._register(self._steady)
            else:
                log.warning("no job is given to this worker: %s", error)
                self._trouble = True
            return []

    async def _run_attempt(self, claim: Claim) -> None:
        held = self._holdings.take(claim)
        try:
            attempt = Attempt(
                self._client,
                self.worker_id,
                self._handler,
                held,
                workdir=self._workdir,
                output_suffix=self._output_suffix,
            )
            outcome = await attempt.run()
            self.tally[outcome] += 1
            if outcome is Outcome.RELEASED:
                self._trouble = True
        finally:
            self._holdings.let_go(held)
            self._slots.release()
