"""The few sets of requirements that jobs have: their lanes, how many there may be, and what claims over many cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.effects.transaction import Rules
from actors.messages import Claim, DeleteJob, Fail, Granted, Register, SetRequirements, Submitted
from blobforge.job import RetryPolicy
from blobforge.refusals import Refusal
from blobforge.store.sql import sql
from tests.fixtures.engines import ENGINES
from tests.store.making import ADMIN, Book, submission
from tests.store.sqlite.test_statements import counted

SETS = 200


def sets_of(book: Book) -> set[tuple[object, ...]]:
    return set(book.probe.rows("requirement_sets", "number", "type", "requires"))


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_set_that_no_job_has_makes_room_for_another(tmp_path: Path, engine: str) -> None:
    rules = Rules(RetryPolicy(jitter=0), max_requirement_sets=2)
    book = Book(ENGINES[engine](tmp_path / "x.db"), rules=rules)
    book.do(submission(1, requires='["a"]'), submission(2, requires='["b"]'), submission(3, requires='["a"]'))
    assert sets_of(book) == {(1, "pdf", '["a"]'), (2, "pdf", '["b"]')}
    refused = book.do(submission(4, requires='["c"]'))
    assert isinstance(refused, Refusal)
    assert (refused.field, "2 different sets" in refused.detail) == ("requires", True)
    assert book.do(submission(4, group="a")).field == "group", "no requirement was said"
    assert isinstance(book.do(SetRequirements(1, '["c"]')), Refusal)
    assert isinstance(book.do(submission(5, requires='["b"]')), Submitted)
    book.do(SetRequirements(1, None), DeleteJob(3))
    assert isinstance(book.do(submission(4, requires='["c"]', options='{"dpi":1}')), Submitted)
    assert sets_of(book) == {(1, "pdf", '["c"]'), (2, "pdf", '["b"]')}
    book.do(Register(ADMIN, "w", "pdf", labels='["a","c"]'))
    granted = book.do(Claim(ADMIN, "w", ("pdf",), 9, accepts=("options",)))
    assert [job.id for job in granted.jobs] == [1, 5]
    assert book.database.broken() == []
    book.close()


def test_it_is_looked_once_for_one_that_no_job_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one transaction, unless a job has left its set since."""
    book = Book(tmp_path / "x.db", rules=Rules(RetryPolicy(jitter=0), max_requirement_sets=1))
    book.do(submission(1, requires='["a"]'))
    looks = 0
    rows = book.store._do.rows  # type: ignore[attr-defined]

    def counting(statement: str, *values: object) -> object:
        nonlocal looks
        looks += statement == sql.UNUSED_REQUIREMENT_SETS
        return rows(statement, *values)

    monkeypatch.setattr(book.store._do, "rows", counting)  # type: ignore[attr-defined]
    refused = book.do(*(submission(number, requires='["b"]') for number in range(2, 9)))
    assert [type(each) for each in refused] == [Refusal] * 7
    assert looks == 1
    *_, made = book.do(submission(2, requires='["b"]'), DeleteJob(1), submission(2, requires='["b"]'))
    assert (type(made), looks) == (Submitted, 3)
    book.close()


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_many_lanes_are_one_queue(tmp_path: Path, engine: str) -> None:
    """In batches of which each goes on where the one before has ended; what is failed and kept comes in its place."""
    book = Book(ENGINES[engine](tmp_path / "x.db"))
    book.do(*(Register(ADMIN, name, "pdf", labels='{"memory_gib":1000}') for name in ("w", "x")))
    book.do(*(
        submission((number, each), requires=f'["memory_gib>={number}"]' if number else None, priority=1 + each % 5)
        for each in range(15)
        for number in range(40)
    ))  # fmt: skip
    order = [row[0] for row in book.probe.rows("jobs", "id", order="priority, id")]
    given: list[int] = []
    for limit in (1, 2, 64, 7, 500, 100):
        given += [job.id for job in book.do(Claim(ADMIN, "w", ("pdf",), limit)).jobs]
    assert given == order
    book.do(*(Fail(ADMIN, "w", job_id, "no") for job_id in order[:3]))
    assert all(job[0] is not None for job in book.probe.rows("jobs", "not_before", id=order[0]))
    book.close()


def test_claims_over_many_lanes_are_a_handful_of_statements(tmp_path: Path) -> None:
    book = Book(tmp_path / "x.db")
    book.do(*(Register(ADMIN, f"w{number}", "pdf", labels='{"memory_gib":1000}') for number in range(64)))
    book.do(*(submission(number, requires=f'["memory_gib>={number % SETS}"]') for number in range(2 * SETS)))
    book.now += 10_000
    with counted(book) as said:
        answers = book.do(*(Claim(ADMIN, f"w{number}", ("pdf",)) for number in range(64)))
    assert [each.jobs[0].id for each in answers] == list(range(1, 65))
    assert len(said) <= 11, said  # one more than without
    book.close()


def test_they_are_one_round_trip_more_once_on_postgres(tmp_path: Path) -> None:
    """The labels of workers are remembered, so that their lanes are read together with the turn."""
    book = Book(ENGINES["postgres"](tmp_path / "x.db"))
    book.do(Register(ADMIN, "w", "pdf", labels='{"memory_gib":1000}'))
    book.do(*(submission(number, requires=f'["memory_gib>={number % SETS}"]') for number in range(2 * SETS)))
    turns = book.database.engine.turns  # type: ignore[attr-defined]
    trips = []
    for n in (1, 1, 1, 64):
        before = turns.round_trips
        answers = book.do(*(Claim(ADMIN, "w", ("pdf",)) for _ in range(n)))
        assert all(isinstance(each, Granted) and each.jobs for each in (answers if n > 1 else [answers]))
        trips.append(turns.round_trips - before)
    assert trips[2:] == [2, 2], trips
    book.close()
