"""The rules of canaries and of ageing find what they are there to find: made-up commits, each wrong in one way, or
just right."""

from __future__ import annotations

from typing import Any

import pytest

from blobforge.canary import type_for
from tests.simulation.canaries import NEW, OLD, CanaryRules
from tests.simulation.clock import WallClock
from tests.simulation.history import Ask, History
from tests.simulation.kinds import TypeSet
from tests.simulation.oracle import Attempt, Job, Limits, Look, Oracle, Worker

LIMITS = Limits(30.0, 60.0, 8.0, 20.0, 2, 1)
CANARY = (1, '["pdf"]', NEW, 1, None, None)


def job(id_: int, type_: str = "pdf", status: str = "pending", priority: int = 3, **more: Any) -> Job:
    fields = dict.fromkeys(("worker", "lease", "beat", "not_before", "output", "avoid"))
    numbers = dict.fromkeys(("attempt", "attempts", "losses", "releases"), 0)
    known = {"id": id_, "type": type_, "status": status, "priority": priority, "source": "s", "max_attempts": 3}
    return Job(**(known | fields | numbers | more))


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands still."""
    monkeypatch.setattr("trio.current_time", lambda: 1000.0)


class Tables:
    """In place of a database: what a probe would read."""

    def __init__(self) -> None:
        self.canaries = [CANARY]
        self.pairs: list[Any] = [(2, 1, 1)]
        self.counted: list[Any] = []

    def figures(self) -> dict[str, list[Any]]:
        return {"happenings": self.counted}

    def rows(self, table: str, *columns: str, **_: Any) -> list[Any]:
        match table:
            case "canaries":
                return self.canaries
            case "canary_jobs":
                return self.pairs
            case _:
                return []


class Trying:
    """A canary of one document, which was just begun. What becomes of its comparison, job 2, the tests say."""

    def __init__(self) -> None:
        self.tables = Tables()
        self.history = History()
        self.rules = CanaryRules(self.history)
        self.looks = Look(
            {1: job(1, status="completed", attempt=1)}, {}, {"w": self.worker(NEW), "o": self.worker(OLD)}
        )
        self.tables.canaries = []
        self.commit(self.looks)
        self.tables.canaries = [CANARY]
        self.commit(self.changed(2, type_for("pdf", 1)))

    @staticmethod
    def worker(converter: str) -> Worker:
        return Worker("w", "pdf", "online", True, converter=converter)

    def changed(self, id_: int, type_: str, attempts: dict[Any, Attempt] | None = None, **more: Any) -> Look:
        jobs = {**self.looks.jobs, id_: job(id_, type_, **more)}
        return Look(jobs, self.looks.attempts if attempts is None else attempts, self.looks.workers)

    def commit(self, look: Look) -> None:
        was, self.looks = self.looks, look
        self.rules.committed(self.tables, was, look)  # type: ignore[arg-type]

    def given(self, worker: str) -> None:
        attempts = {(2, 1): Attempt(2, 1, worker, "lease", None, None)}
        self.commit(self.changed(2, type_for("pdf", 1), attempts, status="running", attempt=1, worker=worker))

    @property
    def found(self) -> str:
        return self.history.found[0] if self.history.found else ""


def test_a_comparison_that_is_as_it_should_be() -> None:
    trying = Trying()
    trying.given("w")
    trying.commit(trying.changed(2, type_for("pdf", 1), status="completed", attempt=1))
    trying.tables.canaries = [(*CANARY[:4], 5, None)]
    trying.commit(trying.looks)
    assert trying.found == ""
    assert trying.rules.open == []


def test_one_on_a_worker_of_another_converter() -> None:
    trying = Trying()
    trying.given("o")
    assert "began on o" in trying.found


def test_one_that_is_counted() -> None:
    trying = Trying()
    trying.tables.counted = [("pdf", 1)]
    trying.given("w")
    assert "change nothing of ordinary jobs" in trying.found


def test_figures_that_an_ordinary_job_has_changed() -> None:
    trying = Trying()
    trying.tables.counted = [("pdf", 1)]
    trying.commit(trying.changed(1, "pdf", status="completed", attempt=2))
    assert trying.found == ""


@pytest.mark.parametrize(
    ("pairs", "original"),
    [
        ([], {}),
        ([(2, 1, 1), (3, 1, 1)], {}),
        ([(2, 1, 7)], {}),
        ([(2, 1, 1)], {"status": "dead"}),
        ([(2, 1, 1)], {"source": "another"}),
    ],
)
def test_a_canary_that_is_not_what_it_says(pairs: list[Any], original: dict[str, Any]) -> None:
    trying = Trying()
    assert trying.found == ""
    trying.tables.pairs = pairs
    trying.tables.canaries = [CANARY, (2, *CANARY[1:])]
    trying.looks = trying.changed(1, "pdf", **({"status": "completed", "attempt": 1} | original))
    jobs = {1: trying.looks.jobs[1], 2: job(2, type_for("pdf", 2))}
    trying.commit(Look(jobs, {}, trying.looks.workers))
    assert "once more" in trying.found


def test_one_that_is_gone_or_over_too_early_or_stopped_by_nobody() -> None:
    gone = Trying()
    gone.tables.canaries = []
    gone.commit(gone.looks)
    assert "not lost" in gone.found
    early = Trying()
    early.tables.canaries = [(*CANARY[:4], 5, None)]
    early.commit(early.looks)
    assert "jobs [2] have not ended" in early.found
    stopped = Trying()
    stopped.tables.canaries = [(*CANARY[:4], 5, 5)]
    stopped.commit(stopped.changed(2, type_for("pdf", 1), status="cancelled"))
    assert "nobody has stopped canary 1" in stopped.found


def test_one_that_was_stopped() -> None:
    trying = Trying()
    trying.history.ask(Ask("stop canary", 1, {}, 0.0))
    trying.tables.canaries = [(*CANARY[:4], 5, 5)]
    trying.commit(trying.changed(2, type_for("pdf", 1), status="cancelled"))
    assert trying.found == ""
    trying.given("w")
    assert "is over" in trying.found


# --- ageing


@pytest.mark.parametrize(
    ("waited", "ready_for", "found"),
    [(80.0, 80.0, ""), (79.0, 80.0, "before its time"), (80.0, 79.0, "before its time"), (300.0, 300.0, "")],
)
def test_what_is_urgent(waited: float, ready_for: float, found: str) -> None:
    """`waited` by the row's own times (s), `ready_for` by what was seen."""
    oracle = Oracle(History(), LIMITS, WallClock())
    was = job(1, updated=1_000_000)
    now = job(1, priority=1, updated=1_000_000 + round(waited * 1000))
    set_ = {"pdf": TypeSet(urgent_after=80_000)}
    oracle.was, oracle.now = Look({1: was}, {}, {}, set_), Look({1: now}, {}, {}, set_)
    oracle.since[1], oracle.changed_at[1] = (1000.0 - ready_for, 0), 1000.0 - ready_for
    oracle._job(was, now)
    assert found in (oracle._history.found or [""])[0]
    assert bool(found) == bool(oracle._history.found)
