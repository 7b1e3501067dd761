"""The log as every server follows it: all of it, in its order, soon after each commit, over lost connections."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import msgspec
import pytest

from blobforge.events import JobProgress, JobReady, LeaseRenewed
from blobforge.store.errors import HistoryForked, StoreUnavailable
from blobforge.store.postgres import connection
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.database import migrations
from blobforge.store.postgres.entries import encode
from blobforge.store.postgres.follower import PostgresFollower
from tests.fixtures.postgres import Cluster
from tests.store.postgres.making import new_database, terminate

PROGRESS = JobProgress(1, "pdf", "running", "w", msgspec.Raw(b'{"page": 3, "text": "\\u0000"}'))


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    name = new_database(postgres)
    yield name
    postgres.drop(name)


@pytest.fixture
def turns(postgres: Cluster, database: str) -> Iterator[WriterTurns]:
    opened = WriterTurns(postgres.url(database), "one", schema=len(migrations()))
    yield opened
    opened.close()


@pytest.fixture
def follower(postgres: Cluster, database: str) -> Iterator[PostgresFollower]:
    opened = PostgresFollower(postgres.url(database))
    yield opened
    opened.close()


def commit(turns: WriterTurns, told: str = "") -> None:
    turns.begin(1000)
    turns.commit(told)


def pipes() -> set[str]:
    """Those that this process has open."""
    found: set[str] = set()
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # it has been closed since
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {each for each in found if each.startswith("pipe:")}


@pytest.mark.parametrize("waiting", [True, False])
def test_what_is_open_is_given_back_by_the_last_that_uses_it(
    postgres: Cluster, database: str, *, waiting: bool
) -> None:
    before = pipes()
    opened = PostgresFollower(postgres.url(database))
    assert opened.wait(0), "it listens from now on"
    assert pipes() - before
    thread = threading.Thread(target=opened.wait, args=(60,))
    if waiting:
        thread.start()
    opened.close()
    if waiting:
        thread.join(30)
        assert not thread.is_alive(), "it was woken"
    assert not pipes() - before
    assert not opened.wait(60)
    opened.wake()
    opened.close()


def test_what_was_told_is_read_as_it_was(turns: WriterTurns, follower: PostgresFollower) -> None:
    assert follower.read(0, 10) == []
    commit(turns, encode([PROGRESS], [JobReady("pdf", 1, 3), LeaseRenewed(1, 2, 3)]))
    commit(turns)
    (first, second) = follower.read(0, 10)
    assert (first.n, first.server, first.at) == (1, "one", 1000)
    assert (first.events, first.facts) == ([PROGRESS], [JobReady("pdf", 1, 3), LeaseRenewed(1, 2, 3)])
    assert (second.n, second.events, second.facts, second.known) == (2, [], [], True)
    assert follower.read(2, 10) == []
    assert [entry.n for entry in follower.read(0, 1)] == [1]
    assert follower.latest() == 2


@pytest.mark.parametrize(
    "told",
    [
        '[[], [["Invented", {}]]]',
        '[[["JobReady", {}]], []]',
        '[[], [["JobReady", {"job": 1}]]]',
        '[[], ["JobReady"]]',
    ],
)
def test_what_is_of_a_newer_release_is_not_taken_for_nothing(
    turns: WriterTurns, follower: PostgresFollower, told: str
) -> None:
    commit(turns, told)
    (entry,) = follower.read(0, 10)
    assert not entry.known


def test_a_commit_wakes(turns: WriterTurns, follower: PostgresFollower) -> None:
    follower.wait(60)  # it ends at once: nothing is known of what was before
    committing = threading.Timer(0.1, commit, (turns,))
    committing.start()
    began = time.monotonic()
    follower.wait(60)
    assert time.monotonic() - began < 30
    assert [entry.n for entry in follower.read(0, 10)] == [1]
    committing.join()
    waking = threading.Timer(0.1, follower.wake)
    waking.start()
    follower.wait(60)
    waking.join()
    began = time.monotonic()
    follower.wait(0.05)  # neither is told twice
    assert time.monotonic() - began >= 0.04


def test_what_a_server_has_written_itself_does_not_wake_it(
    postgres: Cluster, database: str, turns: WriterTurns
) -> None:
    with closing(PostgresFollower(postgres.url(database), turns.server)) as follower:
        assert follower.wait(60)  # nothing is known of what was before
        commit(turns)
        assert not follower.wait(0.3)
        with closing(WriterTurns(postgres.url(database), "other", schema=1)) as other:
            commit(other)
        assert follower.wait(60)


def test_it_goes_on_after_its_connections_were_lost(
    postgres: Cluster, database: str, turns: WriterTurns, follower: PostgresFollower
) -> None:
    follower.wait(60)
    commit(turns)
    assert len(follower.read(0, 10)) == 1
    terminate(postgres, database)
    follower.wait(60)  # it hears of that
    with pytest.raises(StoreUnavailable):
        follower.read(1, 10)
    with pytest.raises(StoreUnavailable):
        commit(turns)
    turns.rollback()
    commit(turns)
    assert [entry.n for entry in follower.read(1, 10)] == [2]


@pytest.mark.parametrize("beyond", [False, True])
def test_a_fork_is_noticed(
    postgres: Cluster, database: str, turns: WriterTurns, follower: PostgresFollower, beyond: bool
) -> None:
    for _ in range(3):
        commit(turns)
    assert len(follower.read(0, 10)) == 3
    postgres.execute("DELETE FROM log WHERE n = 3", database=database)
    if beyond:
        postgres.execute(
            "INSERT INTO log SELECT n + 1, server, 'x', at, told FROM log WHERE n = 2", database=database
        )
        postgres.execute(
            "INSERT INTO log SELECT n + 2, server, 'x', at, told FROM log WHERE n = 2", database=database
        )
    with pytest.raises(HistoryForked):
        follower.read(3, 10)
    assert len(follower.read(2, 10)) == 2 * beyond


def test_the_log_is_pruned_but_for_its_end(
    postgres: Cluster, database: str, turns: WriterTurns, follower: PostgresFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "KEPT", 20)
    monkeypatch.setattr(connection, "MOST_KEPT", 50)
    for _ in range(199):
        commit(turns)
    assert len(follower.read(0, 300)) == 100 + 49  # all are of the last two minutes
    turns.begin(1_000_000)
    turns.commit("")
    assert [entry.n for entry in follower.read(0, 300)] == list(range(181, 201))


def test_a_fork_is_noticed_by_one_that_was_told_of_the_lost_turns_by_its_writer(
    turns: WriterTurns, follower: PostgresFollower, postgres: Cluster, database: str
) -> None:
    for _ in range(3):
        commit(turns)
    assert len(follower.read(0, 1)) == 1
    assert follower.read(3, 10) == []  # turns 2 and 3 were told of otherwise
    postgres.execute("DELETE FROM log WHERE n = 3; UPDATE turn SET n = 2", database=database)
    with pytest.raises(HistoryForked):
        follower.read(3, 10)


def test_so_it_is_where_it_has_read_nothing_at_all(
    turns: WriterTurns, follower: PostgresFollower, postgres: Cluster, database: str
) -> None:
    commit(turns)
    commit(turns)
    postgres.execute("DELETE FROM log; UPDATE turn SET n = 0", database=database)
    with pytest.raises(HistoryForked):
        follower.read(2, 10)


def test_numbers_that_were_given_again_are_noticed(
    turns: WriterTurns, follower: PostgresFollower, postgres: Cluster, database: str
) -> None:
    commit(turns)
    commit(turns)
    assert follower.read(2, 10) == []
    postgres.execute("UPDATE log SET nonce = 'another' WHERE n = 2", database=database)
    with pytest.raises(HistoryForked):
        follower.read(2, 10)
