"""Every statement that both engines run is one on PostgreSQL, too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from blobforge.store.postgres import check
from blobforge.store.postgres.spelling import OTHERWISE, inserting, spelled, writes
from blobforge.store.sql import sql
from blobforge.store.sql.invariants import INVARIANTS
from tests.fixtures.postgres import Cluster
from tests.store.postgres.making import new_database

SHARED = {
    name: text
    for name, text in vars(sql).items()
    if name.isupper() and not name.startswith("_") and isinstance(text, str) and re.match(r"\s*[A-Z]+ ", text)
    and not name.endswith("_COLUMNS") and name != "READY"
}  # fmt: skip


@pytest.fixture(scope="module")
def connection(postgres: Cluster) -> Iterator[psycopg.Connection[Any]]:
    name = new_database(postgres)
    with psycopg.connect(postgres.url(name), autocommit=True) as opened:
        yield opened
    postgres.drop(name)


def test_all_are_looked_at() -> None:
    assert len(SHARED) > 100
    assert set(OTHERWISE) <= set(SHARED.values())


@pytest.mark.parametrize("name", SHARED)
def test_a_shared_statement_can_be_prepared(connection: psycopg.Connection[Any], name: str) -> None:
    """With as many parameters as it has on SQLite, and of types that follow from where they stand."""
    text = spelled(SHARED[name])
    connection.pgconn.prepare(b"", text.encode())
    described = connection.pgconn.prepare(name.encode(), text.encode())
    assert not described.error_message, described.error_message.decode()
    told = connection.pgconn.describe_prepared(name.encode())
    numbers = re.findall(r"\?(\d+)", SHARED[name])
    assert told.nparams == (max(map(int, numbers)) if numbers else SHARED[name].count("?"))
    assert "unknown" not in [psycopg.adapters.types[told.param_type(at)].name for at in range(told.nparams)]


@pytest.mark.parametrize("name", [name for name in SHARED if SHARED[name].lstrip().startswith("INSERT")])
def test_one_that_inserts_can_give_the_number(connection: psycopg.Connection[Any], name: str) -> None:
    if name in {"INSERT_TOKEN", "INSERT_WHOLE_JOB"}:
        assert not connection.pgconn.prepare(b"", inserting(SHARED[name]).encode()).error_message
    assert writes(spelled(SHARED[name])) or name == "SEED_IDS"


@pytest.mark.parametrize("at", range(len(INVARIANTS)))
def test_an_invariant_is_a_query(connection: psycopg.Connection[Any], at: int) -> None:
    connection.execute(check.JSON_VALID)
    assert check.finding(connection, INVARIANTS[at]) is None


def test_no_other_module_of_the_engine_runs_a_shared_statement_as_it_stands() -> None:
    """They go through `spelled`, or are the same on both: then none has a parameter."""
    rooms = Path(check.__file__).parent
    named = set()
    for path in rooms.glob("*.py"):
        found = re.findall(r"from blobforge\.store\.sql\.sql import (?:\(([^)]*)\)|(.*))", path.read_text())
        named |= set(re.findall(r"\w+", " ".join("".join(each) for each in found)))
    run = named & SHARED.keys()  # not columns, and other parts of statements
    assert {name for name in run if "?" in SHARED[name]} <= {
        "FAILURE_BY_FINGERPRINT",
        "LABELLED_WORKERS",
        "ONLINE_WORKERS",
        "WORKER_TYPES",
    }
