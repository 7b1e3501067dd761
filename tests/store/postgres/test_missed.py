"""What other servers have told comes with a server's next turn: all that it does not know, and nothing in part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from blobforge.events import JobReady, JobRemoved
from blobforge.store.postgres.engine import PostgresEngine
from blobforge.store.writing import Store
from tests.fixtures.postgres import Cluster

NOW = 1_795_000_000_000


@pytest.fixture
def stores(postgres: Cluster) -> Iterator[tuple[Store, Store]]:
    name = postgres.database()
    opened = [PostgresEngine(postgres.url(name), server).open_store() for server in ("a", "b")]
    yield opened[0], opened[1]
    for store in opened:
        store.close()
    postgres.drop(name)


def tells(store: Store, job_id: int) -> int:
    with store.transaction(now=NOW):
        store.tell([JobRemoved(job_id, "pdf")], [JobReady("pdf", job_id, 3)])
    return store.turn


def test_what_came_with_a_turn_that_failed_comes_again_or_not_at_all(stores: tuple[Store, Store]) -> None:
    one, other = stores
    n = tells(other, 1)
    with suppress(ZeroDivisionError), one.transaction(now=NOW):
        assert one.now == NOW, "its turn has come"
        assert [entry.n for entry in one.missed] == [n]
        raise ZeroDivisionError
    tells(one, 2)
    assert [entry for entry in one.missed if not entry.events] == [], "it told something"


def test_the_first_that_another_writes_is_read_too_when_it_is_asked_for(stores: tuple[Store, Store]) -> None:
    """A server that was alone does not ask for what others wrote: it would have to ask about each credential."""
    one, other = stores
    for _ in range(2):
        tells(one, 1)
    n = tells(other, 2)
    with one.transaction(now=NOW):
        assert one.now == NOW, "its turn has come"
        assert [entry.n for entry in one.missed] == [n]
        assert [fact for entry in one.missed for fact in entry.facts] == [JobReady("pdf", 2, 3)]
