"""A history that goes on from elsewhere is noticed, and what it has cost is settled once, by whichever server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from blobforge.store.errors import HistoryForked, StoreUnavailable
from blobforge.store.postgres.connection import WriterTurns
from blobforge.store.postgres.database import migrations
from blobforge.store.postgres.follower import PostgresFollower
from blobforge.store.postgres.known import LastKnown
from tests.fixtures.postgres import Cluster
from tests.store.postgres.making import new_database, terminate


class Server:
    """Its writer, and its follower."""

    def __init__(self, url: str, name: str) -> None:
        known = LastKnown()
        self.turns = WriterTurns(url, name, schema=len(migrations()), known=known, clock=iter(range(10_000)).__next__)
        self.follower = PostgresFollower(url, name, known=known)
        self.last = 0

    def commits(self) -> int:
        self.turns.begin(1)
        self.turns.commit("")
        self.last = self.turns.turn
        return self.last

    def follows(self) -> None:
        for _ in range(2):  # the connection may be gone
            try:
                for entry in self.follower.read(self.last, 100):
                    self.last = entry.n
                return
            except HistoryForked:
                raise
            except StoreUnavailable:
                continue

    def loses(self, *, by: str = "writer") -> None:
        """It notices that, by one of its parts, and begins anew."""
        part = self.tries if by == "writer" else self.follows
        with pytest.raises(HistoryForked):
            part()
        self.last = self.follower.latest()

    def tries(self) -> None:
        """The connection may be gone, and the follower may have met a fork. Nothing of the transaction stays."""
        for _ in range(2):
            forks = self.turns.known.forks
            try:
                self.turns.begin(1)
                self.turns.take()
                return
            except HistoryForked as met:
                if met.number > forks:
                    raise
            except StoreUnavailable:
                continue
            finally:
                self.turns.rollback()

    def settles(self) -> bool:
        """Whether it has to."""
        self.tries()
        self.turns.begin(1)
        settled = self.turns.losses_settled
        if settled:
            self.turns.rollback()
            return False
        self.turns.settle_losses()
        self.turns.commit("")
        self.last = self.turns.turn
        return True

    def close(self) -> None:
        self.turns.close()
        self.follower.close()


class Servers:
    """Of one database, whose history can be set back."""

    def __init__(self, cluster: Cluster, database: str, opened: ExitStack) -> None:
        self._cluster, self._database, self._opened = cluster, database, opened

    def __call__(self, name: str) -> Server:
        server = Server(self._cluster.url(self._database), name)
        self._opened.callback(server.close)
        return server

    def forks(self, at: int) -> None:
        """Another copy takes the place of the database, which has nothing behind that turn."""
        self.execute(f"""
            DELETE FROM log WHERE n > {at};
            DELETE FROM settlements WHERE n > {at};
            UPDATE turn SET n = {at}, settled = coalesce((SELECT id FROM settlements ORDER BY n DESC LIMIT 1), '')""")
        terminate(self._cluster, self._database)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        return self._cluster.execute(statement, database=self._database)

    @property
    def settled(self) -> int:
        [(n,)] = self.execute("SELECT count(*) FROM settlements")
        assert isinstance(n, int)
        return n


@pytest.fixture
def servers(postgres: Cluster) -> Iterator[Servers]:
    name = new_database(postgres)
    with ExitStack() as opened:
        yield Servers(postgres, name, opened)
    postgres.drop(name)


@pytest.mark.parametrize("second", ["writer", "follower"])
def test_a_fork_that_several_have_met_is_settled_by_the_first(servers: Servers, second: str) -> None:
    a, b = servers("a"), servers("b")
    for _ in range(3):
        a.commits()
    b.commits()
    a.follows()
    servers.forks(2)
    a.loses()
    assert a.settles()
    a.commits()
    b.loses(by=second)
    assert not b.settles()
    assert servers.settled == 1
    for each in (a, b):  # nor once more
        each.follows()
        each.tries()


def test_one_that_met_a_fork_and_died_before_it_was_settled_leaves_it_to_the_next(servers: Servers) -> None:
    a, b = servers("a"), servers("b")
    a.commits()
    b.commits()
    a.follows()
    servers.forks(0)
    a.loses()
    a.turns.begin(1)
    assert not a.turns.losses_settled
    a.turns.settle_losses()
    a.turns.rollback()  # it dies before its commit
    b.loses()
    assert b.settles()
    assert not a.settles()


def test_a_settlement_whose_outcome_is_not_known_is_not_made_again(servers: Servers) -> None:
    a = servers("a")
    a.commits()
    servers.forks(0)
    a.loses()
    assert a.settles()
    assert not a.settles()


def test_what_a_server_of_an_older_release_has_settled_is_settled_once_more(servers: Servers) -> None:
    """It knows no settlements: it leaves no row, and looks for none. Of those that do, the first one settles it."""
    older, a, b = servers("older"), servers("a"), servers("b")
    for each in (older, a, b):
        each.commits()
        each.follows()
    servers.forks(0)
    older.loses()
    older.tries()
    older.commits()  # with what it settles, as schema 7 has it
    a.loses()
    assert a.settles(), "it cannot know"
    b.loses()
    assert not b.settles()
    assert servers.settled == 1


def test_a_second_fork_is_settled_anew(servers: Servers) -> None:
    a, b = servers("a"), servers("b")
    a.commits()
    b.commits()
    servers.forks(1)
    b.loses()
    assert b.settles()
    b.commits()
    servers.forks(b.last - 1)  # the settlement stays
    b.loses()
    assert b.settles()
    assert servers.settled == 2


@pytest.mark.parametrize("by", ["writer", "follower", "follower, anew"])
def test_a_settlement_of_long_ago_settles_no_later_fork(servers: Servers, by: str) -> None:
    """The server lost nothing then, and has heard of the settlement by one of its parts."""
    a, b = servers("a"), servers("b")
    b.commits()
    a.follows()
    b.commits()
    servers.forks(1)
    if by == "writer":
        a.tries()
        a.commits()
    else:
        a.follows()
    b.loses()
    assert b.settles()
    settled = b.last
    b.commits()
    if by == "writer":
        a.commits()
    elif by == "follower":
        a.follows()
    else:
        a.last = a.follower.latest()
    servers.forks(settled)
    a.loses(by=by.partition(",")[0])
    assert a.settles(), "it has lost what was written since"


def test_a_second_fork_that_takes_the_settlement_away_is_settled_again_and_once(servers: Servers) -> None:
    a, b = servers("a"), servers("b")
    a.commits()
    b.commits()
    servers.forks(1)
    b.loses()
    assert b.settles()
    servers.forks(1)
    a.tries()
    a.commits()
    b.loses()
    assert b.settles(), "the settlement that is gone is none"
    assert servers.settled == 1


@pytest.mark.parametrize("stays", [True, False])
def test_one_that_was_away_for_two_forks_settles_what_no_other_has(servers: Servers, stays: bool) -> None:
    away, b = servers("away"), servers("b")
    b.commits()
    away.commits()
    b.tries()
    b.commits()
    servers.forks(1)
    b.loses()
    assert b.settles()
    b.commits()
    servers.forks(b.last - 1 if stays else 1)
    away.loses()
    assert away.settles() is not stays
    b.loses()
    assert b.settles() is stays, "what was lost the second time is settled, too, and once"
    assert servers.settled == 1 + stays


def test_a_history_that_comes_back_brings_no_settlement(servers: Servers) -> None:
    """A standby of the first history takes the place of the database that went on from before its settlement."""
    a = servers("a")
    a.commits()
    a.commits()
    servers.forks(1)
    a.loses()
    assert a.settles()
    a.commits()
    servers.execute("CREATE TABLE first_log AS SELECT * FROM log; CREATE TABLE first AS SELECT * FROM settlements")
    servers.forks(1)
    a.loses()
    assert a.settles()
    a.commits()
    servers.execute("""
        DELETE FROM log; INSERT INTO log SELECT * FROM first_log;
        DELETE FROM settlements; INSERT INTO settlements SELECT * FROM first""")
    servers.forks(3)
    a.loses()
    assert a.settles()


def test_a_fork_is_noticed_though_others_have_written_more_since_than_was_lost(servers: Servers) -> None:
    """The follower of a server that wrote by itself has not read what that has written, and comes back first."""
    a, b = servers("a"), servers("b")
    a.commits()
    a.follows()
    for _ in range(3):
        a.commits()
    servers.forks(2)
    for _ in range(2):
        b.tries()
        b.commits()
    for _ in range(3):
        b.commits()
    a.loses(by="follower")
    assert a.settles()


@pytest.mark.parametrize("after", [0, 4])
def test_a_fork_is_noticed_where_everything_is_read_anew(servers: Servers, after: int) -> None:
    a, b = servers("a"), servers("b")
    for _ in range(3):
        a.commits()
    servers.forks(2)
    b.tries()
    for _ in range(after):
        b.commits()
    with pytest.raises(HistoryForked) as met:
        a.follower.latest()
    assert met.value.number == 1
    assert a.follower.latest() == 2 + after


def test_a_follower_whose_connection_others_have_left_takes_another_one(servers: Servers) -> None:
    """The former primary still answers, without what was committed to its successor: that is no fork."""
    a = servers("a")
    a.commits()
    a.follows()
    read = a.follower._ask
    answers: list[object] = []

    def stale(statement: str, values: tuple[int, ...] = ()) -> list[tuple[object, ...]]:
        answers.append(statement)
        return read(statement, values) if len(answers) > 1 else []

    a.follower._ask = stale  # type: ignore[method-assign]
    a.follows()
    assert len(answers) > 1
    assert a.turns.known.forks == 0
