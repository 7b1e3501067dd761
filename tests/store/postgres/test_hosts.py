"""A URL with several hosts: the one that can be written to is taken, at the start and after a failover (25006)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from blobforge.store.errors import StoreUnavailable
from blobforge.store.postgres import database
from blobforge.store.postgres.connecting import connect
from blobforge.store.postgres.connection import RETRY_AFTER, WriterTurns
from blobforge.store.postgres.engine import PostgresEngine
from blobforge.store.postgres.follower import PostgresFollower
from tests.fixtures.postgres import Cluster, running_postgres
from tests.fixtures.seaweed import free_ports


@pytest.fixture(scope="module")
def first() -> Iterator[Cluster]:
    with running_postgres(durable=False) as cluster:
        database.prepare(cluster.url())
        yield cluster


@pytest.fixture(scope="module")
def second() -> Iterator[Cluster]:
    with running_postgres(durable=False) as cluster:
        database.prepare(cluster.url())
        yield cluster


@pytest.fixture
def both(first: Cluster, second: Cluster) -> Iterator[str]:
    """The first one can be written to, the second one cannot."""
    may_write(first, True)
    may_write(second, False)
    yield at(first.port, second.port)
    may_write(first, True)
    may_write(second, True)


def at(*ports: int) -> str:
    return f"postgresql://postgres@{','.join(f'127.0.0.1:{port}' for port in ports)}/postgres"


def may_write(cluster: Cluster, may: bool) -> None:
    """Else it is as a standby is: every transaction is read-only (25006), also on connections that are open."""
    cluster.execute(f"ALTER SYSTEM SET default_transaction_read_only = {'off' if may else 'on'}")
    cluster.execute("SELECT pg_reload_conf()")
    expected = "off" if may else "on"
    while cluster.execute("SHOW default_transaction_read_only") != [(expected,)]:
        time.sleep(0.01)


def turns(cluster: Cluster) -> int:
    ((n,),) = cluster.execute("SELECT n FROM turn")
    return int(str(n))


def write(writer: WriterTurns) -> None:
    writer.begin(1)
    writer.commit("")


def refused(writer: WriterTurns) -> None:
    try:
        with pytest.raises(StoreUnavailable):
            write(writer)
    finally:
        writer.rollback()


def test_a_host_that_is_dead_or_a_standby_is_passed_over(first: Cluster, second: Cluster, both: str) -> None:
    [dead] = free_ports(1)
    for ports in (
        (dead, first.port),
        (second.port, first.port),
        (first.port, second.port),
        (dead, second.port, first.port),
    ):
        with closing(connect(at(*ports))) as connection:
            assert connection.info.port == first.port, ports
    for ports in ((dead, second.port), (second.port,)):
        with pytest.raises(StoreUnavailable):
            connect(at(*ports))


def test_another_choice_in_the_url_has_the_last_word(second: Cluster, both: str) -> None:
    with closing(connect(at(second.port) + "?target_session_attrs=any")) as connection:
        assert connection.info.port == second.port


def test_all_parts_of_the_engine_take_the_one_that_can_be_written_to(
    first: Cluster, second: Cluster, both: str
) -> None:
    url = at(second.port, first.port)
    engine = PostgresEngine(url, "one")
    before = turns(second)
    store = engine.open_store()
    assert store.installation == str(first.execute("SELECT id FROM installation")[0][0])
    store.close()
    commons = engine.commons(None)  # type: ignore[arg-type]
    assert commons.servers() == []
    commons.close()
    follower = PostgresFollower(url)
    assert follower.latest() == turns(first)
    follower.wait(0)
    follower.close()
    assert turns(second) == before


def test_a_failover_is_an_outage_that_ends_at_the_other_host(first: Cluster, second: Cluster, both: str) -> None:
    """The leader becomes a standby and its connections stay: what is written on them fails with 25006."""
    writer = WriterTurns(both, "one", schema=1)
    write(writer)
    known = writer.turn
    may_write(first, False)
    refused(writer)
    refused(writer)  # there is none that can be written to
    # The other one has the same history by now.
    with psycopg.connect(second.url(), autocommit=True) as promoted:
        promoted.execute("SET default_transaction_read_only = off")
        promoted.execute("UPDATE turn SET n = %s", (known,))
        promoted.execute("DELETE FROM log")
        for row in first.execute("SELECT n, server, nonce, at, told FROM log"):
            promoted.execute("INSERT INTO log (n, server, nonce, at, told) VALUES (%s, %s, %s, %s, %s)", row)
    may_write(second, True)
    time.sleep(RETRY_AFTER)
    write(writer)
    assert writer.turn == known + 1 == turns(second)
    assert turns(first) == known
    writer.close()


def test_a_commit_that_meets_a_standby_is_found_out(first: Cluster, both: str) -> None:
    writer = WriterTurns(both, "one", schema=1)
    write(writer)
    before = turns(first)
    writer.begin(1)
    assert writer.n == before + 1
    # As a leader that is stopped and comes back as a standby: the transaction is gone with its connection.
    first.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'blobforge'")
    may_write(first, False)
    may_write(first, True)
    with pytest.raises(StoreUnavailable, match="before the commit"):
        writer.commit("lost")
    writer.rollback()
    write(writer)
    assert turns(first) == before + 1
    writer.close()
