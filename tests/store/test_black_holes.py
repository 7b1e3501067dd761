"""Fleets on a store, in virtual time: sound workers, and machines that fail everything that they get, at once."""

from __future__ import annotations

import heapq
import random
from collections import Counter, defaultdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from actors.messages import Claim, Complete, Due, Fail, Register, WakeJobs
from blobforge.job import Job
from tests.fixtures.engines import in_memory
from tests.store.making import ADMIN, Book, submission

TOOK_MS, FAILS_IN_MS, ASKS_AGAIN_MS = 60_000, 3_000, 30_000
HOUR_MS = 3_600_000


class Fleet:
    """Machines that are no `holes`, or none any more `mended` ms after the start, convert all but `bad` documents."""

    def __init__(
        self, book: Book, sound: int, holes: int, documents: int, *, bad: int = 0, mended: int = 10**12
    ) -> None:
        self.book, self.dice = book, random.Random(f"{sound}/{holes}/{bad}")
        self.holes = {f"hole {n}" for n in range(holes)}
        self.mended = book.now + mended
        self.bad = set(self.dice.sample(range(1, documents + 1), bad))
        self.order, self.agenda = count(), list[tuple[int, int, str, Any]]()
        self.open = documents
        self.workers = [*sorted(self.holes), *(f"sound {n}" for n in range(sound))]
        book.do(*(Register(ADMIN, each, "pdf") for each in self.workers))
        book.do(*(submission(n) for n in range(documents)))
        for each in self.workers:
            self.at(book.now, "asks", each)

    def at(self, when: int, what: str, about: Any) -> None:
        heapq.heappush(self.agenda, (when, next(self.order), what, about))

    def run(self, ms: int) -> None:
        until = self.book.now + ms
        while self.agenda and self.agenda[0][0] < until:
            when, _, what, about = heapq.heappop(self.agenda)
            self.book.now = max(self.book.now, when - 1000)  # a second passes with each
            if what == "asks":
                self.ask(about)
            elif what == "ends":
                self.end(*about)
            else:
                self.book.do(WakeJobs((Due(*about),)))
                self.wait_for(about[0])

    def is_hole(self, worker: str) -> bool:
        return worker in self.holes and self.book.now < self.mended

    def ask(self, worker: str) -> None:
        (job,) = self.book.do(Claim(ADMIN, worker, ("pdf",))).jobs or (None,)
        if job is None:
            self.at(self.book.now + ASKS_AGAIN_MS, "asks", worker)
        else:
            took = FAILS_IN_MS if self.is_hole(worker) else round(TOOK_MS * self.dice.uniform(0.5, 1.5))
            self.at(self.book.now + took, "ends", (worker, job))

    def end(self, worker: str, job: Job) -> None:
        if self.is_hole(worker) or job.id in self.bad:
            error = "OSError: disk full" if self.is_hole(worker) else "ValueError: no such page"
            self.book.do(Fail(ADMIN, worker, job.id, error, lease=job.lease))
            self.wait_for(job.id)
        else:
            self.book.do(Complete(ADMIN, worker, job.id, lease=job.lease))
        self.at(self.book.now, "asks", worker)

    def wait_for(self, job_id: int) -> None:
        with self.book.store.transaction():
            job = self.book.store.job(job_id)
        if job is not None and job.waits_until is not None:
            self.at(job.waits_until, "due", (job.id, job.waits_until))

    # --- what has become of it

    def statuses(self) -> Counter[str]:
        return Counter(row[0] for row in self.book.probe.rows("jobs", "status"))

    def named(self, action: str = "worker.quarantined") -> set[str]:
        return {about for what, about in self.book.probe.rows("audit", "action", "subject") if what == action}

    def held(self) -> set[str]:
        return {name for name, held in self.book.probe.rows("workers", "id", "quarantine") if held is not None}

    def charges_are_what_was_not_given_back(self) -> None:
        """Each job is charged with its attempts but those that were given back, no more and no less."""
        charged: defaultdict[int, int] = defaultdict(int)
        for job_id, outcome, given_back in self.book.probe.rows("attempts", "job_id", "outcome", "given_back"):
            charged[job_id] += given_back is None
            assert outcome in (None, "completed", "failed")
        wrong = {
            job_id: (attempts, charged[job_id])
            for job_id, attempts, status in self.book.probe.rows("jobs", "id", "attempts", "status")
            if attempts != charged[job_id]
        }
        assert wrong == {}
        assert self.book.database.broken() == []


@pytest.fixture
def book(tmp_path: Path) -> Any:
    made = Book(in_memory(tmp_path))
    yield made
    made.counts_are_right()
    made.close()


def test_two_black_holes_among_ten_sound_workers(book: Book) -> None:
    """A thousand documents: all are completed, none is dead, and the two are named."""
    fleet = Fleet(book, 10, 2, 1000)
    fleet.run(3 * HOUR_MS)
    assert fleet.statuses() == {"completed": 1000}
    assert fleet.named() == fleet.held() == fleet.holes
    fleet.charges_are_what_was_not_given_back()
    back = [worker for worker, at in book.probe.rows("attempts", "worker_id", "given_back") if at is not None]
    assert set(back) == fleet.holes
    assert len(back) >= 8, "four documents each, at least"


def test_when_everything_breaks_at_once_half_of_the_machines_stay_at_least(book: Book) -> None:
    """A share that is full, a release that is broken: the first ones look like bad machines, the others not."""
    fleet = Fleet(book, 12, 0, 400)
    fleet.run(12 * 60_000)
    assert fleet.statuses()["completed"] > 100
    fleet.holes = set(fleet.workers)
    fleet.run(8 * 60_000)
    assert len(fleet.named()) <= 6
    fleet.charges_are_what_was_not_given_back()


def test_what_a_quarantine_took_is_given_back_and_it_ends_when_the_machine_is_mended(book: Book) -> None:
    """Looked at every ten minutes, with documents that are bad wherever they are tried."""
    fleet = Fleet(book, 5, 2, 200, bad=20, mended=40 * 60_000)
    for _ in range(8):
        fleet.run(10 * 60_000)
        fleet.charges_are_what_was_not_given_back()
    assert fleet.statuses() == {"completed": 180, "dead": 20}
    assert fleet.named() == fleet.holes
    for hour in range(12):
        if not fleet.held():
            break
        book.do(*(submission((hour, n)) for n in range(20)))  # a few at a time: a trial is one of those that wait
        fleet.run(HOUR_MS)
    assert (fleet.held(), fleet.named("worker.readmitted")) == (set(), fleet.holes)
