"""Fleets in simulated time: what `blobforge/quarantine.py` makes of bad documents and of bad machines.

Every machine works all the time, on documents that never end. A bad document fails on every machine; a bad machine
fails every document, from some hour on, at once or after as long as a conversion takes. The judgement sees what a
server sees, when it sees it.

python -m tests.simulation.fleet [WORKER-HOURS [SHARE OF BAD DOCUMENTS...]]

prints the rows of the table in docs/fleet.md, in some minutes.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import count, islice

import msgspec

from blobforge.quarantine import (
    LOOKED_AT,
    LOOKED_AT_OF_OTHERS,
    OTHERS_LOOKED_AT,
    EndedAttempt,
    Quarantine,
    after_trial,
    is_documents_fault,
    judge,
    quarantined,
    settled,
    suspicious,
)

JOB_MINUTES = 5.0  # at the mean; from half to one and a half of it
INSTANT_MINUTES = 0.05  # what a bad machine takes that fails at once
BACKOFF_MINUTES = 0.5
TRIES = 3
FLAKES = 0.005  # of all attempts on good machines fail, and succeed when they are tried again
BROKEN_AFTER_HOURS = 3.0
FLEETS = (5, 20, 50, 200)
BAD_DOCUMENTS = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3)
BAD_MACHINES = (0, 1, 2, 3)


class Document(msgspec.Struct, eq=False):
    number: int
    bad: bool
    tries: int = 0
    failed_by: dict[str, str] = {}  # the causes
    completed_by: str | None = None


class Attempt(msgspec.Struct, eq=False):
    document: Document
    cause: str | None  # None: completed


class Caught(msgspec.Struct, frozen=True):
    """A bad machine that was quarantined: after how many good documents that it had failed, of which so many had been
    completed elsewhere by then, and in how many minutes; `share` is the most that the others failed meanwhile."""

    cost: int
    contradicted: int
    minutes: float
    share: float


class Machine(msgspec.Struct, eq=False):
    name: str
    bad: bool
    instant: bool = False
    latest: deque[Attempt] = msgspec.field(default_factory=lambda: deque(maxlen=LOOKED_AT))
    quarantine: Quarantine | None = None
    failed: list[Document] = []  # since it is broken
    share: float = 0.0  # of failures that the others had, at the most, since then
    caught: Caught | None = None


class Outcome(msgspec.Struct):
    """What a fleet has come to. `alarms`: how often a good machine was quarantined; `returned`: how often one came
    back by itself; `away_minutes`: how long they were away; `missed`: bad machines that were never caught."""

    worker_hours: float = 0.0
    alarms: int = 0
    returned: int = 0
    away_minutes: float = 0.0
    caught: list[Caught] = []
    missed: int = 0


class Fleet:
    def __init__(self, seed: int, workers: int, bad_documents: float, bad_machines: int) -> None:
        self._dice = random.Random(f"{seed}/{workers}/{bad_documents}/{bad_machines}")
        self._bad_documents = bad_documents
        self._machines = [
            Machine(f"m{n}", bad=n < bad_machines, instant=self._dice.random() < 0.5) for n in range(workers)
        ]
        self._by_name = {machine.name: machine for machine in self._machines}
        self._numbers = count(1)
        self._order = count()
        self._waiting: list[tuple[float, int, Document]] = []  # for the end of a back-off
        self._events: list[tuple[float, int, Machine, Document | None]] = []
        self.outcome = Outcome()

    def run(self, hours: float) -> Outcome:
        end = hours * 60
        for machine in self._machines:
            self._at(self._dice.uniform(0, JOB_MINUTES), machine, None)
        now = 0.0
        while now < end:
            now, _, machine, document = heapq.heappop(self._events)
            if document is not None:
                self._ended(machine, document, now)
            self._start(machine, now)
        good = [machine for machine in self._machines if not machine.bad]
        self.outcome.worker_hours = hours * len(good)
        self.outcome.caught = [machine.caught for machine in self._machines if machine.caught is not None]
        self.outcome.missed = sum(machine.bad and machine.caught is None for machine in self._machines)
        return self.outcome

    def _at(self, minute: float, machine: Machine, document: Document | None) -> None:
        heapq.heappush(self._events, (minute, next(self._order), machine, document))

    def _is_broken(self, machine: Machine, now: float) -> bool:
        return machine.bad and now >= BROKEN_AFTER_HOURS * 60

    def _start(self, machine: Machine, now: float) -> None:
        held = machine.quarantine
        if held is not None:
            assert held.trial_at is not None
            if (trial_at := held.trial_at / 60_000) > now:
                self._at(trial_at, machine, None)
                return
        took = self._dice.uniform(0.5, 1.5) * JOB_MINUTES
        if machine.instant and self._is_broken(machine, now):
            took = INSTANT_MINUTES
        self._at(now + took, machine, self._next_document(machine, now))

    def _next_document(self, machine: Machine, now: float) -> Document:
        """One whose back-off is over and that this machine has not failed, else a new one."""
        passed_by = []
        found = None
        while self._waiting and self._waiting[0][0] <= now and len(passed_by) < 50:
            entry = heapq.heappop(self._waiting)
            if machine.name not in entry[2].failed_by:
                found = entry[2]
                break
            passed_by.append(entry)
        for entry in passed_by:
            heapq.heappush(self._waiting, entry)
        return found or Document(next(self._numbers), bad=self._dice.random() < self._bad_documents)

    def _ended(self, machine: Machine, document: Document, now: float) -> None:
        document.tries += 1
        broken = self._is_broken(machine, now)
        if broken or document.bad or self._dice.random() < FLAKES:
            # A broken machine fails all in one way; half of them fail as bad documents do.
            own = broken and int(machine.name[1:]) % 2 == 0
            self._failed(machine, document, "OSError: disk full" if own else "ValueError: no such page", now, broken)
            return
        document.completed_by = machine.name
        machine.latest.appendleft(Attempt(document, None))
        self._tried(machine, passed=True, now=now)
        for name in document.failed_by:
            self._judge(self._by_name[name], now)

    def _failed(self, machine: Machine, document: Document, cause: str, now: float, broken: bool) -> None:
        machine.latest.appendleft(Attempt(document, cause))
        document.failed_by[machine.name] = cause
        if broken:
            machine.failed.append(document)
        if document.tries < TRIES:
            heapq.heappush(self._waiting, (now + BACKOFF_MINUTES, next(self._order), document))
        self._tried(machine, passed=False, now=now)
        self._judge(machine, now)

    def _tried(self, machine: Machine, *, passed: bool, now: float) -> None:
        if machine.quarantine is None:
            return
        began = machine.quarantine.since / 60_000
        machine.quarantine = after_trial(machine.quarantine, passed=passed, now=round(now * 60_000))
        if machine.quarantine is None:
            machine.latest.clear()
            if not machine.bad:
                self.outcome.returned += 1
                self.outcome.away_minutes += now - began

    def _judge(self, machine: Machine, now: float) -> None:
        if machine.quarantine is not None:
            return
        latest = [self._seen(machine, each) for each in machine.latest]
        if not suspicious(latest):
            return
        others = self._others({name for each in latest for name in each.failed_by})
        if not suspicious([each for each in latest if not is_documents_fault(each, others)]):
            return
        number = int(machine.name[1:])
        beside = (self._machines[number + 1 :] + self._machines[:number])[:OTHERS_LOOKED_AT]
        others |= self._others({other.name for other in beside} - others.keys())
        if self._is_broken(machine, now):
            machine.share = max(machine.share, share_of(others.values()))
        held = sum(other.quarantine is not None for other in self._machines)
        finding = judge(latest, others, held=held)
        if finding is None:
            return
        machine.quarantine = quarantined(finding, now=round(now * 60_000))
        if not self._is_broken(machine, now):
            self.outcome.alarms += 1
        elif machine.caught is None:
            contradicted = sum(each.completed_by is not None for each in machine.failed)
            minutes = now - BROKEN_AFTER_HOURS * 60
            cost = sum(not each.bad for each in machine.failed)
            machine.caught = Caught(cost, contradicted, minutes, machine.share)

    def _others(self, names: Iterable[str]) -> dict[str, list[EndedAttempt]]:
        machines = [self._by_name[name] for name in names]
        return {
            each.name: [self._seen(each, it) for it in islice(each.latest, LOOKED_AT_OF_OTHERS)]
            for each in machines
            if not each.quarantine
        }

    def _seen(self, machine: Machine, attempt: Attempt) -> EndedAttempt:
        document = attempt.document
        if attempt.cause is None:
            return EndedAttempt(document.number)
        others = tuple(
            name for name, cause in document.failed_by.items() if name != machine.name and cause == attempt.cause
        )
        return EndedAttempt(document.number, attempt.cause, document.completed_by, others)


def share_of(others: Iterable[Sequence[EndedAttempt]]) -> float:
    """What the others failed, 0 to 1."""
    known = [each for latest in others for each in settled(latest)]
    return sum(each.failed for each in known) / len(known) if known else 0.0


def together(outcomes: Iterable[Outcome]) -> Outcome:
    whole = Outcome()
    for each in outcomes:
        whole.worker_hours += each.worker_hours
        whole.alarms += each.alarms
        whole.returned += each.returned
        whole.away_minutes += each.away_minutes
        whole.caught = whole.caught + each.caught
        whole.missed += each.missed
    return whole


def fleets(bad_documents: float, worker_hours: float, *, seed: int = 1, sizes: Iterable[int] = FLEETS) -> Outcome:
    """All sizes and numbers of bad machines, with so many worker-hours of good machines together, at least."""
    sizes = tuple(sizes)
    each = worker_hours / len(sizes) / len(BAD_MACHINES)
    outcomes = []
    for workers in sizes:
        for bad in BAD_MACHINES:
            # A fleet needs some hours before anything breaks, and some after; small ones get several lives.
            hours = max(2 * BROKEN_AFTER_HOURS, min(24.0, each / (workers - bad)))
            lives = max(1, round(each / (workers - bad) / hours))
            outcomes += [Fleet(seed + life, workers, bad_documents, bad).run(hours) for life in range(lives)]
    return together(outcomes)


def row(bad_documents: float, whole: Outcome) -> str:
    caught = whole.caught
    low = [each for each in caught if each.share <= 0.05]
    cells = [
        f"{bad_documents:.0%}".replace("%", " %"),
        f"{whole.worker_hours:,.0f}",
        f"{whole.alarms}",
        f"{whole.alarms / whole.worker_hours * 10_000:.2f}",
        f"{len(caught)} of {len(caught) + whole.missed}",
        f"{max(each.cost for each in low)}" if low else "",
        f"{max(each.cost for each in caught)}",
        f"{max(each.contradicted for each in caught)}",
        f"{sorted(each.minutes for each in caught)[len(caught) // 2]:.0f}",
        f"{max(each.minutes for each in caught):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main(arguments: list[str]) -> None:
    worker_hours = float(arguments[0]) if arguments else 15_000.0
    for bad_documents in [float(each) for each in arguments[1:]] or BAD_DOCUMENTS:
        print(row(bad_documents, fleets(bad_documents, worker_hours)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
