"""A database of PostgreSQL, and servers that share it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from blobforge.objects import ObjectStore
from tests.fixtures.local import LocalServer, open_local
from tests.fixtures.postgres import Cluster


class House:
    def __init__(self, cluster: Cluster, database: str, folder: Path) -> None:
        self._cluster = cluster
        self._database = database
        self.folder = folder
        self.url = cluster.url(database)
        self.objects: ObjectStore | None = None  # that all of them use; None: each has a folder of its own

    @asynccontextmanager
    async def server(self, name: str, **settings: Any) -> AsyncIterator[LocalServer]:
        """One of them. Their objects are in one place, as far as they can tell."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / "objects-id").write_text("one\n")
        given = {"database_url": self.url, "server_name": name} | settings
        async with open_local(folder, objects=self.objects, **given) as local:
            yield local

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        return self._cluster.execute(statement, database=self._database)
