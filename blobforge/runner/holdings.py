"""Which jobs this worker holds. Owned by the Worker; the heartbeat reads it and may take jobs out of hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from blobforge.client import Claim

SETTLE_GRACE = 5.0  # seconds that a completion on its way gets when the worker is told to stop


@dataclass(eq=False)
class Held:
    """One attempt in hand. Cancelling `scope` is how it is taken away; `abandoned` tells why."""

    claim: Claim
    claimed_at: float = field(default_factory=trio.current_time)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    progress: dict[str, Any] = field(default_factory=dict)
    abandoned: bool = False
    settling: bool = False

    @property
    def job_id(self) -> int:
        return self.claim.job.id

    def abandon(self) -> None:
        """The server gave the job to somebody else, or cancelled it.

        While a completion is on its way its own answer decides: the server may have taken it just before it said
        "abandon".
        """
        if not self.settling:
            self.abandoned = True
            self.scope.cancel()

    def stop(self) -> None:
        """The worker stops: give the job back, unless its result is just being handed in."""
        if self.settling:
            self.scope.deadline = min(self.scope.deadline, trio.current_time() + SETTLE_GRACE)
        else:
            self.scope.cancel()

    def report(self, news: Mapping[str, Any]) -> None:
        """Add to the progress that the next heartbeat carries. A new `stage` starts from nothing."""
        # One new dict in one assignment: a handler may call this from its own thread.
        self.progress = dict(news) if "stage" in news else {**self.progress, **news}

    def beat(self) -> dict[str, Any]:
        """This attempt's part of a heartbeat."""
        return {"job_id": self.job_id, "lease": self.claim.lease, "progress": self.progress}


class Holdings:
    """The attempts in hand, and whether the worker is stopping."""

    def __init__(self) -> None:
        self._held: set[Held] = set()
        self.stopping = False

    def __len__(self) -> int:
        return len(self._held)

    def take(self, claim: Claim) -> Held:
        held = Held(claim)
        self._held.add(held)
        if self.stopping:
            held.stop()
        return held

    def let_go(self, held: Held) -> None:
        self._held.discard(held)

    def snapshot(self) -> list[Held]:
        return list(self._held)

    def abandon(self, asked_about: Iterable[Held], job_ids: Iterable[int]) -> None:
        """Drop what the server names, but only attempts that the heartbeat asked about and that are still held.

        The same job may have been claimed anew while the heartbeat was on its way.
        """
        lost = set(job_ids)
        for held in asked_about:
            if held.job_id in lost and held in self._held:
                held.abandon()

    def stop(self) -> None:
        self.stopping = True
        for held in self._held:
            held.stop()
