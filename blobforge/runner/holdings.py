"""Which jobs this worker holds. State owned here: those jobs. The heartbeat reads it and may take jobs out of
hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import trio

from blobforge.client import ClaimedJob, ReleaseCause
from blobforge.runner.events import warn

SETTLE_GRACE = 5.0  # seconds that a completion on its way gets when the worker is told to stop
MOST_WORDS = 500  # characters of a stage or a message; the server takes 16 KiB for all
LOST_GRACE = 60.0  # seconds that it gets once a heartbeat has said that the lease is gone


@dataclass(eq=False)
class Held:
    """One attempt in hand. Cancelling `scope` is how it is taken away; `abandoned` tells why.

    `lost` is set when a heartbeat has said that the lease is gone while the result was handed in. `late` is set when
    its lease has ended but the job has not been started since: its completion is still accepted.
    `stopped_by`: why the worker stops, where it does. `interval`: the seconds between two of its heartbeats, where
    they are others than those that the server told to the worker itself.
    """

    claim: ClaimedJob
    redact: Callable[[str], str]
    interval: float | None = None
    claimed_at: float = field(default_factory=trio.current_time)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    progress: dict[str, Any] = field(default_factory=dict)
    abandoned: bool = False
    lost: bool = False
    settling: bool = False
    late: bool = False
    stopped_by: ReleaseCause = "shutdown"
    _stopping: bool = False

    @property
    def job_id(self) -> int:
        return self.claim.job.id

    def abandon(self) -> None:
        """The server gave the job to another worker, or cancelled it.

        While a completion is on its way its own answer decides: the server may have taken it just before it said
        "abandon". An answer that never comes is not waited for much longer: the lease's end is the result's.
        """
        if self.settling:
            self.lost = True
            self.scope.deadline = min(self.scope.deadline, trio.current_time() + LOST_GRACE)
        else:
            self.abandoned = True
            self.scope.cancel()

    def stop(self, grace: float, cause: ReleaseCause) -> None:
        """The worker stops: give the job back in `grace` seconds, but not while its result is being handed in."""
        self._stopping = True
        self.stopped_by = cause
        if self.settling:
            grace = max(grace, SETTLE_GRACE)
        if grace > 0:
            self.scope.deadline = trio.current_time() + grace
        else:
            self.scope.cancel()

    def settle(self) -> None:
        """The result is handed in from here on."""
        self.settling = True
        if self._stopping:
            self.scope.deadline = max(self.scope.deadline, trio.current_time() + SETTLE_GRACE)

    def report(self, news: Mapping[str, Any]) -> None:
        """Add to the progress that the next heartbeat carries, without secrets. A new `stage` starts from nothing."""
        # What is too long is cut off behind that: half of a secret is not known for one.
        news = {n: self.redact(each)[:MOST_WORDS] if isinstance(each, str) else each for n, each in news.items()}
        # One new dict in one assignment: a handler may call this from its own thread.
        same = news.get("stage") in (None, self.progress.get("stage"))
        self.progress = {**self.progress, **news} if same else dict(news)

    def beat(self) -> dict[str, Any]:
        """This attempt's part of a heartbeat."""
        return {"job_id": self.job_id, "lease": self.claim.lease, "progress": self.progress}


class Holdings:
    """The attempts in hand, and whether the worker is stopping. `pressed` is set when one is taken that has an
    interval of its own. `redact` takes secrets out of what they report."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._held: set[Held] = set()
        self.pressed = trio.Event()  # a new one each time
        self.stopped_by: ReleaseCause = "shutdown"
        self.stopping = False

    def __len__(self) -> int:
        return len(self._held)

    def take(self, claim: ClaimedJob) -> Held:
        """What was claimed is in hand. Of a job that is in hand already, the former lease has ended."""
        for each in self.snapshot():
            if each.job_id == claim.job.id:
                each.abandon()
        held = Held(claim, self._redact, claim.heartbeat_interval)
        self._held.add(held)
        if held.interval is not None:
            self.pressed.set()
            self.pressed = trio.Event()
        if self.stopping:
            held.stop(0, self.stopped_by)
        return held

    def let_go(self, held: Held) -> None:
        self._held.discard(held)

    def interval(self, of_worker: float) -> float:
        """Seconds between two heartbeats: as the most pressing job needs it."""
        return min([of_worker, *[held.interval for held in self._held if held.interval is not None]])

    def snapshot(self) -> list[Held]:
        return list(self._held)

    def abandon(self, asked_about: Iterable[Held], job_ids: Iterable[int], late: Iterable[int]) -> None:
        """Drop what the server names, but only attempts that the heartbeat asked about and that are still held.

        The same job may have been claimed anew while the heartbeat was on its way. Work on a job whose lease has
        ended goes on while no other worker has started it: the next heartbeat asks again.
        """
        lost, kept = set(job_ids), set(late)
        for held in asked_about:
            if held not in self._held:
                continue
            if held.job_id in lost - kept:
                held.abandon()
            elif held.job_id in kept and not held.late:
                held.late = True
                warn(
                    "lease-ended",
                    f"job {held.job_id}: its lease has ended; the work goes on, since nobody has started it anew",
                    job=held.job_id,
                )

    def stop(self, grace: float, cause: ReleaseCause) -> None:
        """Give back what is in hand in `grace` seconds, and whatever is still taken at once."""
        self.stopping = True
        self.stopped_by = cause
        for held in self._held:
            held.stop(grace, cause)
