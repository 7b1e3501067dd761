"""New databases for the tests of this folder."""

from __future__ import annotations

from blobforge.store.postgres import database
from tests.fixtures.postgres import Cluster


def new_database(cluster: Cluster) -> str:
    """The name of a database in which nothing has happened yet."""
    return cluster.database(cluster.template("blobforge", database.prepare))


def terminate(postgres: Cluster, database: str) -> None:
    """All connections to it are cut."""
    postgres.execute(f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{database}'")
