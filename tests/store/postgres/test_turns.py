"""The turns of several servers, each on its connection to one PostgreSQL: one order, and known outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest

from blobforge.store.errors import ForkedInCommit, HistoryForked, StaleState, StoreUnavailable
from blobforge.store.opentransaction import Unwritable
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.database import migrations
from blobforge.store.postgres.follower import PostgresFollower
from tests.fixtures.postgres import Cluster
from tests.store.postgres.making import new_database, terminate

Server = Callable[[str], WriterTurns]


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    name = new_database(postgres)
    yield name
    postgres.drop(name)


@pytest.fixture
def server(postgres: Cluster, database: str) -> Iterator[Server]:
    opened = []

    def make(name: str) -> WriterTurns:
        opened.append(WriterTurns(postgres.url(database), name, schema=len(migrations())))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def log_of(postgres: Cluster, database: str) -> list[tuple[object, ...]]:
    return postgres.execute("SELECT n, server, at, told FROM log ORDER BY n", database=database)


def commits(turns: WriterTurns, clock: int, told: str = "") -> int:
    turns.begin(clock)
    turns.commit(told)
    return turns.turn


def test_turns_are_numbered_without_gaps_and_their_time_never_goes_back(
    postgres: Cluster, database: str, server: Server
) -> None:
    one, other = server("one"), server("other")
    assert commits(one, 1000, "a") == 1
    assert commits(other, 700, "b") == 2  # its clock is late
    other.begin(800)
    assert (other.n, other.at) == (3, 1000)
    other.rollback()
    assert commits(one, 1200, "c") == 3
    assert log_of(postgres, database) == [(1, "one", 1000, "a"), (2, "other", 1000, "b"), (3, "one", 1200, "c")]


def test_time_goes_on_where_a_clock_was_set_back(postgres: Cluster, database: str, server: Server) -> None:
    """So that what has been said since is told from what was said before."""
    one, other = server("one"), server("other")
    commits(one, 9000)
    commits(other, 100)
    commits(one, 200)
    assert [at for _, _, at, _ in log_of(postgres, database)] == [9000, 9001, 9002]


def test_a_transaction_is_two_round_trips(server: Server) -> None:
    turns = server("one")
    commits(turns, 1)
    before = turns.round_trips
    turns.begin(2)
    assert turns.run("SELECT $1::bigint", (7,)).rows == [(7,)]
    for _ in range(50):
        turns.queue("SELECT 1")
    turns.commit("")
    assert turns.round_trips - before == 2


def test_a_server_is_told_whether_others_wrote(server: Server) -> None:
    one, other = server("one"), server("other")
    told: list[int] = []
    one.on_news = lambda: told.append(one.turn)
    commits(one, 1)
    commits(one, 1)
    assert told == []
    assert not one.others_wrote
    commits(other, 1)
    one.begin(1)
    one.queue("SELECT 1", (), lambda _: told.append(-1))
    one.flush()
    assert told == [3, -1]  # before anything that was loaded along
    one.rollback()
    commits(one, 1)
    assert told == [3, -1]


def test_what_fails_ends_the_transaction_and_not_the_connection(
    postgres: Cluster, database: str, server: Server
) -> None:
    turns = server("one")
    turns.begin(1)
    turns.queue("INSERT INTO log (n, server, nonce, at, told) VALUES (99, 'x', 'y', 1, 'z')")
    turns.queue("SELECT 1 / (count(*) = 1)::int FROM log WHERE n = 98")
    with pytest.raises(Unwritable) as caught:
        turns.commit("")
    assert isinstance(caught.value.__cause__, StaleState)
    turns.rollback()
    turns.begin(1)
    with pytest.raises(Unwritable) as caught:
        turns.run("INSERT INTO turn (one) VALUES (1)")
    assert isinstance(caught.value.__cause__, psycopg.errors.IntegrityError)
    turns.rollback()
    assert commits(turns, 1) == 1
    assert len(log_of(postgres, database)) == 1


@pytest.mark.parametrize("when", ["before the load", "between the round trips"])
def test_a_connection_that_is_lost_is_an_outage_and_the_next_transaction_has_another(
    postgres: Cluster, database: str, server: Server, when: str
) -> None:
    turns = server("one")
    commits(turns, 1)
    turns.begin(1)
    if when == "between the round trips":
        turns.run("SELECT 1")
    terminate(postgres, database)
    with pytest.raises(StoreUnavailable, match="terminat"):
        turns.commit("")
    turns.rollback()
    assert commits(turns, 2) == 2
    assert len(log_of(postgres, database)) == 2


def test_an_outcome_is_found_out(postgres: Cluster, database: str, server: Server) -> None:
    """COMMIT reaches the database, and its answer never comes."""
    turns = server("one")
    commits(turns, 1)
    turns.begin(1)
    turns.run("SELECT 1")
    pipe = turns._pipe
    assert pipe is not None
    exchange = pipe._exchange

    def answered_in_vain(*given: object) -> object:
        exchange(*given)
        raise psycopg.OperationalError("the answer was lost")

    pipe._exchange = answered_in_vain
    turns.commit("whole")
    assert turns.turn == 2
    assert [row[3] for row in log_of(postgres, database)] == ["", "whole"]


def test_what_was_not_committed_is_known_not_to_be(postgres: Cluster, database: str, server: Server) -> None:
    """The connection is lost, and the transaction goes on for a while: the new incarnation waits for its end."""
    turns, other = server("one"), server("other")
    commits(turns, 1)
    turns.begin(1)
    turns.run("SELECT 1")
    pipe = turns._pipe
    assert pipe is not None
    held, pipe.close = pipe.close, lambda: None  # it stays open beyond our knowledge of it

    def lost(*_: object) -> object:
        raise psycopg.OperationalError("lost")

    pipe._exchange = lost
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="before the commit"):
        turns.commit("never")
    assert time.monotonic() - began > 1  # until it was thrown out of its transaction
    turns.rollback()
    assert commits(other, 1) == 2
    assert "never" not in [row[3] for row in log_of(postgres, database)]
    held()


def test_a_former_incarnation_does_nothing(postgres: Cluster, database: str, server: Server) -> None:
    former, new = server("one"), server("one")
    assert commits(former, 1) == 1
    assert commits(new, 1) == 2
    with pytest.raises(StoreUnavailable, match="incarnation"):
        commits(former, 1)
    former.rollback()
    assert len(log_of(postgres, database)) == 2


def test_a_fork_that_took_what_others_had_written_is_noticed_before_anything_is_written(
    postgres: Cluster, database: str, server: Server
) -> None:
    """A server has read what another one wrote. That is gone, and the other has gone on from before it."""
    turns, other = server("one"), server("other")
    commits(turns, 1)
    with closing(PostgresFollower(postgres.url(database), "one", known=turns.known)) as follower:
        commits(other, 1)
        assert [entry.n for entry in follower.read(1, 10)] == [2]
    postgres.execute("UPDATE log SET nonce = 'another' WHERE n = 2", database=database)
    terminate(postgres, database)
    with pytest.raises(StoreUnavailable, match="terminat"):
        commits(turns, 1)
    turns.rollback()
    with pytest.raises(HistoryForked, match="2 was known"):
        turns.begin(1)


def test_a_fork_of_history_is_noticed(postgres: Cluster, database: str, server: Server) -> None:
    turns = server("one")
    for _ in range(3):
        commits(turns, 1)
    postgres.execute("DELETE FROM log WHERE n = 3", database=database)
    postgres.execute("UPDATE turn SET n = 2", database=database)
    terminate(postgres, database)
    with pytest.raises(StoreUnavailable, match="terminat"):
        commits(turns, 1)
    turns.rollback()
    with pytest.raises(HistoryForked, match="ends with turn 2, and 3 was known"):
        turns.begin(1)
    turns.rollback()
    time.sleep(0.6)
    assert commits(turns, 1) == 3


def test_a_fork_has_one_number_whichever_part_of_the_server_meets_it_first(
    postgres: Cluster, database: str, server: Server
) -> None:
    turns = server("one")
    with closing(PostgresFollower(postgres.url(database), "one", known=turns.known)) as follower:
        for _ in range(3):
            commits(turns, 1)
        assert follower.read(3, 10) == []
        postgres.execute("DELETE FROM log WHERE n > 1; UPDATE turn SET n = 1", database=database)
        with pytest.raises(HistoryForked) as met:  # by the writer
            commits(turns, 1)
        turns.rollback()
        assert met.value.number == 1
        commits(turns, 1)
        with pytest.raises(HistoryForked) as met:
            follower.read(3, 10)
        assert met.value.number == 1
        assert follower.latest() == 2
        assert [entry.n for entry in follower.read(1, 10)] == [2]

        postgres.execute("DELETE FROM log WHERE n > 1; UPDATE turn SET n = 1", database=database)
        with pytest.raises(HistoryForked) as met:  # by the follower
            follower.read(2, 10)
        assert met.value.number == 2
        with pytest.raises(HistoryForked) as met:
            commits(turns, 1)
        turns.rollback()
        assert met.value.number == 2
        follower.latest()
        assert commits(turns, 1) == 2
        assert [entry.n for entry in follower.read(1, 10)] == [2]


def test_what_was_read_before_a_fork_is_not_looked_for_after_it(
    postgres: Cluster, database: str, server: Server
) -> None:
    """It was read while the writer met the fork."""
    turns = server("one")
    commits(turns, 1)
    known = turns.known
    before = known.forks
    assert known.lose(before) == 1
    known.learn(5, b"lost with it", before)
    assert known.entry is None
    with pytest.raises(HistoryForked):
        commits(turns, 1)
    turns.rollback()
    assert commits(turns, 1) == 2
    terminate(postgres, database)
    with pytest.raises(StoreUnavailable, match="terminat"):
        commits(turns, 1)
    turns.rollback()
    assert commits(turns, 1) == 3


def test_a_commit_of_which_a_fork_is_told_meanwhile_is_not_said_to_be_lost(
    postgres: Cluster, database: str, server: Server
) -> None:
    turns = server("one")
    commits(turns, 1)
    turns.begin(1)
    turns.run("SELECT 1")
    turns.known.lose(turns.known.forks)  # the follower has met one
    assert turns._pipe is not None
    turns._pipe.close()
    with pytest.raises(ForkedInCommit):
        turns.commit("it may be there")
    turns.rollback()
