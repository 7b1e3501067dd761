"""The reaper: expires what stays silent. State owned here: the deadlines of leases, of workers, and of uploads that
are awaited, and when the next purge and the next sample are due.

Every commit tells it of the signs of life that it holds, which only moves deadlines. It sleeps until the next one,
and then asks the writer to expire what has stayed silent. The writer looks once more, in the transaction: a heartbeat
that was committed meanwhile wins. Each is tried by itself there, so that one odd row does not keep the others alive.

Deadlines run on the monotonic clock; a start gives each one fresh period. And a server that was itself asleep
(stopped, swapped out, its disk stuck) cannot say that others were silent: it grants a fresh period then too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import structlog
import trio

from actors.deadlines import Deadlines
from actors.mailbox import Envelope, Mailbox, ask
from actors.messages import (
    ExpireLeases,
    ExpireUploads,
    ExpireWorkers,
    Message,
    Purge,
    Sample,
    Silent,
    SilentWorker,
    Unsent,
)
from blobforge.events import (
    Fact,
    LeaseEnded,
    LeaseRenewed,
    SourceAwaited,
    SourceSettled,
    WorkerGone,
    WorkerSeen,
    WritesResumed,
)
from blobforge.refusals import Refusal

log = structlog.get_logger("blobforge.reaper")
O = TypeVar("O")  # noqa: E741 - the outcome

MAILBOX = 1  # only ever nudged; what it is told is noted at once
LARGEST_REAP = 500  # expiries in one transaction, so that heartbeats behind it do not wait long
TRY_AGAIN_SECONDS = 5.0  # for uploads and samples, after a commit that failed
PURGE_SECONDS = 3600.0
PURGE_PAUSE = 0.25  # between two of the transactions of a purge: it takes a tenth of the writer's time, or less
PULSE_SHARE = 1 / 8  # of the worker timeout: it never sleeps longer, so as to notice when it was stopped
OVERSLEPT_SHARE = 1 / 4  # of the worker timeout: after a stop of that length every worker gets a fresh period
SETTLE_AFTER = 1.0  # seconds; stopped for less than the above, two heartbeats' time is enough to be heard
SETTLE_SHARE = 1 / 3
OTHERS_LATER = 2.0  # seconds, times the rank: after the server that knows it first hand
LEAD_AGAIN = 10.0  # seconds until it is looked again whether another server keeps house


class Reaper:
    """The timeouts and `session_idle` are in seconds. `rank`: of several servers the first one acts first."""

    heeds: ClassVar[frozenset[type[Fact]]] = frozenset(
        {LeaseRenewed, LeaseEnded, WorkerSeen, WorkerGone, SourceAwaited, SourceSettled, WritesResumed}
    )

    def __init__(
        self,
        writer: Mailbox[Envelope[Any]],
        *,
        worker_timeout: float,
        upload_timeout: float,
        session_idle: float,
        rank: Callable[[], int] = lambda: 0,
    ) -> None:
        self.mailbox: Mailbox[Envelope[Any]] = Mailbox(MAILBOX)
        self._writer = writer
        self._worker_timeout = worker_timeout
        self._upload_timeout = upload_timeout
        self._session_idle = session_idle
        self._rank = rank
        self._leases: Deadlines[int, Silent] = Deadlines()
        self._workers: Deadlines[str, SilentWorker] = Deadlines()
        self._uploads: Deadlines[int, Unsent] = Deadlines()
        self._purge_at = 0.0
        self._sample_at = 0.0
        self._planned = 0.0  # when it wakes
        self._resumed = 0  # times that writes came back after an outage
        self.expired_leases = 0

    def resume(
        self,
        *,
        running: Iterable[tuple[int, int, int, int | None]],
        workers: Iterable[tuple[str, int | None]],
        uploads: Iterable[tuple[int, str, int]],
        now_ms: int,
    ) -> None:
        """Take up what a former run left, each with one fresh period of grace. The last of each that runs: how long
        (ms) a lease of its type lasts, if that is set."""
        now = trio.current_time()
        for job_id, attempt, beat, own in running:
            # Never less than the grace of all: its worker was told an interval that may be another than now.
            lasts = own if own is not None and own > self._worker_timeout * 1000 else None
            self._set_lease(job_id, attempt, beat, lasts, now)
        for worker_id, seen in workers:
            self._workers.set(worker_id, now + self._worker_timeout, SilentWorker(worker_id, seen or 0))
        for job_id, _, since in uploads:
            left = self._upload_timeout - (now_ms - since) / 1000
            # The wall clock may have jumped between the runs: never less than the grace, never more than the whole.
            left = min(max(left, self._worker_timeout), max(self._upload_timeout, self._worker_timeout))
            self._uploads.set(job_id, now + left, Unsent(job_id, since))
        self._purge_at = self._sample_at = now

    def worker_silent_for(self, worker_id: str) -> float | None:
        """Seconds since this worker was heard of, whatever the wall clock did meanwhile; less where it has a fresh
        period. None where it is not waited for."""
        at = self._workers.at(worker_id)
        return max(0.0, trio.current_time() + self._worker_timeout - at) if at is not None else None

    def source_awaited_for(self, job_id: int) -> float | None:
        """For how many seconds yet the job's source is awaited; None where it is not."""
        at = self._uploads.at(job_id)
        return max(0.0, at - trio.current_time()) if at is not None else None

    async def run(self) -> None:
        while True:
            now = trio.current_time()
            # The pulse is how it notices that it was stopped: the later it comes, the longer that was.
            pulse = now + self._worker_timeout * PULSE_SHARE
            deadlines = self._leases.next(), self._workers.next(), self._uploads.next()
            wake = min(*deadlines, self._purge_at, self._sample_at, pulse)
            self._planned = max(now, wake)
            await self.mailbox.take(until=self._planned)
            self._forgive_oversleeping(trio.current_time() - self._planned)
            await self._expire_leases()
            await self._expire_workers()
            await self._expire_uploads()
            await self._purge()
            await self._sample()

    def _forgive_oversleeping(self, late: float) -> None:
        """What was said to us while we were stopped still waits in the sockets: hear it before judging a worker."""
        if late >= self._worker_timeout * OVERSLEPT_SHARE:
            log.warning("the server itself was stopped; every lease gets a fresh period", seconds=round(late, 1))
            self._grant_all(self._worker_timeout)
        elif late >= min(SETTLE_AFTER, self._worker_timeout * OVERSLEPT_SHARE):
            self._grant_all(self._worker_timeout * SETTLE_SHARE)

    def _grant_all(self, seconds: float) -> None:
        """No lease and no worker expires before so many seconds from now."""
        until = trio.current_time() + seconds
        self._leases.postpone_all(until)
        self._workers.postpone_all(until)

    def post_of_others(self, facts: Sequence[Fact]) -> None:
        """The server that heard a worker last is the first to say that it is silent."""
        self.post(facts, later=OTHERS_LATER * (1 + self._rank()))

    def post(self, facts: Sequence[Fact], *, later: float = 0.0) -> None:
        now = trio.current_time() + later
        for fact in facts:
            match fact:
                case LeaseRenewed():
                    self._set_lease(fact.job_id, fact.attempt, fact.beat, fact.lasts, now)
                case LeaseEnded(job_id=job_id):
                    self._leases.drop(job_id)
                case WorkerSeen(worker_id=worker_id, beat=beat):
                    self._workers.set(worker_id, now + self._worker_timeout, SilentWorker(worker_id, beat))
                case WorkerGone(worker_id=worker_id):
                    self._workers.drop(worker_id)
                case SourceAwaited(job_id=job_id, since=since):
                    self._uploads.set(job_id, now + self._upload_timeout, Unsent(job_id, since))
                    if now + self._upload_timeout < self._planned:
                        self.mailbox.nudge()  # of the others none comes before the pulse
                case SourceSettled(job_id=job_id):
                    self._uploads.drop(job_id)
                case WritesResumed():
                    # No heartbeat could be committed for a while: that is our silence, not the workers'.
                    self._resumed += 1
                    self._grant_all(self._worker_timeout)
                case _:
                    pass  # not heeded

    def _set_lease(self, job_id: int, attempt: int, beat: int, lasts: int | None, now: float) -> None:
        at = now + (self._worker_timeout if lasts is None else lasts / 1000)
        self._leases.set(job_id, at, Silent(job_id, attempt, beat, lasts))
        if lasts is not None and at < self._planned:
            self.mailbox.nudge()  # of those that last as long as all none ends before the pulse

    async def _expire_leases(self) -> None:
        due = self._leases.take_due(trio.current_time(), LARGEST_REAP)
        if not due:
            return
        outcome = await self._ask(ExpireLeases(tuple(silent for _, silent in due), self._resumed))
        if outcome is None:
            for job_id, silent in due:
                self._leases.put_back(job_id, trio.current_time() + self._worker_timeout, silent)
        else:
            self.expired_leases += outcome.count

    async def _expire_workers(self) -> None:
        due = self._workers.take_due(trio.current_time(), LARGEST_REAP)
        if due and await self._ask(ExpireWorkers(tuple(silent for _, silent in due), self._resumed)) is None:
            for worker_id, silent in due:
                self._workers.put_back(worker_id, trio.current_time() + self._worker_timeout, silent)

    async def _expire_uploads(self) -> None:
        due = self._uploads.take_due(trio.current_time(), LARGEST_REAP)
        uploads = tuple(upload for _, upload in due)
        if due and await self._ask(ExpireUploads(uploads, self._upload_timeout)) is None:
            for upload in uploads:
                self._uploads.put_back(upload.job_id, trio.current_time() + TRY_AGAIN_SECONDS, upload)

    async def _purge(self) -> None:
        if trio.current_time() >= self._purge_at and self._is_another_s():
            self._purge_at = trio.current_time() + LEAD_AGAIN
        if trio.current_time() >= self._purge_at:
            purged = await self._ask(Purge(self._session_idle))
            again = PURGE_PAUSE if purged is not None and purged.more else PURGE_SECONDS
            self._purge_at = trio.current_time() + again

    async def _sample(self) -> None:
        """Once in each minute by the wall clock, for the charts; how long that is from now, the writer says."""
        if trio.current_time() >= self._sample_at and self._is_another_s():
            self._sample_at = trio.current_time() + LEAD_AGAIN
        if trio.current_time() >= self._sample_at:
            sampled = await self._ask(Sample())
            self._sample_at = trio.current_time() + (sampled.wait if sampled is not None else TRY_AGAIN_SECONDS)

    def _is_another_s(self) -> bool:
        """Whether another server keeps house."""
        return self._rank() > 0

    async def _ask(self, message: Message[O]) -> O | None:
        """The outcome, or None when the writer could not commit, or met a bug: then it is tried again later."""
        try:
            outcome = await ask(self._writer, message)
        except Exception:
            log.exception("cannot expire", message=type(message).__name__)
            return None
        return None if isinstance(outcome, Refusal) else outcome
