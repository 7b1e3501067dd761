"""A connection is cut between any two bytes: each transaction is done or not, and its writer knows which."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count

import pytest

from blobforge.store.errors import OutcomeUnknown, StoreUnavailable
from blobforge.store.postgres import connection
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.database import migrations
from tests.fixtures.cable import Cable
from tests.fixtures.postgres import Cluster
from tests.store.postgres.making import new_database

SOAK = "SOAK" in os.environ
PLACES = 10_000 if SOAK else 25  # at most, in each direction, and the last ones, around the answer to the COMMIT
LAST = 20


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    name = new_database(postgres)
    yield name
    postgres.drop(name)


@pytest.fixture
def cable(postgres: Cluster) -> Iterator[Cable]:
    with closing(Cable(postgres.port)) as led:
        yield led


@pytest.fixture
def turns(postgres: Cluster, database: str, cable: Cable, monkeypatch: pytest.MonkeyPatch) -> Iterator[WriterTurns]:
    monkeypatch.setattr(connection, "RETRY_AFTER", 0.0)
    with closing(WriterTurns(postgres.url(database, port=cable.port), "one", schema=len(migrations()))) as opened:
        yield opened


def transaction(turns: WriterTurns, told: str) -> bool:
    """Whether it is committed."""
    try:
        turns.begin(1)
        turns.run("SELECT n, told FROM log ORDER BY n DESC LIMIT 3")
        turns.commit(told)
    except OutcomeUnknown:
        raise
    except StoreUnavailable:
        turns.rollback()
        return False
    return True


@pytest.mark.parametrize("direction", [0, 1], ids=["on the way there", "on the way back"])
@pytest.mark.parametrize("fresh", [False, True], ids=["prepared", "first"])
def test_wherever_it_is_cut_the_outcome_is_known(
    postgres: Cluster, database: str, turns: WriterTurns, cable: Cable, direction: int, fresh: bool
) -> None:
    numbers = count(1)

    def anew() -> None:
        assert transaction(turns, f"whole {next(numbers)}")
        if fresh:
            turns.close()

    anew()
    anew()
    before = cable.passed[direction]
    assert transaction(turns, "measured")
    size = cable.passed[direction] - before
    outcomes = {"measured": True}
    for place in sorted({*range(0, size, max(1, size // PLACES)), *range(size - LAST, size + 1)}):
        anew()
        told = f"cut {place}"
        cable.cut_after(direction, place)
        outcomes[told] = transaction(turns, told)
        cable.stay_whole()
    assert transaction(turns, "last")
    rows = postgres.execute("SELECT n, told FROM log ORDER BY n", database=database)
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    kept = [row[1] for row in rows]
    assert {told: kept.count(told) for told in outcomes} == {told: int(done) for told, done in outcomes.items()}
    assert not all(outcomes.values())
    assert sum(outcomes.values()) > 1  # it was found out


def test_a_black_hole_is_an_outage(
    postgres: Cluster, turns: WriterTurns, cable: Cable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ANSWER_WAIT", 0.2)
    monkeypatch.setattr(connection, "FINDING_OUT", 0.2)
    assert transaction(turns, "one")
    cable.swallows = True
    began = time.monotonic()
    assert not transaction(turns, "two")
    turns.rollback()
    cable.swallows = False
    assert transaction(turns, "three")
    turns.begin(1)
    turns.run("SELECT 1")
    cable.swallows = True
    with pytest.raises(OutcomeUnknown):
        turns.commit("four")
    assert time.monotonic() - began < 60
    turns.rollback()
    cable.swallows = False
    assert transaction(turns, "five")
