"""The scheduler. State owned here: who waits for work, which types are known to have none, and when back-offs end.

Which job goes to whom is decided by the writer's transaction, in the order of the index (effects/claims.py); the
scheduler decides when to ask. Nobody polls: a claim is sent on at once; when there was nothing for it, it waits
here until a commit makes a job of its type ready, or its time is over.

What keeps waiters from being forgotten: while a type may have work and somebody waits for it, at least one claim
for that type is with the writer. Only an empty answer makes a type "dry", and only if nothing became ready since
that claim was sent.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import trio
from msgspec.structs import replace
from sortedcontainers import SortedDict

from actors.mailbox import Board, Callback, Envelope, Mailbox, Reply
from actors.messages import Claim, DueRetry, Expired, Granted, Release, WakeRetries
from blobforge.events import Fact, JobReady, RetryScheduled
from blobforge.refusals import Refusal, RefusalCode

# Every long poll of the fleet stands here at most once, before it is moved to the waiters.
MAILBOX = 4096
MOST_DRY = 10_000  # types that are known to be empty; clients may name any
LARGEST_WAKE = 500  # back-offs ended in one transaction
TRY_AGAIN_SECONDS = 5.0  # after a commit that failed

CLOSING = Refusal(RefusalCode.SHUTTING_DOWN, "The server is shutting down. Claim again in a moment.", retry_after=2)


class Waiter:
    """One claim and where it stands. `arrival` numbers the claims as they came. `announced` is how many ready jobs
    of each type had been heard of when it
    was last sent on; `waits` is whether it is here, and not with the writer; `timed` is whether its deadline, which
    never moves, is in the heap."""

    __slots__ = ("announced", "arrival", "claim", "deadline", "repeat", "reply", "timed", "trace", "waits")

    def __init__(self, envelope: Envelope[Granted], arrival: int, deadline: float) -> None:
        assert isinstance(envelope.message, Claim)
        self.arrival = arrival
        self.claim: Claim = envelope.message
        self.reply = envelope.reply
        self.repeat = envelope.repeat
        self.trace = envelope.trace
        self.deadline = deadline
        self.waits = False
        self.timed = False
        self.announced: dict[str, int] = {}


class Scheduler:
    def __init__(self, writer: Mailbox[Envelope[Any]]) -> None:
        self.mailbox: Mailbox[Envelope[Any]] = Mailbox(MAILBOX)
        self.board: Board[Envelope[Any]] = Board(self.mailbox)
        self._writer = writer
        self._arrivals = itertools.count()
        # By type, and in it by arrival: who got nothing goes back to the place that he had. A waiter stands in each.
        self._queues: dict[str, SortedDict[int, Waiter]] = {}
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._dry: set[str] = set()
        self._announced: Counter[str] = Counter()
        self._fresh: Counter[str] = Counter()  # announced while somebody waited, and no waiter sent for it yet
        self._in_flight: Counter[str] = Counter()
        self._answers: list[tuple[Waiter, Granted | Refusal | Exception]] = []
        self._retries: list[tuple[float, int, int]] = []  # (due on trio's clock, job, attempt)
        self._closing = False
        self.answered: Counter[str] = Counter()  # claims by what became of them

    @property
    def waiting(self) -> int:
        """How many long polls wait now."""
        return sum(waiter.waits and not waiter.reply.abandoned for _, _, waiter in self._deadlines)

    def resume(self, retries: Iterable[tuple[int, int, int]], *, now_ms: int, longest: float) -> None:
        """Take up the back-offs that a former run left: (job, attempt, not_before in ms).

        `longest`, in seconds, is what a back-off can be at most: the wall clock may have jumped between the runs.
        """
        for job_id, attempt, not_before in retries:
            self._retry_in(min(max(0.0, (not_before - now_ms) / 1000), longest), job_id, attempt)

    def close(self) -> None:
        """Answer every long poll with "no job" and refuse new claims. What is with the writer is still granted."""
        self._closing = True
        self.mailbox.nudge()

    async def run(self) -> None:
        while True:
            # An answer that came while we were at work has left its nudge in the mailbox.
            envelope = await self.mailbox.take(until=self._next_deadline())
            self._heed(self.board.take())
            while envelope is not None:
                await self._arrive(envelope)
                envelope = self.mailbox.take_nowait()
            await self._take_answers()
            await self._send_more()
            await self._end_waits()
            await self._wake_retries()

    def _next_deadline(self) -> float:
        if self._answers:
            return -math.inf
        wait = self._deadlines[0][0] if self._deadlines else math.inf
        retry = self._retries[0][0] if self._retries else math.inf
        return min(wait, retry)

    # --- what it is told

    def _heed(self, facts: list[Fact]) -> None:
        for fact in facts:
            match fact:
                case JobReady(type=type_):
                    self._announced[type_] += 1
                    self._dry.discard(type_)
                    if type_ in self._queues:
                        self._fresh[type_] += 1
                case RetryScheduled(job_id=job_id, attempt=attempt, delay=delay):
                    self._retry_in(delay, job_id, attempt)
                case _:
                    pass  # the business of other actors

    async def _arrive(self, envelope: Envelope[Granted]) -> None:
        assert isinstance(envelope.message, Claim)
        waiter = Waiter(envelope, next(self._arrivals), trio.current_time() + envelope.message.wait)
        if self._closing:
            self._settle(waiter, CLOSING)
        else:
            # Once to the database even when there is no work: it knows whether this worker may ask at all, and
            # whether it was given jobs before.
            await self._send(waiter)

    # --- sending on, and waiting

    async def _send(self, waiter: Waiter) -> None:
        self._leave_queues(waiter)
        waiter.announced = {type_: self._announced[type_] for type_ in waiter.claim.types}
        self._in_flight.update(waiter.claim.types)
        # What is sent on waits no more once its time is over: then "no job", too, is an answer to be recorded.
        claim = replace(waiter.claim, wait=0.0) if self._is_final(waiter) else waiter.claim
        reply = Callback[Granted](lambda outcome: self._answered(waiter, outcome), lambda: waiter.reply.abandoned)
        trace = None if waiter.trace is None else waiter.trace.again()
        await self._writer.put(Envelope(claim, reply, waiter.repeat, trace=trace))

    def _is_final(self, waiter: Waiter) -> bool:
        return self._closing or waiter.deadline <= trio.current_time()

    def _park(self, waiter: Waiter) -> None:
        for type_ in waiter.claim.types:
            self._queues.setdefault(type_, SortedDict())[waiter.arrival] = waiter
        self._wait(waiter)

    def _wait(self, waiter: Waiter) -> None:
        waiter.waits = True
        if not waiter.timed:
            waiter.timed = True
            heapq.heappush(self._deadlines, (waiter.deadline, waiter.arrival, waiter))

    def _leave_queues(self, waiter: Waiter) -> None:
        waiter.waits = False
        for type_ in waiter.claim.types:
            queue = self._queues.get(type_)
            if queue is not None:
                queue.pop(waiter.arrival, None)
                if not queue:
                    del self._queues[type_], self._fresh[type_]

    # --- what the writer answers

    def _answered(self, waiter: Waiter, outcome: Granted | Refusal | Exception) -> None:
        self._answers.append((waiter, outcome))
        self.mailbox.nudge()

    async def _take_answers(self) -> None:
        answers, self._answers = self._answers, []
        for waiter, outcome in answers:
            self._landed(waiter)
            match outcome:
                case Granted(jobs=()):
                    self._got_nothing(waiter, outcome)
                case Granted() if waiter.reply.abandoned:
                    await self._give_back(waiter, outcome)
                case Exception():
                    waiter.reply.fail(outcome)
                case _:
                    self._settle(waiter, outcome)

    def _settle(self, waiter: Waiter, outcome: Granted | Refusal) -> None:
        match outcome:
            case Refusal():
                self.answered["refused"] += 1
            case Granted(jobs=()):
                self.answered["empty"] += 1
            case Granted():
                self.answered["granted"] += 1
        waiter.reply.settle(outcome)

    def _landed(self, waiter: Waiter) -> None:
        for type_ in waiter.claim.types:
            self._in_flight[type_] -= 1
            if not self._in_flight[type_]:
                del self._in_flight[type_]

    def _got_nothing(self, waiter: Waiter, outcome: Granted) -> None:
        if not outcome.idle:
            self._note_what_was_there(waiter)
        if waiter.reply.abandoned:
            return
        if self._is_final(waiter):
            self._settle(waiter, outcome)
        elif outcome.idle:
            # It drains: it waits its time out where no job wakes it, lest it ask again at once.
            self._wait(waiter)
        else:
            self._park(waiter)

    def _note_what_was_there(self, waiter: Waiter) -> None:
        """Nothing: so these types are dry, as far as nothing was announced since; what was, is still to be served."""
        if len(self._dry) > MOST_DRY:
            self._dry.clear()  # a hint only; each type costs one claim to find out again
        for type_ in waiter.claim.types:
            missed = self._announced[type_] - waiter.announced[type_]
            if not missed:
                self._dry.add(type_)
                self._fresh.pop(type_, None)
            else:
                self._fresh[type_] = max(self._fresh[type_], missed)

    async def _give_back(self, waiter: Waiter, outcome: Granted) -> None:
        """The client went away while its claim was being committed. One with a claim key will come and ask again."""
        if waiter.claim.claim_key is not None or waiter.repeat is not None:
            return
        why = "the client went away before the answer"
        for job in outcome.jobs:
            release = Release(waiter.claim.caller, waiter.claim.worker_id, job.id, job.lease, why)
            await self._writer.put(Envelope(release, Reply()))

    async def _send_more(self) -> None:
        """One waiter for each job that became ready, and never none while its type may have work."""
        for type_ in [type_ for type_ in self._queues if type_ not in self._dry]:
            while (queue := self._queues.get(type_)) and (self._fresh[type_] > 0 or self._in_flight[type_] == 0):
                waiter = queue.peekitem(0)[1]
                if waiter.reply.abandoned:
                    self._leave_queues(waiter)
                    continue
                if self._fresh[type_] > 0:
                    self._fresh[type_] -= 1
                await self._send(waiter)

    # --- time

    async def _end_waits(self) -> None:
        while self._deadlines and self._is_final(self._deadlines[0][2]):
            waiter = heapq.heappop(self._deadlines)[2]
            if not waiter.waits or waiter.reply.abandoned:
                self._leave_queues(waiter)
            elif waiter.repeat is not None:
                await self._send(waiter)  # once more, for the record
            else:
                self._leave_queues(waiter)
                self._settle(waiter, Granted())

    def _retry_in(self, seconds: float, job_id: int, attempt: int) -> None:
        heapq.heappush(self._retries, (trio.current_time() + seconds, job_id, attempt))

    async def _wake_retries(self) -> None:
        due: list[DueRetry] = []
        while self._retries and self._retries[0][0] <= trio.current_time() and len(due) < LARGEST_WAKE:
            _, job_id, attempt = heapq.heappop(self._retries)
            due.append(DueRetry(job_id, attempt))
        if due:
            woken = Callback[Expired](lambda outcome: self._retries_woken(due, outcome))
            await self._writer.put(Envelope(WakeRetries(tuple(due)), woken))

    def _retries_woken(self, due: list[DueRetry], outcome: Expired | Refusal | Exception) -> None:
        if isinstance(outcome, Expired):
            return
        for timer in due:
            self._retry_in(TRY_AGAIN_SECONDS, timer.job_id, timer.attempt)
        self.mailbox.nudge()
