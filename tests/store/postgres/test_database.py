"""A database is made ready by the first server that comes; what cannot be used is refused, and left as it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from blobforge.config import Settings
from blobforge.serve import engines
from blobforge.store.errors import DatabaseError
from blobforge.store.postgres import check, database
from blobforge.store.postgres.engine import PostgresEngine
from tests.fixtures.postgres import Cluster
from tests.store.postgres.making import new_database

NEXT = "ALTER TABLE jobs ADD COLUMN next INTEGER"


@pytest.fixture
def empty(postgres: Cluster) -> Iterator[str]:
    name = postgres.database()
    yield name
    postgres.drop(name)


def schema(cluster: Cluster, name: str) -> tuple[object, ...]:
    (found,) = cluster.execute("SELECT schema, oldest FROM turn", database=name)
    return found


@pytest.mark.parametrize(
    ("said", "number", "encoding", "extensions", "why"),
    [
        ("PostgreSQL 15.18 (Debian 15.18-0+deb12u1)", 150018, "UTF8", ["plpgsql"], None),
        ("PostgreSQL 18.1 on x86_64", 180001, "UTF8", [], None),
        ("PostgreSQL 14.9 on x86_64", 140009, "UTF8", [], "is PostgreSQL 14: 15 or newer"),
        ("CockroachDB CCL v24.1.0 (x86_64-pc-linux-gnu)", 130000, "UTF8", [], "is CockroachDB"),
        ("PostgreSQL 15.2-YB-2.25.0.0-b0 on x86_64", 150002, "UTF8", [], "is YugabyteDB"),
        ("PostgreSQL 16.1 on x86_64", 160001, "UTF8", ["plpgsql", "citus"], "the extension Citus"),
        ("PostgreSQL 16.1 on x86_64", 160001, "SQL_ASCII", [], "keeps texts in SQL_ASCII"),
    ],
)
def test_a_server_is_judged_by_what_it_says(
    said: str, number: int, encoding: str, extensions: list[str], why: str | None
) -> None:
    found = database.refusal(said, number, encoding, extensions)
    assert (found is None) if why is None else (found is not None and why in found)


def test_the_server_here_is_not_refused(postgres: Cluster) -> None:
    with database.opened(postgres.url()) as connection:
        database.refuse_others(connection)  # raises where it refuses
        assert connection.closed == 0


def test_the_first_one_makes_it_while_others_wait(postgres: Cluster, empty: str) -> None:
    url = postgres.url(empty)
    engine = PostgresEngine(url, "one")
    assert not engine.exists()
    failed: list[Exception] = []

    def come() -> None:
        try:
            database.prepare(url)
        except Exception as error:
            failed.append(error)

    servers = [threading.Thread(target=come) for _ in range(4)]
    for server in servers:
        server.start()
    for server in servers:
        server.join()
    assert failed == []
    assert engine.exists()
    assert schema(postgres, empty) == (engine.schema, 1)
    assert postgres.execute("SELECT count(*) FROM installation", database=empty) == [(1,)]
    assert check.check(url) == []


def test_the_installation_is_the_same_at_each_start(postgres: Cluster, empty: str) -> None:
    names = set()
    for server in ("one", "two"):
        store = PostgresEngine(postgres.url(empty), server).open_store()
        names.add(store.installation)
        store.close()
    assert len(names) == 1


def test_a_migration_is_whole_or_not_at_all(postgres: Cluster, empty: str) -> None:
    url = postgres.url(empty)
    database.prepare(url)
    known = database.migrations()
    with pytest.raises(DatabaseError, match="syntax error"):
        database.prepare(url, [*known, NEXT, "NO SQL"])
    assert schema(postgres, empty)[0] == len(known)
    database.prepare(url, [*known, NEXT])
    assert schema(postgres, empty)[0] == len(known) + 1
    database.prepare(url, [*known, NEXT])  # done once
    database.prepare(url)  # a server of the release before goes on beside it
    assert schema(postgres, empty)[0] == len(known) + 1


def test_what_only_newer_servers_may_write_is_refused(postgres: Cluster, empty: str) -> None:
    url = postgres.url(empty)
    known = database.migrations()
    database.prepare(url, [*known, f"UPDATE turn SET oldest = {len(known) + 1}"])
    with pytest.raises(DatabaseError, match="may no longer write to: update it"):
        database.prepare(url)


def test_another_programs_database_is_left_as_it_is(postgres: Cluster, empty: str) -> None:
    postgres.execute("CREATE TABLE orders (id INTEGER)", database=empty)
    with pytest.raises(DatabaseError, match=r"another program's \(tables: orders\)"):
        database.prepare(postgres.url(empty))
    assert postgres.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", database=empty) == [
        ("orders",)
    ]


def test_a_database_that_is_not_there_is_said_so(postgres: Cluster) -> None:
    with pytest.raises(DatabaseError, match='database "nowhere" does not exist'):
        database.prepare(postgres.url("nowhere"))
    with pytest.raises(DatabaseError, match="is no URL of PostgreSQL"):
        database.prepare("postgresql://[")


def test_the_setting_chooses_it(postgres: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    name = new_database(postgres)
    chosen = engines.engine_of(Settings(database_url=postgres.url(name)))
    assert isinstance(chosen, PostgresEngine)
    assert chosen.exists()
    postgres.drop(name)
    monkeypatch.setitem(__import__("sys").modules, "blobforge.store.postgres.engine", None)
    with pytest.raises(DatabaseError, match=r"pip install 'blobforge-server\[postgres\]'"):
        engines.engine_of(Settings(database_url="postgresql://x"))


def test_each_run_has_a_name_of_its_own() -> None:
    names = {engines.postgres_at("postgresql://x").server for _ in range(9)}  # type: ignore[attr-defined]
    assert len(names) == 9


def test_an_invariant_that_does_not_hold_is_found(postgres: Cluster, empty: str) -> None:
    url = postgres.url(empty)
    database.prepare(url)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO jobs (id, type, status, priority, source_hash, created_at, updated_at, max_attempts,"
            " metadata, tags) VALUES (7, 'pdf', 'pending', 3, 'no hash', 1, 1, 3, '{', '[\"a\"]')"
        )
    assert check.check(url) == [
        "1 jobs with an id that may be given again: 7.",
        "1 jobs whose source is no SHA-256: 7.",
        "1 counters of jobs that are not what counting says (status, type, priority: kept, counted): "
        "pending pdf 3: 0, 1.",
        "1 jobs whose tags are missing from the list of tags: 7.",
        "1 jobs whose metadata, result, progress or tags are no JSON: 7.",
    ]
