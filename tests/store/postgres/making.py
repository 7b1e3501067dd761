"""New databases for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import psycopg

import blobforge.store.postgres
from tests.fixtures.postgres import Cluster

SCHEMA = Path(blobforge.store.postgres.__file__).parent / "migrations" / "0001_initial.sql"


def new_database(cluster: Cluster) -> str:
    """The name of a database in which nothing has happened yet."""
    return cluster.database(cluster.template("blobforge", _make))


def _make(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(SCHEMA.read_text())
        connection.execute("INSERT INTO turn (one, n, at, schema, oldest, job) VALUES (1, 0, 0, 1, 1, 0)")


def terminate(postgres: Cluster, database: str) -> None:
    """All connections to it are cut."""
    postgres.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'")
