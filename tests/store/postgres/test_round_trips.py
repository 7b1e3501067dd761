"""A group commit is two round trips, whatever is in it: each waits for the network, with the turn in its hands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.messages import (
    Claim,
    Complete,
    Fail,
    Granted,
    Heartbeat,
    JobBeat,
    ObjectSeen,
    Register,
    Release,
    Seen,
    Submitted,
)
from blobforge.job import Job
from tests.fixtures.on_postgres import on_postgres
from tests.store.making import ADMIN, Book, submission

SIZES = (1, 64, 500)
THERE = ObjectSeen(Seen.VERIFIED, size=1)


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    opened = Book(on_postgres(tmp_path))
    opened.register("w", "other")
    opened.do(submission("first"))
    (job,) = opened.do(Claim(ADMIN, "w", ("pdf",))).jobs  # the id of the installation is read once
    opened.do(complete(job))
    yield opened
    opened.close()


def cost(book: Book, *messages: Any) -> tuple[int, int, Any]:
    """The round trips and the statements of a transaction, and the answers."""
    turns = book.database.engine.turns  # type: ignore[attr-defined]
    trips, statements = turns.round_trips, turns.statements
    answers = book.do(*messages)
    return turns.round_trips - trips, turns.statements - statements, answers


def complete(job: Job, **more: Any) -> Complete:
    return Complete(ADMIN, "w", job.id, lease=job.lease, output=THERE, **more)


def ready(book: Book, n: int) -> None:
    book.do(*(submission((n, number, book.now)) for number in range(n)))


def claimed(book: Book, n: int) -> list[Job]:
    ready(book, n)
    return [job for _ in range(-(-n // 100)) for job in book.do(Claim(ADMIN, "w", ("pdf",), min(n, 100))).jobs]


def claims(book: Book, n: int) -> list[Any]:
    ready(book, n)
    return [Claim(ADMIN, "w", ("pdf",), claim_key=f"key {number}") for number in range(n)]


MESSAGES = {
    "submissions": lambda book, n: [submission((n, number)) for number in range(n)],
    "claims": claims,
    "completions": lambda book, n: [complete(job) for job in claimed(book, n)],
    "completions that claim the next": lambda book, n: [
        complete(job, claim_next=True) for job in claimed(book, 2 * n)[:n]
    ],
    "failures": lambda book, n: [Fail(ADMIN, "w", job.id, f"cause {job.id % 7}: bad") for job in claimed(book, n)],
    "releases": lambda book, n: [Release(ADMIN, "w", job.id) for job in claimed(book, n)],
    "heartbeats": lambda book, n: [Heartbeat(ADMIN, "w", (JobBeat(job.id, job.lease),)) for job in claimed(book, n)],
    "workers": lambda book, n: [Register(ADMIN, f"w{number}", "pdf") for number in range(n)],
}


@pytest.mark.parametrize("what", MESSAGES)
def test_a_group_commit_is_two_round_trips_whatever_its_size(book: Book, what: str) -> None:
    most = 0
    for size in SIZES:
        messages = MESSAGES[what](book, size)
        assert len(messages) == size
        trips, statements, _ = cost(book, *messages)
        # A worker that fails so many may stand out: it is asked which others are there.
        assert trips == 2 + (what == "failures" and size > 1)
        most = most or statements + 4
        assert statements <= most  # those that are prepared for the first time are not counted
    book.counts_are_right()


def test_all_at_once_is_two_round_trips(book: Book) -> None:
    first = claimed(book, 300)
    messages = [submission(("all", number)) for number in range(50)]
    messages += [complete(job, claim_next=True) for job in first[:100]]
    messages += [Fail(ADMIN, "w", job.id, "bad") for job in first[100:150]]
    messages += [Heartbeat(ADMIN, "w", (JobBeat(job.id, job.lease),)) for job in first[150:200]]
    messages += [Claim(ADMIN, "w", ("pdf",), claim_key=str(job.id)) for job in first[200:250]]
    trips, statements, answers = cost(book, *messages)
    assert trips == 3, "the worker that fails so many may stand out: it is asked which others are there"
    assert statements < 40
    assert isinstance(answers[0], Submitted)
    assert isinstance(answers[-1], Granted)
    book.counts_are_right()


def test_a_claim_that_finds_nothing_writes_nothing(book: Book) -> None:
    turns = book.database.engine.turns  # type: ignore[attr-defined]
    before = turns.turn
    trips, _, answer = cost(book, Claim(ADMIN, "w", ("pdf",)))
    assert answer == Granted()
    assert trips == 2  # the turn is given back
    ready(book, 1)
    assert turns.turn == before + 1
