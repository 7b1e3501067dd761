"""What servers have in common on PostgreSQL: secrets, guesses, presence, and what one does at a time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blobforge.access import hash_secret
from blobforge.store.commons import BURST, LIVE_SECONDS, REFILL_SECONDS, REMEMBERED_SECONDS, Secret, ServerState
from blobforge.store.errors import DatabaseError
from blobforge.store.postgres import commons as row_commons
from blobforge.store.postgres.commons import RowCommons
from tests.fixtures.postgres import Cluster
from tests.store.postgres.making import new_database

NOW = 1_795_000_000_000


class Two:
    """A database, and the commons of two servers."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.name = new_database(cluster)
        self.one, self.other = (self.opened() for _ in range(2))

    def opened(self) -> RowCommons:
        return RowCommons(self.cluster.url(self.name), now=lambda: NOW)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        return self.cluster.execute(statement, database=self.name)


@pytest.fixture
def two(postgres: Cluster) -> Iterator[Two]:
    made = Two(postgres)
    yield made
    made.one.close()
    made.other.close()
    postgres.drop(made.name)


def server(id_: str, **fields: object) -> ServerState:
    return ServerState(id=id_, name=f"name-{id_}", version="1", objects="s3 x", **fields)  # type: ignore[arg-type]


# ------------------------------------------------------------------ secrets


def test_servers_that_start_at_once_get_the_same_secret(two: Two) -> None:
    made: list[str] = []
    commons = [two.opened() for _ in range(8)]
    start = threading.Barrier(len(commons))

    def begin(each: RowCommons) -> None:
        start.wait()
        made.append(each.secret(Secret.SIGNING, lambda: f"of {id(each)}"))

    threads = [threading.Thread(target=begin, args=(each,)) for each in commons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in commons:
        each.close()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_the_first_link_works_once_at_one_of_them(two: Two) -> None:
    code = two.one.secret(Secret.FIRST_LINK, lambda: "code")
    assert two.other.secret(Secret.FIRST_LINK, lambda: "another") == code
    assert not two.other.spend(Secret.FIRST_LINK, "guess")
    commons = [two.opened() for _ in range(6)]
    start, spent = threading.Barrier(len(commons)), []

    def use(each: RowCommons) -> None:
        start.wait()
        spent.append(each.spend(Secret.FIRST_LINK, code))

    threads = [threading.Thread(target=use, args=(each,)) for each in commons]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in commons:
        each.close()
    assert sorted(spent) == [False] * 5 + [True]
    assert two.other.secret(Secret.FIRST_LINK, lambda: "the next") == "the next"


def test_a_token_that_another_server_lives_by_is_not_forgotten(two: Two) -> None:
    two.one.secret(Secret.ADMIN_TOKEN, lambda: "token")
    two.other.forget(Secret.ADMIN_TOKEN, but=frozenset({hash_secret("token")}))
    assert two.one.secret(Secret.ADMIN_TOKEN, lambda: "new") == "token"
    two.other.forget(Secret.ADMIN_TOKEN)
    assert two.one.secret(Secret.ADMIN_TOKEN, lambda: "new") == "new"


# ------------------------------------------------------------------ guesses


def test_guesses_are_counted_over_all_servers(two: Two) -> None:
    name = ("address 192.0.2.1",)
    for n in range(BURST):
        assert (two.one, two.other)[n % 2].failed(name) <= 0
    for each in (two.one, two.other):
        assert 0 < each.failed(name) <= REFILL_SECONDS
    assert two.one.failed(("address 192.0.2.2",)) <= 0
    assert two.one.failed(("address 192.0.2.3", "address 192.0.2.1")) > 0


def test_one_that_is_refused_does_not_count_and_time_empties_the_bucket(two: Two) -> None:
    name = ("worker w",)
    for _ in range(BURST * 3):
        two.one.failed(name)
    two.execute(f"UPDATE guesses SET at = at - {round(REFILL_SECONDS * 1000)}")
    assert two.one.failed(name) <= 0, "one more, and not another burst"
    assert two.one.failed(name) > 0
    two.execute(f"UPDATE guesses SET at = at - {round(BURST * REFILL_SECONDS * 1000)}")
    assert all(two.one.failed(name) <= 0 for _ in range(BURST))
    assert two.one.failed(name) > 0


def test_what_has_emptied_is_forgotten_and_no_address_is_kept(two: Two) -> None:
    two.one.failed(("address 192.0.2.1",))
    two.execute(f"UPDATE guesses SET at = at - {round(BURST * REFILL_SECONDS * 1000) + 1}")
    two.one.failed(("address 192.0.2.2",))
    two.one.present(server("a"))
    [(name,)] = two.execute("SELECT name FROM guesses")
    assert b"192.0.2" not in bytes(name)  # type: ignore[call-overload]


# ------------------------------------------------------------------ servers


def test_servers_see_each_other_and_forget_those_that_are_gone(two: Two) -> None:
    assert [each.id for each in two.one.present(server("a"))] == ["a"]
    seen = two.other.present(server("b", long_polls=3, streams=2, turn=7, turn_at=NOW, url="http://x"))
    assert [each.id for each in seen] == ["a", "b"]
    [_, b] = two.one.present(server("a"))
    assert (b.long_polls, b.streams, b.turn, b.turn_at, b.url, b.is_live) == (3, 2, 7, NOW, "http://x", True)
    two.execute(f"UPDATE presences SET seen_at = seen_at - {round(LIVE_SECONDS * 1000) + 100} WHERE id = 'b'")
    [_, b] = two.one.present(server("a"))
    assert not b.is_live
    assert b.silent > LIVE_SECONDS
    two.execute(f"UPDATE presences SET seen_at = seen_at - {round(REMEMBERED_SECONDS * 1000)} WHERE id = 'b'")
    assert [each.id for each in two.one.present(server("a"))] == ["a"]
    two.other.present(server("b"))
    two.other.leave("b")
    assert [each.id for each in two.one.present(server("a"))] == ["a"]


def test_how_far_a_server_is_behind_and_how_wrong_its_clock(two: Two) -> None:
    two.execute("UPDATE turn SET n = 10")
    [a] = two.one.present(server("a", read=7))
    assert a.behind == 3
    assert a.clock is not None
    [(now,)] = two.execute("SELECT (extract(epoch FROM now()) * 1000)::bigint")
    assert abs(a.clock - (NOW - int(str(now)))) < 60_000


# ------------------------------------------------------------------ one at a time


def test_one_server_at_a_time_until_it_lets_go_or_its_time_is_over(two: Two) -> None:
    assert two.one.hold("x", "a", 60)
    assert two.one.hold("x", "a", 60), "again, by the same"
    assert not two.other.hold("x", "b", 60)
    assert two.other.hold("y", "b", 60)
    two.other.let_go("x", "b")
    assert not two.other.hold("x", "b", 60), "it let go of what it did not hold"
    two.one.let_go("x", "a")
    assert two.other.hold("x", "b", 60)
    two.execute("UPDATE holds SET until = until - 61000")
    assert two.one.hold("x", "a", 60)


# ------------------------------------------------------------------ the connection


def test_a_connection_that_was_cut_is_replaced(two: Two) -> None:
    two.one.secret(Secret.SIGNING, lambda: "s")
    two.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    assert two.one.secret(Secret.SIGNING, lambda: "t") == "s"


def test_no_database_is_told(tmp_path: Path) -> None:
    commons = RowCommons(f"postgresql:///x?host={tmp_path}", now=lambda: NOW)
    with pytest.raises(DatabaseError, match="cannot be reached"):
        commons.secret(Secret.SIGNING, lambda: "s")


def test_a_backend_that_is_stopped_holds_up_nobody(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_commons, "ANSWER_SECONDS", 0.3)
    two.one.present(server("a"))
    [(pid,)] = two.cluster.execute(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = current_database() "
        "AND pid <> pg_backend_pid() ORDER BY backend_start DESC LIMIT 1",
        database=two.name,
    )
    os.kill(pid, signal.SIGSTOP)
    try:
        assert [each.id for each in two.one.present(server("a"))] == ["a"]  # by another connection
    finally:
        os.kill(pid, signal.SIGCONT)


# ------------------------------------------------------------------ a clock of the database that has been set back

AHEAD = 3 * 3_600_000  # ms


def test_a_guess_counts_no_more_where_it_was_made_in_the_future(two: Two) -> None:
    assert two.one.failed(("x",)) == 0
    two.execute(f"UPDATE guesses SET at = at + {AHEAD}")
    assert two.one.failed(("x",)) == 0


def test_a_hold_of_the_future_is_not_waited_for(two: Two) -> None:
    assert two.one.hold("h", "gone", 10)
    assert not two.other.hold("h", "next", 10)
    two.execute(f"UPDATE holds SET until = until + {AHEAD}")
    assert two.other.hold("h", "next", 10)


def test_nothing_is_left_to_a_server_that_is_gone_and_was_heard_in_the_future() -> None:
    assert not server("gone", silent=-AHEAD / 1000, connected=False).is_at_work
    assert server("there", silent=-AHEAD / 1000, connected=True).is_at_work
    assert server("anew", silent=-0.1, connected=False).is_at_work
