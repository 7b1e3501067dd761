"""The scheduler: when the writer is asked for work, and on behalf of which claim. State owned here: the claims that
wait for work, how many jobs of a line (of a type and a lane) can be ready at most, and when jobs that wait for a time
have waited long enough.

Which job goes to which worker is decided by the writer's transaction, in the order of the index (effects/claims.py);
the scheduler decides when to ask. Nothing polls: a claim is sent on at once; when there was nothing for it, it waits
here until a commit makes a job of its line ready, or its time is over.

One waiter is woken for one job, and none is forgotten: for each line there is an upper bound of its ready jobs
(`_most`). Facts count it up and down, an empty answer brings it down to what became ready since that claim was sent.
While claims wait, as many are with the writer on behalf of the line as the bound says. A job that was taken away
without a fact (cancelled) costs one claim in vain; a bound below the truth would cost a waiter its job.

Of several servers with waiters one gets the job, and the others ask in vain, a turn each. So the waiters of a line
that were woken in vain hold back when another server tells of the next job (`_polite`): as a rule it is taken
meanwhile. If it is not, no other server has a waiter for it: they are woken then, and at once from the next job on.

Of a type that is paused or has limits there may be ready jobs that no worker may be given. How many may be is bounded
from above, too (`gates.py`): a waiter is woken where both bounds leave it a job.

Jobs that require something of their worker are in lines of their own. Which of those a claim is for depends on its
worker's labels: the answer says it, and the claim that waits then stands in these lines, too. Where a set of
requirements is new, it is held against the labels of those that wait; of a claim that was with the writer meanwhile
it is not known whether it was looked for, so that one asks again.

A job may be kept from a worker that has failed it. That worker's waiter then stands aside (`_aside`), so that the
next one is asked, until another job of the line is ready.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import trio
from msgspec.structs import replace
from sortedcontainers import SortedDict

from actors.gates import GatesSeen, TypeGates
from actors.mailbox import Callback, Envelope, Mailbox, Reply
from actors.messages import (
    Claim,
    Complete,
    Due,
    Granted,
    HeedTimes,
    Release,
    Repeatable,
    SomeChanged,
    TimesHeeded,
    WakeJobs,
)
from blobforge.events import (
    ComparisonsBegun,
    CredentialsRevoked,
    Fact,
    JobReady,
    JobTaken,
    JobWaits,
    RequirementSetMade,
    RequirementSetsForgotten,
    TypeFreed,
    TypeSet,
    WorkerLabelled,
    WorkerRetried,
)
from blobforge.job import ReleaseCause
from blobforge.options import PLAIN, WITH_OPTIONS, QueueLine, lanes
from blobforge.refusals import Refusal, RefusalCode
from blobforge.requirements import holds, lane_beside

# Claims that were not looked at yet: each is moved to the waiters at once, and a sender waits while this is full.
MAILBOX = 4096
MOST_BOUNDS = 10_000  # lines of which a bound is kept though no claim waits; clients may name any type
LEAST_SWEPT = 1000  # waiters, before those whose clients have gone are looked for
LARGEST_WAKE = 500  # waits ended in one transaction
# Until it is looked again whose time has come: the wall clock, by which jobs are started, may have been set.
LOOK_AGAIN_SECONDS = 60.0
TRY_AGAIN_SECONDS = 5.0  # after a commit that failed
TRY_DATABASE_SECONDS = 1.0  # between two claims that see whether the database is back
# Times the rank plus one: how long waiters that were woken in vain leave the next job of another server to others.
# Within half of it a claim is committed, and heard of.
HOLD_BACK = 0.04  # seconds
OTHERS_LATER = 1.0  # seconds, times the rank: after the server that knows it first hand

CLOSING = Refusal(RefusalCode.SHUTTING_DOWN, "The server is shutting down. Claim again in a moment.", retry_after=2)


class Waiter:
    """One claim and how long it may wait. `arrival` numbers the claims as they came; the deadline moves only when its
    credential is revoked: then it is over."""

    __slots__ = ("arrival", "claim", "deadline", "labels", "lines", "repeat", "reply", "trace")

    def __init__(self, envelope: Envelope[Granted], arrival: int, deadline: float) -> None:
        assert isinstance(envelope.message, Claim)
        self.arrival = arrival
        self.claim: Claim = envelope.message
        self.lines = self.claim.lines
        self.labels: str | None = None  # of its worker, as the last answer said
        self.reply = envelope.reply
        self.repeat = envelope.repeat
        self.trace = envelope.trace
        self.deadline = deadline


class Sent:
    """A claim that is with the writer, and where its answer goes: how many ready jobs of each of its lines had been
    heard of by then, and of all lines; and the line for which it was woken (None: it has just come, or its time is
    over). `misses` is how often something had not been told by then, `gates` is what had been heard of the types,
    `matchings` how often requirements or labels had changed."""

    __slots__ = ("_scheduler", "announced", "announced_in_all", "gates", "matchings", "misses", "waiter", "woken_for")

    def __init__(
        self,
        scheduler: Scheduler,
        waiter: Waiter,
        announced: dict[QueueLine, int],
        woken_for: QueueLine | None,
        misses: int,
        gates: GatesSeen,
    ) -> None:
        self._scheduler = scheduler
        self.announced_in_all = scheduler.announced_in_all
        self.matchings = scheduler.matchings
        self.gates = gates
        self.misses = misses
        self.waiter = waiter
        self.announced = announced
        self.woken_for = woken_for

    @property
    def abandoned(self) -> bool:
        return self.waiter.reply.abandoned

    def settle(self, outcome: Granted | Refusal) -> None:
        self._scheduler.heard(self, outcome)

    def fail(self, error: Exception) -> None:
        self._scheduler.heard(self, error)


class Scheduler:
    """Notes facts and answers in the call that brings them; it is woken only to send something."""

    heeds: ClassVar[frozenset[type[Fact]]] = frozenset(
        {
            JobReady,
            JobTaken,
            JobWaits,
            TypeFreed,
            TypeSet,
            CredentialsRevoked,
            RequirementSetMade,
            RequirementSetsForgotten,
            ComparisonsBegun,
            WorkerLabelled,
            WorkerRetried,
        }
    )

    def __init__(
        self, writer: Mailbox[Envelope[Any]], *, rank: Callable[[], int] = lambda: 0, holds: bool = False
    ) -> None:
        """`rank`: of several servers the first one acts first. `holds`: claims that may wait do so while the database
        is away, too: another takes its place in seconds."""
        self._holds = holds
        self._held: dict[int, Waiter] = {}  # by arrival: those that wait for the database
        self._try_at = math.inf  # when it is seen whether it is back
        self._rank = rank
        self.mailbox: Mailbox[Envelope[Any]] = Mailbox(MAILBOX)
        self._writer = writer
        self._arrivals = itertools.count()
        # By line, and in it by arrival: a waiter that got nothing goes back to its place. A waiter stands in each.
        self._queues: dict[QueueLine, SortedDict[int, Waiter]] = {}
        self._aside: dict[QueueLine, dict[int, Waiter]] = {}  # by line: waiters that are kept from its ready jobs
        self._waiting: SortedDict[tuple[float, int], Waiter] = SortedDict()  # all of them, by (deadline, arrival)
        self._keyed: dict[tuple[str, str], Waiter] = {}  # those of them with a claim_key, by worker and key
        self._swept = LEAST_SWEPT  # waiters at which those that have gone are looked for again
        self._most: dict[QueueLine, int] = {}  # ready jobs of a line, at most; a line that is not in it: not known
        self._gates = TypeGates()
        self._announced: Counter[QueueLine] = Counter()
        self.announced_in_all = 0
        self.matchings = 0  # how often it has changed which claims are for which lines
        self._lanes: dict[str, dict[QueueLine, None]] = {}  # by type: those beside the plain ones
        self._misses = 0  # how often something may not have been told
        self._woken: Counter[QueueLine] = Counter()  # by line: jobs that the claims with the writer could take
        self._polite: set[QueueLine] = set()  # lines whose waiters were woken in vain
        self._held_back: dict[QueueLine, float] = {}  # those of which there is a job, and until when
        self._stirred: set[QueueLine] = set()  # lines of which a waiter may have to be woken
        self._returned: list[Release] = []  # what was granted to clients that have gone; not sent yet
        self._trials: list[tuple[float, int, Waiter]] = []  # when a worker in quarantine may get a job, by arrival
        self._timers: list[tuple[float, int, int]] = []  # (due on trio's clock, job, until when by its record)
        self._times_at = math.inf  # when the writer is asked for what submissions said times of
        self._doubtful: list[Waiter] = []  # credential revoked, or answered elsewhere: for the writer to judge
        self._planned = -math.inf  # when it wakes; while it is awake: not before anything
        self._closing = False
        self.answered: Counter[str] = Counter()  # claims by what became of them

    @property
    def waiting(self) -> int:
        """How many long polls wait now."""
        return sum(not waiter.reply.abandoned for waiter in self._waiting.values())

    def resume(self, waits: Iterable[tuple[int, int, int]], *, now_ms: int, longest: float) -> None:
        """Take up the waits that a former run left: (job, until when, when it was last changed; in ms).

        The wall clock may have jumped between the runs: what is left of a wait is never more than was left when the
        job was last changed, nor more than `longest` seconds.
        """
        for job_id, until, changed in waits:
            left = max(0, min(until - now_ms, until - changed)) / 1000
            self._wake_in(min(left, longest), job_id, until)

    def look_at_times(self) -> None:
        """There may be jobs whose submission said times: have the writer look."""
        self._times_in(0.0)
        self._wake()

    def look_anew(self) -> None:
        """What has become ready, and what was answered elsewhere, may not have been told: all that wait ask again,
        and so do those that are with the writer, if they get nothing."""
        self._misses += 1
        self._most.clear()
        self._gates.forget()
        self._ask_again(list(self._waiting.values()))
        self.mailbox.nudge()

    def close(self) -> None:
        """Answer every long poll with "no job" and refuse new claims. What is with the writer is still granted."""
        self._closing = True
        self.mailbox.nudge()

    async def run(self) -> None:
        while True:
            self._planned = self._next_deadline()
            envelope = await self.mailbox.take(until=self._planned)
            self._planned = -math.inf
            while envelope is not None:
                await self._arrive(envelope)
                envelope = self.mailbox.take_nowait()
            while self._returned:
                await self._writer.put(Envelope(self._returned.pop(), Reply()))
            if self._try_at <= trio.current_time():
                self._try_at = math.inf
                self._ask_again(itertools.islice(list(self._held.values()), 1))
            if self._held_back:
                self._end_politeness()
            self._begin_trials()
            while self._doubtful:
                await self._send(self._doubtful.pop())
            for type_ in self._gates.due(trio.current_time()):
                for line in self._lines_of(type_):
                    self._stir(line)
            if self._stirred:
                await self._send_more()
            if self._waiting:
                await self._end_waits()
            if self._timers:
                await self._wake_jobs()
            if self._times_at <= trio.current_time():
                await self._heed_times()

    def _next_deadline(self) -> float:
        wait = self._waiting.peekitem(0)[0][0] if self._waiting else math.inf
        timer = self._timers[0][0] if self._timers else math.inf
        held_back = min(self._held_back.values(), default=math.inf)
        trial = self._trials[0][0] if self._trials else math.inf
        return min(wait, timer, trial, held_back, self._try_at, self._gates.next_at, self._times_at)

    # --- what it is told

    def post_of_others(self, facts: Sequence[Fact]) -> None:
        """Another server wakes its own jobs; a claim that it has answered may wait here, too: repeated."""
        self.post(facts, of_others=True)
        for fact in facts:
            if isinstance(fact, JobTaken) and fact.claim_key is not None:
                repeated = self._keyed.get((fact.worker_id, fact.claim_key))
                if repeated is not None:
                    self._leave(repeated)
                    self._doubtful.append(repeated)
                    self._wake()

    def post(self, facts: Sequence[Fact], *, of_others: bool = False) -> None:  # noqa: PLR0912 - one row a fact
        more_to_do = False
        for fact in facts:
            match fact:
                case JobReady(line=line):
                    self._announced[line] += 1
                    self.announced_in_all += 1
                    if line in self._most:
                        self._most[line] += 1
                    for waiter in self._aside.pop(line, {}).values():
                        self._queue(line, waiter)
                    self._stir_for_one(line, of_others=of_others)
                case JobTaken(line=line):
                    if self._most.get(line):
                        self._most[line] -= 1
                    self._gates.taken(line.type, trio.current_time)
                    if self._gates.next_at >= self._planned:
                        continue  # the only one that leaves nothing to be done
                case JobWaits(job_id=job_id, until=until, delay=delay, start=start):
                    later = OTHERS_LATER * (1 + self._rank()) if of_others else 0.0
                    if start:
                        self._times_in(delay + later)
                    else:
                        self._wake_in(delay + later, job_id, until)
                case TypeFreed(type=type_):
                    self._gates.freed(type_)
                    for line in self._lines_of(type_):
                        self._stir_for_one(line, of_others=of_others)
                case TypeSet():
                    self._open(fact)
                case RequirementSetMade():
                    self._match(fact)
                case RequirementSetsForgotten():
                    self._lanes.clear()  # those that are waited for come again
                    self._rematch(list(self._waiting.values()))
                case ComparisonsBegun(types=types):
                    self._rematch([w for w in self._waiting.values() if not set(types).isdisjoint(w.claim.types)])
                case WorkerLabelled(worker_id=worker_id) | WorkerRetried(worker_id=worker_id):
                    self._rematch([each for each in self._waiting.values() if each.claim.worker_id == worker_id])
                case CredentialsRevoked():
                    self._doubt(fact)
                case _:
                    continue  # not heeded
            more_to_do = True
        if more_to_do:
            self._wake()

    def _open(self, fact: TypeSet) -> None:
        """Any number of the type's ready jobs may be given, as far as is known."""
        self._gates.changed(fact.type)
        for line in self._lines_of(fact.type):
            if line in self._queues:
                self._most.setdefault(line, fact.pending)
            self._stir(line)

    def _match(self, made: RequirementSetMade) -> None:
        """Have the claims that wait and may have such jobs wait in their lines, too."""
        self.matchings += 1
        for waiter in self._waiting.values():
            if made.type not in waiter.claim.types or not holds(waiter.labels, made.requires):
                continue
            lines = [QueueLine(made.type, lane_beside(made.number, lane)) for lane in lanes(waiter.claim.accepts)]
            for line in lines if self._is_parked(waiter) else ():
                if line not in waiter.lines:
                    waiter.lines = (*waiter.lines, line)
                    self._queue(line, waiter)

    def _is_parked(self, waiter: Waiter) -> bool:
        """Whether a job would wake it: its worker does not drain, and the database was there."""
        places = (self._queues, self._aside)
        return any(waiter.arrival in each.get(line, ()) for line in waiter.claim.lines for each in places)

    def _rematch(self, waiters: list[Waiter]) -> None:
        """Which lines these are for is another question than before: they ask again."""
        self.matchings += 1
        self._ask_again(waiters)

    def _lines_of(self, type_: str) -> Iterable[QueueLine]:
        plain = (QueueLine(type_, PLAIN), QueueLine(type_, WITH_OPTIONS))
        return (*plain, *self._lanes[type_]) if type_ in self._lanes else plain

    def _stir_for_one(self, line: QueueLine, *, of_others: bool) -> None:
        """There is one more that may be given. Waiters that were woken in vain leave it to that server."""
        if of_others and line in self._polite:
            self._held_back.setdefault(line, trio.current_time() + HOLD_BACK * (1 + self._rank()))
        else:
            self._held_back.pop(line, None)
            self._stir(line)

    def _stir(self, line: QueueLine) -> None:
        """A waiter of this line may have to be woken now."""
        if line in self._queues:
            self._stirred.add(line)

    def _end_politeness(self) -> None:
        """Wake the waiters that held back, where there is still a job for them."""
        now = trio.current_time()
        for line in [line for line, until in self._held_back.items() if until <= now]:
            del self._held_back[line]
            self._stir(line)
            if self._to_be_woken(line):
                self._polite.discard(line)

    def _doubt(self, revoked: CredentialsRevoked) -> None:
        """End the claims that wait by one of these credentials. A claim that is with the writer is judged there."""
        hashes, workers = set(revoked.hashes), set(revoked.workers)
        for waiter in list(self._waiting.values()):
            claim = waiter.claim
            if claim.caller.secret_hash in hashes or claim.worker_id in workers:
                self._leave(waiter)
                waiter.deadline = trio.current_time()
                self._doubtful.append(waiter)

    def _wake(self) -> None:
        """Have `run` look, where there is something to send, or something is due before it meant to."""
        to_send = self._returned or self._doubtful or any(map(self._to_be_woken, self._stirred))
        if to_send or self._next_deadline() < self._planned:
            self.mailbox.nudge()

    async def _arrive(self, envelope: Envelope[Granted]) -> None:
        assert isinstance(envelope.message, Claim)
        claim = envelope.message
        waiter = Waiter(envelope, next(self._arrivals), trio.current_time() + min(claim.wait, claim.good_for))
        if self._closing:
            self._settle(waiter, CLOSING)
        else:
            if waiter.claim.claim_key:
                self._take_place(waiter)
            # Once to the database even when there is no work: it knows whether this worker may ask at all, and
            # whether it was given jobs before.
            await self._send(waiter)

    def _take_place(self, waiter: Waiter) -> None:
        """A claim that is repeated ends the one that it repeats: a job goes to the latest request, and not to a
        connection that may be lost without our knowing."""
        before = self._of_same_key(waiter)
        if before is not None:
            self._leave(before)
            self._settle(before, Granted(idle=True))

    def _is_repeated(self, waiter: Waiter) -> bool:
        later = self._of_same_key(waiter)
        return later is not None and later.arrival > waiter.arrival

    def _of_same_key(self, waiter: Waiter) -> Waiter | None:
        return self._keyed.get((waiter.claim.worker_id, waiter.claim.claim_key or ""))

    # --- sending on, and waiting

    async def _send(self, waiter: Waiter, woken_for: QueueLine | None = None) -> None:
        if woken_for is not None:
            self._woken[woken_for] += waiter.claim.limit
        sent = Sent(self, waiter, {line: self._announced[line] for line in waiter.lines}, woken_for, self._misses,
                    self._gates.look(waiter.claim.types))  # fmt: skip
        # What is sent on waits no more once its time is over: then "no job", too, is an answer to be recorded.
        final = waiter.claim.wait > 0 and self._is_final(waiter)
        claim = replace(waiter.claim, wait=0.0) if final else waiter.claim
        trace = None if waiter.trace is None else waiter.trace.again()
        envelope = Envelope(claim, sent, waiter.repeat, trace=trace, caller=claim.caller)
        if not self._writer.offer(envelope):
            await self._writer.put(envelope)

    def _is_final(self, waiter: Waiter) -> bool:
        return self._closing or waiter.deadline <= trio.current_time()

    def _park(self, sent: Sent, withheld: tuple[QueueLine, ...]) -> None:
        waiter = sent.waiter
        for line in waiter.lines:
            if line in withheld and self._announced[line] == sent.announced.get(line, -1):
                self._aside.setdefault(line, {})[waiter.arrival] = waiter
            else:
                self._queue(line, waiter)
        self._wait(waiter)

    def _queue(self, line: QueueLine, waiter: Waiter) -> None:
        self._queues.setdefault(line, SortedDict())[waiter.arrival] = waiter
        if line.lane > WITH_OPTIONS:
            self._lanes.setdefault(line.type, {})[line] = None
        self._stirred.add(line)

    def _wait(self, waiter: Waiter) -> None:
        self._waiting[waiter.deadline, waiter.arrival] = waiter
        if waiter.claim.claim_key:
            self._take_place(waiter)
            self._keyed[waiter.claim.worker_id, waiter.claim.claim_key] = waiter
        if len(self._waiting) >= self._swept:
            # The end of a client is not told. They stay for a minute at most, and are never the most of all.
            for gone in [each for each in self._waiting.values() if each.reply.abandoned]:
                self._leave(gone)
            self._swept = max(LEAST_SWEPT, 2 * len(self._waiting))

    def _hold(self, waiter: Waiter, refusal: Refusal) -> None:
        """The database is away. While claims wait for it, one of them asks now and then."""
        if self._is_final(waiter):
            self._settle(waiter, refusal)
        else:
            self._held[waiter.arrival] = waiter
            self._wait(waiter)
        if self._held:
            self._try_at = min(self._try_at, trio.current_time() + TRY_DATABASE_SECONDS)

    def _ask_again(self, waiters: Iterable[Waiter]) -> None:
        for waiter in waiters:
            self._leave(waiter)
            self._doubtful.append(waiter)

    def _leave(self, waiter: Waiter) -> None:
        self._held.pop(waiter.arrival, None)
        if self._waiting.pop((waiter.deadline, waiter.arrival), None) is None:
            return
        if waiter.claim.claim_key:
            del self._keyed[waiter.claim.worker_id, waiter.claim.claim_key]
        for line in waiter.lines:
            for places in (self._queues, self._aside):
                places_of_line = places.get(line)
                if places_of_line is not None:
                    places_of_line.pop(waiter.arrival, None)
                    if not places_of_line:
                        del places[line]

    # --- what the writer answers

    def heard(self, sent: Sent, outcome: Granted | Refusal | Exception) -> None:
        if sent.woken_for is not None:
            self._landed(sent.woken_for, sent.waiter)
        waiter = sent.waiter
        if self._held and not (isinstance(outcome, Refusal) and outcome.code is RefusalCode.UNAVAILABLE):
            self._ask_again(list(self._held.values()))  # it is back
        if isinstance(outcome, Granted) and outcome.rooms and sent.misses == self._misses:
            for type_ in self._gates.heard(sent.gates, outcome.rooms, trio.current_time()):
                for line in self._lines_of(type_):
                    self._stir(line)
        match outcome:
            case Granted(jobs=()):
                self._got_nothing(sent, outcome)
            case Granted() if waiter.reply.abandoned:
                # The client went away while its claim was being committed.
                self._returned += given_back(waiter.claim, waiter.repeat, outcome)
            case Exception():
                waiter.reply.fail(outcome)
            case Refusal(code=RefusalCode.UNAVAILABLE) if self._holds:
                self._hold(waiter, outcome)
            case _:
                self._settle(waiter, outcome)
                if sent.woken_for is None and not self._doubtful and not self._stirred:
                    return  # nothing has changed for the others
        self._wake()

    def _settle(self, waiter: Waiter, outcome: Granted | Refusal) -> None:
        match outcome:
            case Refusal():
                self.answered["refused"] += 1
            case Granted(jobs=()):
                self.answered["empty"] += 1
            case Granted():
                self.answered["granted"] += 1
        waiter.reply.settle(outcome)

    def _landed(self, line: QueueLine, waiter: Waiter) -> None:
        self._woken[line] -= waiter.claim.limit
        if not self._woken[line]:
            del self._woken[line]
        self._stir(line)  # the job for which it was woken may be there still

    def _got_nothing(self, sent: Sent, outcome: Granted) -> None:
        waiter, line = sent.waiter, sent.woken_for
        told_all = sent.misses == self._misses and sent.matchings == self.matchings
        waiter.lines, waiter.labels = (*waiter.claim.lines, *outcome.group), outcome.labels
        if told_all and not outcome.idle:
            shut = {each.type for each in outcome.rooms if not each.room}
            self._note_what_was_there(sent, outcome.withheld_lines, shut)
            if line is not None and line not in outcome.withheld_lines:
                self._polite.add(line)
        if waiter.reply.abandoned:
            return
        if outcome.repeated or self._is_final(waiter) or self._is_repeated(waiter):
            self._settle(waiter, outcome)
        elif not told_all:
            self._doubtful.append(waiter)
        elif outcome.idle:
            # It drains, or is in quarantine: it waits its time out where no job wakes it, lest it ask again at once.
            self._wait(waiter)
            if outcome.again is not None and (at := trio.current_time() + outcome.again) < waiter.deadline:
                heapq.heappush(self._trials, (at, waiter.arrival, waiter))
        else:
            self._park(sent, outcome.withheld_lines)

    def _note_what_was_there(self, sent: Sent, withheld: tuple[QueueLine, ...], shut: set[str]) -> None:
        """Nothing: so of these lines there are at most as many jobs as were announced since. Of what is `withheld`
        there are some, for others; of types that are `shut` it was not looked for any."""
        if len(self._most) > MOST_BOUNDS + len(self._queues):
            # Lines that no claim waits for; each costs one claim to find out again.
            self._most = {line: most for line, most in self._most.items() if line in self._queues}
            self._polite &= self._queues.keys()
        for line in sent.waiter.lines:
            if line in withheld or line.type in shut:
                continue
            if line in sent.announced:
                missed = self._announced[line] - sent.announced[line]
            else:  # by its worker's labels it is for this line, too, which was not known: of all lines is the most
                missed = self.announced_in_all - sent.announced_in_all
            self._most[line] = min(self._most.get(line, missed), missed)

    async def _send_more(self) -> None:
        """One waiter for each job that can be ready."""
        stirred, self._stirred = self._stirred, set()
        for line in sorted(stirred):  # in an order that does not depend on how words are hashed
            while self._to_be_woken(line):
                waiter = self._queues[line].peekitem(0)[1]
                self._leave(waiter)
                if not waiter.reply.abandoned:
                    await self._send(waiter, line)

    def _to_be_woken(self, line: QueueLine) -> bool:
        """Whether a claim waits for a job of this line that may be there, and for which no waiter was woken."""
        if line in self._held_back:
            return False
        if line not in self._queues:
            return False
        room = self._gates.room(line.type)
        if room is None:
            return self._woken[line] < self._most.get(line, 1)
        return self._woken[line] < min(self._most.get(line, room), room)

    # --- time

    async def _end_waits(self) -> None:
        while self._waiting and self._is_final(waiter := self._waiting.peekitem(0)[1]):
            self._leave(waiter)
            if waiter.reply.abandoned:
                continue
            if waiter.repeat is not None or waiter.claim.good_for < waiter.claim.wait:
                await self._send(waiter)  # once more, for the record; or since its credential ends now
            else:
                self._settle(waiter, Granted())

    def _begin_trials(self) -> None:
        """Workers in quarantine that wait ask again, when they may have a job as a trial."""
        while self._trials and self._trials[0][0] <= trio.current_time():
            _, _, waiter = heapq.heappop(self._trials)
            if (waiter.deadline, waiter.arrival) in self._waiting:
                self._ask_again([waiter])

    def _wake_in(self, seconds: float, job_id: int, until: int) -> None:
        heapq.heappush(self._timers, (trio.current_time() + seconds, job_id, until))

    async def _wake_jobs(self) -> None:
        due: list[Due] = []
        while self._timers and self._timers[0][0] <= trio.current_time() and len(due) < LARGEST_WAKE:
            _, job_id, until = heapq.heappop(self._timers)
            due.append(Due(job_id, until))
        if due:
            woken = Callback[SomeChanged](lambda outcome: self._jobs_woken(due, outcome))
            await self._writer.put(Envelope(WakeJobs(tuple(due)), woken))

    def _jobs_woken(self, due: list[Due], outcome: SomeChanged | Refusal | Exception) -> None:
        if isinstance(outcome, SomeChanged):
            return
        for timer in due:
            self._wake_in(TRY_AGAIN_SECONDS, timer.job_id, timer.until)
        self.mailbox.nudge()

    def _times_in(self, seconds: float) -> None:
        """One time for all jobs that wait for theirs, however many: the writer finds them by it."""
        self._times_at = min(self._times_at, trio.current_time() + min(seconds, LOOK_AGAIN_SECONDS))

    async def _heed_times(self) -> None:
        self._times_at = math.inf
        await self._writer.put(Envelope(HeedTimes(LARGEST_WAKE), Callback[TimesHeeded](self._times_heeded)))

    def _times_heeded(self, outcome: TimesHeeded | Refusal | Exception) -> None:
        if not isinstance(outcome, TimesHeeded):
            self._times_in(TRY_AGAIN_SECONDS)
        elif outcome.next_in is not None:
            # One whose time has come and that could not be changed is tried again, but not without a pause.
            done = outcome.jobs + outcome.expired
            self._times_in(outcome.next_in if done or outcome.next_in else TRY_AGAIN_SECONDS)
        self.mailbox.nudge()


def given_back(claim: Claim | Complete, repeat: Repeatable | None, granted: Granted) -> list[Release]:
    """The releases of jobs whose claimant has gone away. None for a claimant with a key: it comes and asks again."""
    if repeat is not None or (isinstance(claim, Claim) and claim.claim_key is not None):
        return []
    why = "the client went away before the answer"
    gone = ReleaseCause.UNDELIVERED
    return [Release(claim.caller, claim.worker_id, job.id, job.lease, why, gone) for job in granted.jobs]
